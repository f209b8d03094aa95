package runtime

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/run"
	"github.com/nodeimage/packer-plugin-nodeimage/profiles"
)

// containerdPath is where the daemon is installed: a package's is in /usr/bin.
func containerdPath(p *profiles.Profile) string {
	if packaged(p, "containerd") {
		return "/usr/bin/containerd"
	}
	return binDir + "/containerd"
}

// ReadBack asks the installed containerd what its configuration amounts to
// (`config dump`: defaults, migrations and imports included) and compares that
// with what the profile wants. Grepping the file would prove nothing: a key in
// the wrong place is ignored, often without a word.
//
// Every difference is named in the error, which is a verdict (exit code 1).
func ReadBack(ctx context.Context, machine run.Runner, p *profiles.Profile) error {
	want, err := Want(p)
	if err != nil {
		return err
	}
	res, err := machine.Run(ctx, run.Cmd{Argv: []string{containerdPath(p), "--config", ConfigPath, "config", "dump"}})
	if err != nil {
		if run.SaidNo(err) && ctx.Err() == nil {
			return exitcode.With(exitcode.Failed, fmt.Errorf("containerd %s refuses %s: %w", p.Components["containerd"].Version, ConfigPath, err))
		}
		return fmt.Errorf("reading containerd's effective configuration: %w", err)
	}
	mismatches, err := Compare(want, res.Stdout, res.Stderr)
	if err != nil {
		return exitcode.With(exitcode.Failed, err)
	}
	if len(mismatches) > 0 {
		lines := make([]error, len(mismatches))
		for i, m := range mismatches {
			lines[i] = m
		}
		return exitcode.With(exitcode.Failed, fmt.Errorf("containerd %s would not do what the profile asks:\n%w",
			p.Components["containerd"].Version, errors.Join(lines...)))
	}
	return nil
}

// Mismatch is one effective value that is not the one asked for.
type Mismatch struct {
	Key  string // dotted path in `containerd config dump`
	Got  string
	Want string
}

func (m Mismatch) Error() string {
	return fmt.Sprintf("%s: effective %s is %s, want %s", ConfigPath, m.Key, m.Got, m.Want)
}

// Compare judges the output of `containerd config dump`. It returns an error
// when the dump cannot be read at all.
func Compare(want Effective, dump, warnings string) ([]Mismatch, error) {
	var doc map[string]any
	if err := toml.Unmarshal([]byte(dump), &doc); err != nil {
		return nil, fmt.Errorf("reading containerd's configuration dump: %w", err)
	}
	c := comparer{doc: doc}
	c.equal(int64(want.Version), "version")
	c.enabled()
	const v2 = "io.containerd.grpc.v1.cri"
	runtime, images := "io.containerd.cri.v1.runtime", "io.containerd.cri.v1.images"
	sandbox := []string{"plugins", images, "pinned_images", "sandbox"}
	if want.Version == 2 {
		runtime, images = v2, v2
		sandbox = []string{"plugins", v2, "sandbox_image"}
	}
	c.equal(want.Sandbox, sandbox...)
	if want.Downloads > 0 {
		c.equal(int64(want.Downloads), "plugins", images, "max_concurrent_downloads")
	}
	if want.StatsPeriod != "" {
		c.equal(want.StatsPeriod, "plugins", runtime, "stats_collect_period")
	}
	c.cni(want, runtime)
	c.equal(want.DefaultHandler, "plugins", runtime, "containerd", "default_runtime_name")
	c.handlers(want, "plugins", runtime, "containerd", "runtimes")
	for line := range strings.Lines(warnings) {
		if strings.Contains(line, "Ignoring unknown key in TOML") {
			c.add(unknownKey(line), "ignored, since containerd knows no such key", "no unknown key")
		}
	}
	return c.found, nil
}

var unknown = regexp.MustCompile(`key=("[^"]*"|\S+) plugin=("[^"]*"|\S+)`)

