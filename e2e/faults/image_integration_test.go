//go:build integration

package faults

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/run"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/run/runtest"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/store"
	"github.com/nodeimage/packer-plugin-nodeimage/validate"
	"github.com/nodeimage/packer-plugin-nodeimage/validate/target"
)

func command(t *testing.T, stdin string, argv ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), argv[0], argv[1:]...)
	cmd.Stdin = strings.NewReader(stdin)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", argv, err, out)
	}
}

// diskImage makes a small disk as the builder makes large ones: GPT, ESP, ext4
// with a journal, checksums and directories large enough for an index.
func diskImage(t *testing.T) *target.Target {
	t.Helper()
	dir := t.TempDir()
	raw, root, esp := filepath.Join(dir, "disk.raw"), filepath.Join(dir, "root"), filepath.Join(dir, "esp.img")
	for name, text := range map[string]string{
		"etc/fstab": "/dev/vda2 / ext4 defaults 0 1\n", "etc/os-release": "ID=debian\n", "etc/keep": "kept", "etc/shadow": "root:!:1::::::\n",
		"etc/dir/a/b": "deep", "usr/bin/tool": strings.Repeat("tool", 50000), "boot/grub/grub.cfg": "linux /vmlinuz root=x ro\n",
	} {
		p := filepath.Join(root, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(p), 0o755), os.WriteFile(p, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 600 {
		if err := os.WriteFile(filepath.Join(root, "etc/dir", strings.Repeat("n", 60)+string(rune('a'+i%26))+strings.Repeat("x", i/26)), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.Symlink("usr/bin", filepath.Join(root, "bin")), os.Chmod(filepath.Join(root, "etc/shadow"), 0o640), os.Link(filepath.Join(root, "etc/keep"), filepath.Join(root, "etc/linked"))); err != nil {
		t.Fatal(err)
	}
	command(t, "", "truncate", "-s", "64M", raw)
	command(t, "label: gpt\nstart=2048, size=8192, type=uefi\nstart=10240, type=linux-root-x86-64\n", "/usr/sbin/sfdisk", "-q", raw)
	command(t, "", "/usr/sbin/mke2fs", "-q", "-t", "ext4", "-E", "root_owner=0:0,offset=5242880", "-d", root, raw, "58000k")
	command(t, "", "truncate", "-s", "4M", esp)
	command(t, "", "/usr/sbin/mkfs.fat", esp)
	entry := filepath.Join(dir, "a.conf")
	if err := os.WriteFile(entry, []byte("title a\noptions root=x\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	command(t, "", "mmd", "-i", esp, "::loader", "::loader/entries")
	command(t, "", "mcopy", "-i", esp, entry, "::loader/entries/a.conf")
	command(t, "", "dd", "if="+esp, "of="+raw, "bs=1M", "seek=1", "conv=notrunc", "status=none")
	image := filepath.Join(dir, "disk.qcow2")
	command(t, "", "qemu-img", "convert", "-f", "raw", "-O", "qcow2", "-c", raw, image)
	tg, err := target.Open(t.Context(), image)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tg.Close() })
	return tg
}

func openStore(t *testing.T) *store.Store {
	t.Helper()
	s, err := store.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

var everything = Fault{ID: "x", Change: Change{
	Files: []File{
		{Path: "/bin/tool", Edit: []Edit{{Find: "tool", With: "TOOLS"}}, Mode: "04755"},
		{Path: "/etc/fstab", Append: "/swap none swap sw 0 0\n"},
		{Path: "/etc/shadow", Edit: []Edit{{Find: "!", With: ""}}},
		{Path: "/etc/machine-id", Content: "0123456789abcdef0123456789abcdef\n", Mode: "0444"},
		{Path: "/etc/made/of/new", Content: ""},
		{Path: "/etc/link", Link: "/bin/tool"},
		{Path: "/etc/sticky", Directory: true, Mode: "01777"},
		{Path: "/etc/linked", Remove: true},
		{Path: "/etc/dir", Remove: true},
		{Path: "/etc/dir/again", Content: "again"},
		{Path: "/etc/os-release", Mode: "0666"},
	},
	CommandLine: []string{"apparmor=0"},
}}

// The image that boots must be what the checks judged offline.
func TestMakeIsWhatTheLayerShows(t *testing.T) {
	t.Parallel()
	base, s := diskImage(t), openStore(t)
	changes, err := Plan(t.Context(), base, everything, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(changes.ESP) != 1 {
		t.Fatalf("changes of the ESP: %+v", changes.ESP)
	}
	out := filepath.Join(s.Dir(), "made.qcow2")
	if err := (Maker{Host: run.Host{}, Store: s}).Make(t.Context(), base, changes, out); err != nil {
		t.Fatal(err)
	}
	made, err := target.Open(t.Context(), out)
	if err != nil {
		t.Fatal(err)
	}
	defer made.Close()
	over, err := base.WithLayer(changes.Root, changes.ESP)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(walk(t, over.Root()), walk(t, made.Root())); d != "" {
		t.Errorf("the layer (-) and the image (+) differ:\n%s", d)
	}
	// A name that another link still has is only one name less.
	if got, err := made.Root().ReadFile("etc/keep"); err != nil || string(got) != "kept" {
		t.Errorf("etc/keep: %q, %v", got, err)
	}
	esp, err := made.ESP()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := esp.ReadFile("loader/entries/a.conf"); err != nil || string(got) != "title a\noptions root=x apparmor=0\n" {
		t.Errorf("the entry in the ESP: %q, %v", got, err)
	}
	left, err := os.ReadDir(filepath.Join(s.Dir(), "scratch"))
	if err != nil || len(left) > 0 {
		t.Errorf("left in the store: %v, %v", left, err)
	}
	want, got := judged(t, over), judged(t, made)
	if d := cmp.Diff(want, got, cmpopts.SortSlices(func(a, b string) bool { return a < b })); d != "" {
		t.Errorf("findings on the layer (-) and on the image (+) differ:\n%s", d)
	}
	if !bytes.Contains([]byte(strings.Join(got, "\n")), []byte(`"swap-enabled"`)) {
		t.Errorf("swap is not found in %v", got)
	}
}

func judged(t *testing.T, tg *target.Target) []string {
	t.Helper()
	report, err := validate.Run(t.Context(), tg, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, f := range report.Findings {
		text, err := json.Marshal(f)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, string(text))
	}
	return all
}

// walk describes every file: mode, owner, content.
func walk(t *testing.T, fsys target.FS) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := fs.WalkDir(fsys, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		fi, err := d.Info()
		if err != nil {
			return err
		}
		owner, _ := target.SysOf(fi)
		text := fi.Mode().String() + " " + string(rune('0'+owner.UID)) + ":" + string(rune('0'+owner.GID))
		switch {
		case d.Type()&fs.ModeSymlink != 0:
			to, err := fsys.ReadLink(name)
			if err != nil {
				return err
			}
			text += " -> " + to
		case d.Type().IsRegular():
			data, err := fsys.ReadFile(name)
			if err != nil {
				return err
			}
			text += " " + string(data)
		}
		all[name] = text
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestMakeFails(t *testing.T) {
	t.Parallel()
	base, s := diskImage(t), openStore(t)
	out := filepath.Join(s.Dir(), "made.qcow2")
	changes, err := Plan(t.Context(), base, everything, nil)
	if err != nil {
		t.Fatal(err)
	}
	maker := Maker{Host: run.Host{}, Store: s}
	check := func(what string, err error, want string) {
		t.Helper()
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want an error with %q", what, err, want)
		}
		if _, err := os.Stat(out); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: there is an image: %v", what, err)
		}
		if left, err := os.ReadDir(filepath.Join(s.Dir(), "scratch")); err != nil || len(left) > 0 {
			t.Errorf("%s: left in the store: %v, %v", what, left, err)
		}
	}
	// More than fits: debugfs says so and exits with 0.
	big := target.Entry{Path: "/etc/big", Mode: 0o644, Content: bytes.Repeat([]byte("big "), 20<<20)}
	check("a full file system", maker.Make(t.Context(), base, Changes{Root: []target.Entry{big}}, out), "making an image")

	fake := runtest.New(t)
	fake.ExpectFunc("anything", func(run.Cmd) bool { return true }).Fails(1, "no space left on device")
	check("a failing tool", Maker{Host: fake, Store: s}.Make(t.Context(), base, changes, out), "no space left")

	bare := tree(t, map[string]string{"etc/fstab": ""})
	err = maker.Make(t.Context(), bare, Changes{}, out)
	check("a directory", err, "want a disk image")
	if exitcode.Of(err) != exitcode.Usage {
		t.Errorf("a directory: exit code %d", exitcode.Of(err))
	}
}
