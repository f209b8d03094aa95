package validate

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/manifest"
	"github.com/nodeimage/packer-plugin-nodeimage/profiles"
	"github.com/nodeimage/packer-plugin-nodeimage/validate/live"
	"github.com/nodeimage/packer-plugin-nodeimage/validate/source"
	"github.com/nodeimage/packer-plugin-nodeimage/validate/target"
)

// entry is a file of a fixture.
type entry struct {
	content  string
	mode     fs.FileMode // permission bits, setuid and the like; 0644 if none
	dir      bool
	link     string
	uid, gid int
	xattr    map[string]string
}

// tree is a root file system by absolute path. A nil entry takes a path, and
// what is below it, out of the tree that this one is laid over.
type tree map[string]*entry

func file(content string) *entry           { return &entry{content: content, mode: 0o644} }
func exe(content string) *entry            { return &entry{content: content, mode: 0o755} }
func link(to string) *entry                { return &entry{link: to} }
func moded(m fs.FileMode, c string) *entry { return &entry{content: c, mode: m} }
func directory(m fs.FileMode) *entry       { return &entry{dir: true, mode: m} }
func lines(l ...string) *entry             { return file(strings.Join(l, "\n") + "\n") }
func (t tree) over(base tree) tree {
	out := maps.Clone(base)
	for p, e := range t {
		for q := range out {
			if e == nil && (q == p || strings.HasPrefix(q, p+"/")) {
				delete(out, q)
			}
		}
	}
	for p, e := range t {
		if e != nil {
			out[p] = e
		}
	}
	return out
}

// open packs a tree into a tar and opens that as a target: the same way a real
// one takes, with owners and modes that need no root to make.
func (t tree) open(tb testing.TB) *target.Target {
	tb.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	seen := map[string]bool{}
	parents := func(p string) {
		for _, d := range ancestors(p) {
			if !seen[d] && (t[d] == nil || !t[d].dir) {
				must(tb, w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: "." + d + "/", Mode: 0o755}))
			}
			seen[d] = true
		}
	}
	for _, p := range slices.Sorted(maps.Keys(t)) {
		e := t[p]
		parents(p)
		h := &tar.Header{Name: "." + p, Mode: int64(e.mode.Perm()), Uid: e.uid, Gid: e.gid, Format: tar.FormatPAX}
		for bit, m := range map[fs.FileMode]int64{fs.ModeSetuid: 0o4000, fs.ModeSetgid: 0o2000, fs.ModeSticky: 0o1000} {
			if e.mode&bit != 0 {
				h.Mode |= m
			}
		}
		for k, v := range e.xattr {
			if h.PAXRecords == nil {
				h.PAXRecords = map[string]string{}
			}
			h.PAXRecords["SCHILY.xattr."+k] = v
		}
		switch {
		case e.link != "":
			h.Typeflag, h.Linkname, h.Mode = tar.TypeSymlink, e.link, 0o777
		case e.dir:
			h.Typeflag, h.Name = tar.TypeDir, h.Name+"/"
			seen[p] = true
		default:
			h.Typeflag, h.Size = tar.TypeReg, int64(len(e.content))
		}
		must(tb, w.WriteHeader(h))
		if h.Typeflag == tar.TypeReg {
			_, err := w.Write([]byte(e.content))
			must(tb, err)
		}
	}
	must(tb, w.Close())
	file := filepath.Join(tb.TempDir(), "root.tar")
	must(tb, os.WriteFile(file, buf.Bytes(), 0o600))
	opened, err := target.Open(tb.Context(), file)
	must(tb, err)
	tb.Cleanup(func() { _ = opened.Close() })
	return opened
}

func ancestors(p string) []string {
	var out []string
	for d := path.Dir(p); d != "/" && d != "."; d = path.Dir(d) {
		out = append(out, d)
	}
	slices.Reverse(out)
	return out
}

func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

// expect is what a finding has to say. Line and got are compared where given;
// got is a part of the text.
type expect struct {
	outcome Outcome
	file    string
	line    int
	key     string
	got     string
}

