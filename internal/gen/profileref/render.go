package main

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/nodeimage/packer-plugin-nodeimage/profiles"
)

const intro = `# Profile reference

<!-- Made by internal/gen/profileref from profiles/profile.go, profiles/compatibility.yaml and profiles/pins/releases.yaml. Do not edit: run go generate ./profiles. -->

A profile is one YAML file that says everything a node image is made from. Built in: %s. Any other is named by a path that ends in ` + "`.yaml`" + `.

- Files are read strictly: an unknown key, a wrong type, a duplicate key, an anchor or alias, or a second document is an error. All problems are reported at once, each with file, line, column and key.
- ` + "`extends: NAME`" + ` takes everything from another profile first, looked up as ` + "`NAME.yaml`" + ` beside the file and then among the built-in ones. Mappings merge key by key; a list or a single value replaces what the base says, and so does a component that names another ` + "`" + `source` + "`" + `.
- ` + "`nodeimage plan PROFILE`" + ` prints the effective profile, with bases and defaults filled in.
- Sizes are whole numbers with a binary unit: ` + "`512B`, `64MiB`, `8GiB`" + `.
`

func render(src []byte, names []string, table *profiles.Compatibility, pins *profiles.Releases) ([]byte, error) {
	all, err := sections(src)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, intro, "`"+strings.Join(names, "`, `")+"`")
	for _, s := range all {
		title := "The file"
		if s.path != "" {
			title = "`" + s.path + "`"
		}
		fmt.Fprintf(&b, "\n## %s\n\n%s\n\n| key | value | default | meaning |\n|---|---|---|---|\n", title, s.doc)
		for _, f := range s.fields {
			fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", f.key, f.kind, f.need, cell(f.doc))
		}
	}
	versions(&b, table)
	releases(&b, pins)
	return b.Bytes(), nil
}

// releases renders what `source: release` needs no sums for, newest first.
func releases(b *bytes.Buffer, pins *profiles.Releases) {
	fmt.Fprint(b, "\n## Releases whose sums come with nodeimage\n\nFor amd64 and arm64, from `profiles/pins/releases.yaml`. A component with `source: release` and one of these versions needs no `files`.\n\n| component | versions |\n|---|---|\n")
	for _, name := range slices.Sorted(maps.Keys(pins.Components)) {
		list := profiles.Branches(pins.Components[name].Versions)
		slices.Reverse(list)
		fmt.Fprintf(b, "| %s | %s |\n", name, strings.Join(list, ", "))
	}
}

func cell(s string) string { return strings.ReplaceAll(s, "|", `\|`) }

// versions renders what goes together, newest first.
func versions(b *bytes.Buffer, table *profiles.Compatibility) {
	containerd := profiles.Branches(table.Containerd)
	fmt.Fprint(b, "\n## Versions that go together\n\nA profile with any other pair is refused. *Recommended* pairs are listed by containerd, from the patch release given on; *works* has the CRI that the kubelet wants without being listed; with *fallback* the kubelet cannot ask containerd for its cgroup driver.\n\n")
	fmt.Fprintf(b, "| Kubernetes | end of life | containerd %s |\n|---|---|%s\n", strings.Join(containerd, " | "), strings.Repeat("---|", len(containerd)))
	minors := profiles.Branches(table.Kubernetes)
	slices.Reverse(minors)
	for _, minor := range minors {
		k := table.Kubernetes[minor]
		fmt.Fprintf(b, "| %s | %s |", minor, k.EndOfLife)
		for _, branch := range containerd {
			pair, known := k.Containerd[branch]
			text := string(pair.Verdict)
			if pair.From != "" {
				text += " from " + pair.From
			}
			if !known {
				text = "–"
			}
			fmt.Fprintf(b, " %s |", text)
		}
		fmt.Fprintln(b)
	}
	fmt.Fprint(b, "\n| kubeadm from | etcd | CoreDNS | pause |\n|---|---|---|---|\n")
	for _, minor := range minors {
		wants := slices.Clone(table.Kubernetes[minor].Kubeadm)
		slices.Reverse(wants)
		for _, w := range wants {
			fmt.Fprintf(b, "| %s | %s | %s | %s |\n", w.From, w.Etcd, w.CoreDNS, w.Pause)
		}
	}
	fmt.Fprint(b, "\n| containerd | config.toml version | runc at least | end of life |\n|---|---|---|---|\n")
	slices.Reverse(containerd)
	for _, name := range containerd {
		c := table.Containerd[name]
		fmt.Fprintf(b, "| %s | %d | %s | %s |\n", name, c.ConfigVersion, c.Runc, c.EndOfLife)
	}
	fmt.Fprint(b, "\nRead in:\n\n")
	ids := make([]string, 0, len(table.Sources))
	for id := range table.Sources {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	for _, id := range ids {
		ref := table.Sources[id]
		fmt.Fprintf(b, "- [%s](%s), %s\n", ref.Title, ref.URL, ref.Read)
	}
}