// unknownKey finds the key in containerd's warning; failing that, it is the
// warning.
func unknownKey(line string) string {
	m := unknown.FindStringSubmatch(line)
	if m == nil {
		return strings.TrimSpace(line)
	}
	return dotted(append([]string{"plugins", strings.Trim(m[2], `"`)}, strings.Fields(strings.Trim(m[1], `"`))...))
}

type comparer struct {
	doc   map[string]any
	found []Mismatch
}

func (c *comparer) add(key, got, want string) {
	c.found = append(c.found, Mismatch{Key: key, Got: got, Want: want})
}

func dotted(path []string) string {
	words := slices.Clone(path)
	for i, w := range words {
		if strings.Contains(w, ".") {
			words[i] = "'" + w + "'"
		}
	}
	return strings.Join(words, ".")
}

func (c *comparer) get(path ...string) (any, bool) {
	var at any = c.doc
	for _, key := range path {
		table, ok := at.(map[string]any)
		if !ok {
			return nil, false
		}
		if at, ok = table[key]; !ok {
			return nil, false
		}
	}
	return at, true
}

// show renders a value with its type, for a string "true" is not a true.
func show(v any) string {
	switch v := v.(type) {
	case nil:
		return "absent"
	case string:
		return fmt.Sprintf("the string %q", v)
	case bool:
		return fmt.Sprintf("the boolean %t", v)
	}
	return fmt.Sprint(v)
}

// equal wants the value at path to be of want's type and value.
func (c *comparer) equal(want any, path ...string) {
	if got, _ := c.get(path...); got != want {
		c.add(dotted(path), show(got), show(want))
	}
}

// enabled wants the CRI plugin not to be switched off, as it is in the file
// that Docker's containerd.io package ships.
func (c *comparer) enabled() {
	got, _ := c.get("disabled_plugins")
	list, _ := got.([]any)
	for _, name := range list {
		if s, _ := name.(string); s == "cri" || strings.HasPrefix(s, "io.containerd.cri.") || s == "io.containerd.grpc.v1.cri" {
			c.add("disabled_plugins", show(name), "no CRI plugin in the list")
		}
	}
}

func (c *comparer) cni(want Effective, plugin string) {
	at := []string{"plugins", plugin, "cni"}
	c.equal(want.CNIConfDir, append(at[:3:3], "conf_dir")...)
	dirs, ok := c.get(append(at[:3:3], "bin_dirs")...)
	if list, _ := dirs.([]any); ok && len(list) > 0 {
		if got := fmt.Sprint(list); got != fmt.Sprint(want.CNIBinDirs) {
			c.add(dotted(append(at[:3:3], "bin_dirs")), got, fmt.Sprint(want.CNIBinDirs))
		}
		return
	}
	c.equal(want.CNIBinDirs[0], append(at[:3:3], "bin_dir")...)
}

// handlers looks at each handler that is asked for and at each that is there:
// a runc handler nobody asked for runs pods too, once a RuntimeClass names it.
func (c *comparer) handlers(want Effective, path ...string) {
	got, _ := c.get(path...)
	table, _ := got.(map[string]any)
	names := map[string]bool{}
	for name := range want.Handlers {
		names[name] = true
	}
	for name := range table {
		names[name] = true
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		at := append(path[:len(path):len(path)], name)
		asked, isAsked := want.Handlers[name]
		if _, isThere := table[name]; !isThere {
			c.add(dotted(at), "absent", "a handler of type "+asked.Type)
			continue
		}
		kind, _ := c.get(append(at, "runtime_type")...)
		if !isAsked {
			c.add(dotted(at), "a handler of type "+show(kind), "no handler of this name")
			continue
		}
		c.equal(asked.Type, append(at, "runtime_type")...)
		if asked.Type == runcType {
			c.equal(asked.SystemdCgroup, append(at, "options", "SystemdCgroup")...)
			c.equal(asked.BinaryName, append(at, "options", "BinaryName")...)
		}
	}
}