// fixture is a node and what one check has to say about it. Without expect
// the check must pass.
type fixture struct {
	name    string
	bare    bool // not laid over goodNode
	node    tree
	profile *profiles.Profile
	running machine      // a running node with these files in /proc, /sys and /run
	cri     *fakeCRI     // and this runtime on its socket
	esp     tree         // the EFI system partition
	rules   func(*Rules) // changes them
	want    []expect
}

func (f fixture) open(t *testing.T) *Node {
	t.Helper()
	node := f.node
	if !f.bare {
		node = f.node.over(goodNode())
	}
	n, err := NewNode(node.open(t), f.profile)
	must(t, err)
	n.now = today()
	if f.running != nil {
		n.Live = f.running.start(t)
		if f.cri != nil {
			f.cri.serve(t, n.Live.Root)
		}
	}
	if f.esp != nil {
		n.ESP = f.esp.open(t).Root()
	}
	if f.rules != nil {
		f.rules(n.rules)
	}
	return n
}

// machine is what a running node has in /proc, /sys and /run, by path. A value
// that starts with "-> " is a link.
type machine map[string]string

func (m machine) start(t *testing.T) *live.Machine {
	t.Helper()
	// t.TempDir is too long for a socket's path.
	root, err := os.MkdirTemp("", "node")
	must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(root) })
	for p, content := range m {
		p = filepath.Join(root, p)
		must(t, os.MkdirAll(filepath.Dir(p), 0o755))
		if to, ok := strings.CutPrefix(content, "-> "); ok {
			must(t, os.Symlink(to, p))
		} else {
			must(t, os.WriteFile(p, []byte(content), 0o755))
		}
	}
	return &live.Machine{Root: root}
}

// today is the day on which fixtures are judged.
func today() time.Time { return time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC) }

func (f fixture) test(t *testing.T, c Check) {
	got, err := runOne(t.Context(), f.open(t), c, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(f.want) == 0 {
		if len(got) != 1 || got[0].Outcome != Pass {
			t.Errorf("got %s, want a pass", show(got))
		}
		return
	}
	if len(got) != len(f.want) {
		t.Fatalf("got %d findings:\n%swant %d", len(got), show(got), len(f.want))
	}
	for i, w := range f.want {
		g := got[i]
		if g.Outcome != w.outcome || g.File != w.file || g.Key != w.key || w.line != 0 && g.Line != w.line || !strings.Contains(g.Got, w.got) {
			t.Errorf("finding %d: got %swant %+v", i+1, show([]Finding{g}), w)
		}
		if g.Outcome != Skip && (g.Got == "" || g.Want == "" || g.Fix == "" || len(g.See) == 0) {
			t.Errorf("finding %d says too little: %+v", i+1, g)
		}
	}
}

func show(found []Finding) string {
	var b strings.Builder
	for _, f := range found {
		fmt.Fprintf(&b, "%s at %s key %q got %q want %q\n", f.Outcome, source.Position{File: f.File, Line: f.Line}, f.Key, f.Got, f.Want)
	}
	return b.String()
}

// recorded is the manifest fragment that says which version a file has.
func recorded(component, version string, paths ...string) *entry {
	var files []string
	for _, p := range paths {
		files = append(files, fmt.Sprintf(`{"path":%q,"sha256":"","size":0}`, p))
	}
	return file(fmt.Sprintf(`{"components":[{"name":%q,"version":%q,"source":"gomod","sum":"","files":[%s]}]}`, component, version, strings.Join(files, ",")))
}

func fragment(component string) string { return manifest.FragmentDir + "/" + component + ".json" }

// withContainerd makes the good node's containerd another release.
func withContainerd(version, config string) tree {
	t := tree{fragment("containerd"): recorded("containerd", version, "/usr/local/bin/containerd")}
	if config == "" {
		t["/etc/containerd/config.toml"] = nil
	} else {
		t["/etc/containerd/config.toml"] = file(config)
	}
	return t
}

func (t tree) with(p string, e *entry) tree {
	out := maps.Clone(t)
	out[p] = e
	return out
}

// replace breaks a text in one place, which must be there.
func replace(text, old, now string) string {
	if !strings.Contains(text, old) {
		panic("nothing to replace: " + old)
	}
	return strings.Replace(text, old, now, 1)
}
