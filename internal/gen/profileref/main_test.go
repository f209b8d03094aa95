package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nodeimage/packer-plugin-nodeimage/profiles"
)

const (
	profileSource = "../../../profiles/profile.go"
	referencePage = "../../../docs/profile-reference.md"
)

func TestReferenceIsCurrent(t *testing.T) {
	t.Parallel()
	fresh := filepath.Join(t.TempDir(), "reference.md")
	if err := generate(fresh, profileSource); err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile(fresh)
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(referencePage)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("docs/profile-reference.md is out of date: run go generate ./profiles (-fresh +committed):\n%s", diff)
	}
}

// minimal holds what a profile has to say, and nothing that has a default.
const minimal = `apiVersion: nodeimage.dev/v1alpha1
kind: Profile
name: minimal
os: {distribution: debian, version: "13", codename: trixie, arch: amd64}
archive:
  keyring: /usr/share/keyrings/debian-archive-keyring.gpg
  sources: [{uri: "http://deb.debian.org/debian", suites: [trixie], components: [main]}]
packages: {include: {init: [systemd-sysv]}}
kernel: {package: linux-image-amd64}
components:
  containerd: {version: 2.3.7, source: deb, packages: [containerd]}
  runc: {version: 1.5.2, source: gomod, module: github.com/opencontainers/runc, sum: "h1:eUUowc2WJCnFYzI87C1WqRcu356Dk/wsoi90y+2wEfE="}
  cni-plugins: {version: 1.9.1, source: deb, packages: [containernetworking-plugins]}
  kubernetes: {version: 1.37.2, source: deb, packages: [kubeadm]}
  etcd: {version: 3.7.0, source: deb, packages: [etcd-server], image: "etcd:3.7.0-0"}
  coredns: {version: 1.14.6, source: deb, packages: [coredns], image: "coredns/coredns:v1.14.6"}
  pause: {version: 3.10.2, source: deb, packages: [pause], image: "pause:3.10.2"}
  kube-proxy-base: {source: deb, packages: [iptables]}
disk: {size: 8GiB}
`

// TestDocumentedDefaults compares what the comments promise with what Load
// fills in.
func TestDocumentedDefaults(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "minimal.yaml")
	if err := os.WriteFile(file, []byte(minimal), 0o600); err != nil {
		t.Fatal(err)
	}
	p, err := profiles.Load(file)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := p.JSON()
	if err != nil {
		t.Fatal(err)
	}
	var tree map[string]any
	if err := json.Unmarshal(raw, &tree); err != nil {
		t.Fatal(err)
	}
	src, err := os.ReadFile(profileSource)
	if err != nil {
		t.Fatal(err)
	}
	all, err := sections(src)
	if err != nil {
		t.Fatal(err)
	}
	checked := 0
	for _, s := range all {
		for _, f := range s.fields {
			if f.need == "" || f.need == "required" {
				continue
			}
			at := strings.TrimPrefix(s.path+"."+f.key, ".")
			got := inWords(lookup(t, tree, at))
			if want := strings.ReplaceAll(f.need, "`", ""); got != want {
				t.Errorf("%s: the comment says %q, Load fills in %q", at, want, got)
			}
			checked++
		}
	}
	if checked < 20 {
		t.Errorf("compared %d defaults, expected at least 20: are the comments still read?", checked)
	}
}

func lookup(t *testing.T, tree map[string]any, path string) any {
	t.Helper()
	var at any = tree
	for _, key := range strings.Split(path, ".") {
		m, ok := at.(map[string]any)
		if !ok {
			t.Fatalf("%s: no mapping above %s", path, key)
		}
		if at, ok = m[key]; !ok {
			t.Fatalf("%s: %s is not in the effective profile", path, key)
		}
	}
	return at
}

// inWords writes a value as the comments do.
func inWords(v any) string {
	switch v := v.(type) {
	case []any:
		if len(v) == 0 {
			return "none"
		}
		var items []string
		for _, item := range v {
			items = append(items, inWords(item))
		}
		return strings.Join(items, ", ")
	case map[string]any:
		if len(v) == 0 {
			return "none"
		}
		if name, ok := v["name"]; ok {
			return "one called " + inWords(name) + " of type " + inWords(v["type"])
		}
	}
	raw, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return strings.Trim(string(raw), `"`)
}

func TestUnfinishedCommentsAreRefused(t *testing.T) {
	t.Parallel()
	for name, body := range map[string]string{
		"no last word":  "// What it is called.\n\tName string `yaml:\"name\"`",
		"no comment":    "Name string `yaml:\"name\"`",
		"no tag":        "// The name. Required.\n\tName string",
		"unknown type":  "// The name. Required.\n\tName Nowhere `yaml:\"name\"`",
		"type not YAML": "// The name. Required.\n\tName func() `yaml:\"name\"`",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			src := "package p\n\n// Profile is one.\ntype Profile struct {\n\t" + body + "\n}\n"
			if got, err := sections([]byte(src)); err == nil {
				t.Errorf("sections = %+v, expected an error", got)
			}
		})
	}
}
