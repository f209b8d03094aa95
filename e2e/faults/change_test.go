package faults

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/component"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/validate/target"
)

// tree writes files below a new directory; a value that starts with "-> " is a
// link.
func tree(t *testing.T, files map[string]string) *target.Target {
	t.Helper()
	root := t.TempDir()
	for p, text := range files {
		p = filepath.Join(root, p)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		if to, ok := strings.CutPrefix(text, "-> "); ok {
			err = os.Symlink(to, p)
		} else {
			err = os.WriteFile(p, []byte(text), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	tg, err := target.Open(t.Context(), root)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tg.Close() })
	return tg
}

// node is a little image.
func node(t *testing.T) *target.Target {
	return tree(t, map[string]string{
		"bin":                        "-> usr/bin",
		"usr/bin/tool":               "tool 1.0",
		"usr/local/sbin/runc":        "runc 1",
		"usr/local/bin/containerd":   "containerd 2",
		"etc/fstab":                  "/ ext4\n",
		"etc/os":                     "-> fstab",
		"etc/dir/a":                  "a",
		"usr/lib/modules/6.1/dep":    "x\ny\n",
		"usr/lib/modules/6.2/dep":    "x\n",
		"boot/grub/grub.cfg":         "menuentry a {\n\tlinux /vmlinuz root=x ro\n\tinitrd /i\n}\nmenuentry b {\n\tlinux /vmlinuz.old root=x\n}\n",
		"boot/loader/entries/a.conf": "title a\noptions root=x\n",
		"var/lib/dpkg/status":        "Package: apparmor\nStatus: install ok installed\nVersion: 1\n\nPackage: iptables\nStatus: install ok installed\nVersion: 2\n\n",
		"usr/lib/nodeimage/manifest.d/runtime.json": `{"components":[{"name":"containerd","files":[{"path":"/usr/local/bin/containerd"}]}]}`,
	})
}

func swap(name string, files ...component.File) Components {
	return func(context.Context, Fault) (map[string]component.Built, error) {
		return map[string]component.Built{name: {Name: name, Version: "9", Files: files}}, nil
	}
}

func TestPlan(t *testing.T) {
	t.Parallel()
	program := filepath.Join(t.TempDir(), "containerd")
	if err := os.WriteFile(program, []byte("containerd 9"), 0o600); err != nil {
		t.Fatal(err)
	}
	base := node(t)
	f := Fault{ID: "x", Change: Change{
		Components: map[string]Component{"containerd": {Version: "9.0.0"}},
		Files: []File{
			{Path: "/usr/sbin/runc", CopyOf: "/usr/local/sbin/runc"},
			{Path: "/usr/local/sbin/runc", Remove: true},
			{Path: "/bin/tool", Edit: []Edit{{Find: "1.0", With: "2.0"}, {Regexp: `^(t)ool`, With: "${1}OOL"}}},
			{Path: "/etc/os", Append: "swap\n"},
			{Path: "/etc/new/deep/file", Content: "new"},
			{Path: "/etc/link", Link: "/bin/tool"},
			{Path: "/etc/dir", Remove: true},
			{Path: "/etc/made", Directory: true, Mode: "01777"},
			{Path: "/usr/lib/modules/*/dep", Edit: []Edit{{Regexp: `(?m)^x\n`}}},
			{Path: "/usr/bin/tool", Mode: "04755"},
		},
		Packages:    Packages{Removed: []string{"apparmor"}, Installed: []Package{{"needrestart", "3.1"}}},
		CommandLine: []string{"apparmor=0", "quiet"},
	}}
	changes, err := Plan(t.Context(), base, f, swap("containerd", component.File{Name: "containerd", Path: program}))
	if err != nil {
		t.Fatal(err)
	}
	over, err := base.WithLayer(changes.Root, changes.ESP)
	if err != nil {
		t.Fatal(err)
	}
	r := over.Root()
	for name, want := range map[string]string{
		"usr/local/bin/containerd":   "containerd 9",
		"usr/sbin/runc":              "runc 1",
		"usr/bin/tool":               "tOOL 2.0",
		"etc/fstab":                  "/ ext4\nswap\n",
		"etc/new/deep/file":          "new",
		"etc/link":                   "tOOL 2.0",
		"usr/lib/modules/6.1/dep":    "y\n",
		"usr/lib/modules/6.2/dep":    "",
		"boot/grub/grub.cfg":         "menuentry a {\n\tlinux /vmlinuz root=x ro apparmor=0 quiet\n\tinitrd /i\n}\nmenuentry b {\n\tlinux /vmlinuz.old root=x apparmor=0 quiet\n}\n",
		"boot/loader/entries/a.conf": "title a\noptions root=x apparmor=0 quiet\n",
	} {
		if got, err := r.ReadFile(name); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v; want %q", name, got, err, want)
		}
	}
	status, err := r.ReadFile("var/lib/dpkg/status")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"Package: apparmor\nStatus: deinstall ok config-files\n", "Package: iptables\nStatus: install ok installed\n", "\n\nPackage: needrestart\nStatus: install ok installed\n"} {
		if !strings.Contains(string(status), want) {
			t.Errorf("dpkg's status lacks %q:\n%s", want, status)
		}
	}
	for _, name := range []string{"usr/local/sbin/runc", "etc/dir", "etc/dir/a"} {
		if _, err := r.Lstat(name); err == nil {
			t.Errorf("%s is still there", name)
		}
	}
	for name, want := range map[string]fs.FileMode{"etc/made": fs.ModeDir | fs.ModeSticky | 0o777, "usr/bin/tool": fs.ModeSetuid | 0o755, "etc/new/deep": fs.ModeDir | 0o755} {
		if fi, err := r.Stat(name); err != nil || fi.Mode() != want {
			t.Errorf("%s: %v, %v; want %v", name, fi.Mode(), err, want)
		}
	}
}

func TestPlanRefusesWhatDoesNotFit(t *testing.T) {
	t.Parallel()
	for want, c := range map[string]Change{
		"is not in the image's file":    {Files: []File{{Path: "/etc/fstab", Edit: []Edit{{Find: "swap"}}}}},
		"nothing in the image's file":   {Files: []File{{Path: "/etc/fstab", Edit: []Edit{{Regexp: "swap"}}}}},
		"so it cannot be removed":       {Files: []File{{Path: "/etc/none", Remove: true}}},
		"matches nothing":               {Files: []File{{Path: "/etc/*.none", Remove: true}}},
		"matches 2 files":               {Files: []File{{Path: "/etc/x", CopyOf: "/usr/lib/modules/*/dep"}}},
		"/etc/none":                     {Files: []File{{Path: "/etc/none", Append: "x"}}},
		"is a directory":                {Files: []File{{Path: "/etc/dir", Content: "x"}}},
		"in the image already":          {Files: []File{{Path: "/etc/dir", Directory: true}}},
		"the package less is not":       {Packages: Packages{Removed: []string{"less"}}},
		"the package iptables is in":    {Packages: Packages{Installed: []Package{{"iptables", "1"}}}},
		"has nothing for /usr/local/bi": {Components: map[string]Component{"containerd": {Version: "1.0.0"}}},
	} {
		_, err := Plan(t.Context(), node(t), Fault{ID: "x", Change: c}, swap("containerd"))
		if exitcode.Of(err) != exitcode.Usage || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want bad input with %q", c, err, want)
		}
	}
	if _, err := Plan(t.Context(), node(t), Fault{ID: "x", Change: Change{Components: map[string]Component{"runc": {}}}}, swap("runc")); exitcode.Of(err) != exitcode.Usage {
		t.Errorf("a component that the image does not record: %v", err)
	}
	bare := tree(t, map[string]string{"etc/fstab": ""})
	if _, err := Plan(t.Context(), bare, Fault{ID: "x", Change: Change{CommandLine: []string{"x"}}}, nil); exitcode.Of(err) != exitcode.Usage {
		t.Errorf("no boot loader: %v", err)
	}
}
