package bootstrap

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/programtest"
)

// tree makes files with their contents below a new directory; what lies in a
// directory of programs can be run.
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	root := filepath.Join(t.TempDir(), "a root")
	for name, text := range files {
		path := filepath.Join(root, name)
		err := os.MkdirAll(filepath.Dir(path), 0o755)
		if strings.Contains(name, "bin/") {
			err = errors.Join(err, programtest.WriteFile(path, []byte(text)))
		} else {
			err = errors.Join(err, os.WriteFile(path, []byte(text), 0o644))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// hookIn runs a hook with a chroot that changes no root, but runs a shell line
// with what it was to run.
func hookIn(t *testing.T, root, hook, chroot string) (string, error) {
	t.Helper()
	bin := filepath.Join(tree(t, map[string]string{"bin/chroot": "#!/bin/sh\nshift\n" + chroot + "\n"}), "bin")
	cmd := exec.Command("sh", "-c", hook, "sh", root)
	cmd.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"))
	out, err := cmd.CombinedOutput()
	return string(out), err
}

const diverted = "/usr/bin/a\n/usr/bin/a.distrib\npackage\n"

func unpacked() map[string]string {
	return map[string]string{
		"var/lib/dpkg/diversions": diverted, "usr/bin/sh": "", "usr/sbin/x": "", "run/x": "",
		"usr/lib/python3/dist-packages/x.py": "", "usr/lib/python3.13/dist-packages/y.py": "",
	}
}

// What was put off is done in the end, and nothing tells of the detour.
func TestLater(t *testing.T) {
	t.Parallel()
	root := tree(t, unpacked())
	if out, err := hookIn(t, root, putOff, "exit 9"); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	py3compile, diversions := filepath.Join(root, "usr/bin/py3compile"), filepath.Join(root, "var/lib/dpkg/diversions")
	want := diverted + "/usr/bin/py3compile\n/usr/bin/py3compile.distrib\n:\n/usr/sbin/depmod\n/usr/sbin/depmod.distrib\n:\n/sbin/depmod\n/sbin/depmod.distrib\n:\n/usr/sbin/update-ca-certificates\n/usr/sbin/update-ca-certificates.distrib\n:\n"
	if text, err := os.ReadFile(diversions); err != nil || string(text) != want {
		t.Errorf("diversions are %q, %v; want %q", text, err, want)
	}
	// As packages call it before python3-minimal is unpacked.
	for _, args := range [][]string{{"-p", "python3-yaml:amd64"}, {"-p", "python3", "/usr/share/python3"}} {
		if out, err := exec.Command(py3compile, args...).CombinedOutput(); err != nil || len(out) > 0 {
			t.Errorf("py3compile %v: %v, %s", args, err, out)
		}
	}
	if stub, err := os.ReadFile(filepath.Join(root, "usr/sbin/update-ca-certificates")); err != nil || string(stub) != "#!/bin/sh\n: >/usr/sbin/update-ca-certificates.later\n" {
		t.Errorf("update-ca-certificates is %q, %v", stub, err)
	}
	// dpkg unpacks them, and has copied the list when it last changed that.
	if err := errors.Join(
		programtest.WriteFile(py3compile+".distrib", []byte("#!/bin/sh\nexit 3\n")),
		os.Symlink("../bin/kmod", filepath.Join(root, "usr/sbin/depmod.distrib")),
		os.WriteFile(filepath.Join(root, "usr/sbin/update-ca-certificates.later"), nil, 0o644),
		os.Link(diversions, diversions+"-old"),
	); err != nil {
		t.Fatal(err)
	}
	out, err := hookIn(t, root, catchUp, `echo "ran $*"`)
	lines := strings.Split(strings.TrimSpace(out), "\n")
	slices.Sort(lines) // two things at the same time
	if want := []string{"ran py3compile /usr/lib/python3.13/dist-packages", "ran py3compile /usr/lib/python3/dist-packages", "ran update-ca-certificates"}; err != nil || !slices.Equal(lines, want) {
		t.Errorf("%v: %q, want %q", err, lines, want)
	}
	for _, name := range []string{diversions, diversions + "-old"} {
		if text, err := os.ReadFile(name); err != nil || string(text) != diverted {
			t.Errorf("%s: %q, %v", name, text, err)
		}
	}
	if text, err := os.ReadFile(py3compile); err != nil || string(text) != "#!/bin/sh\nexit 3\n" {
		t.Errorf("py3compile is %q, %v", text, err)
	}
	if target, err := os.Readlink(filepath.Join(root, "usr/sbin/depmod")); err != nil || target != "../bin/kmod" {
		t.Errorf("depmod leads to %q, %v", target, err)
	}
	for _, dir := range []string{"usr/bin", "usr/sbin", "run"} {
		entries, err := os.ReadDir(filepath.Join(root, dir))
		if err != nil || slices.ContainsFunc(entries, func(e fs.DirEntry) bool {
			return strings.HasSuffix(e.Name(), ".distrib") || strings.HasSuffix(e.Name(), ".later")
		}) {
			t.Errorf("%s has %v, %v", dir, entries, err)
		}
	}
}

// depmodIn is the stub of depmod as it would be run in a chroot at root, where the
// package's own is what depmod says.
func depmodIn(t *testing.T, root, depmod string) (stub string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "usr/sbin/depmod"))
	if err != nil {
		t.Fatal(err)
	}
	stub = filepath.Join(t.TempDir(), "depmod")
	if err := errors.Join(
		programtest.WriteFile(stub, []byte(strings.ReplaceAll(strings.ReplaceAll(string(text), "later=/usr", "later='"+root+"'/usr"), "-f /usr", "-f '"+root+"'/usr"))),
		programtest.WriteFile(filepath.Join(root, "usr/bin/kmod"), []byte("#!/bin/sh\n"+depmod+"\n")),
		os.Symlink("../bin/kmod", filepath.Join(root, "usr/sbin/depmod.distrib")),
	); err != nil {
		t.Fatal(err)
	}
	return stub
}

// A kernel that calls depmod does not wait for it, and gets what it asked for; each
// call by itself, and under its own name, by which kmod knows what to do.
func TestDepmodRunsBeside(t *testing.T) {
	t.Parallel()
	root := tree(t, unpacked())
	if out, err := hookIn(t, root, putOff, "exit 9"); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	began := filepath.Join(root, "run/go")
	stub := depmodIn(t, root, `while [ ! -e '`+began+`' ]; do sleep 0.05; done; echo "${0##*/} $*" >>'`+root+`/run/said'`)
	for _, args := range [][]string{{"6.12.0-amd64"}, {"-a", "-F", "/boot/System.map-6.13", "6.13"}} {
		if out, err := exec.Command(stub, args...).CombinedOutput(); err != nil || len(out) > 0 {
			t.Fatalf("depmod %v: %v, %s", args, err, out)
		}
	}
	if err := os.WriteFile(began, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := hookIn(t, root, catchUp, "exit 0"); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	said, err := os.ReadFile(filepath.Join(root, "run/said"))
	lines := strings.Split(strings.TrimSpace(string(said)), "\n")
	slices.Sort(lines)
	if want := []string{"depmod -a -F /boot/System.map-6.13 6.13", "depmod 6.12.0-amd64"}; err != nil || !slices.Equal(lines, want) {
		t.Errorf("%v: %q, want %q", err, lines, want)
	}
	if _, err := os.Stat(filepath.Join(root, "usr/sbin/depmod.later")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("left behind: %v", err)
	}
}

func TestDepmodFails(t *testing.T) {
	t.Parallel()
	for name, depmod := range map[string]string{
		"says no": "echo no such module >&2; exit 3", "is killed": "kill -KILL $PPID; echo no such module >&2; exit 1",
	} {
		root := tree(t, unpacked())
		if out, err := hookIn(t, root, putOff, "exit 9"); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		if out, err := exec.Command(depmodIn(t, root, depmod), "6.12").CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		if out, err := hookIn(t, root, catchUp, "exit 0"); err == nil || !strings.Contains(out, "depmod failed:\nno such module") {
			t.Errorf("depmod %s: %v, %s", name, err, out)
		}
	}
}

// Whatever fails fails the build, and a system without Python and certificates
// needs neither.
func TestLaterFails(t *testing.T) {
	t.Parallel()
	for chroot, want := range map[string]bool{
		`case $1 in py3compile) exit 4; esac`: false, `case $1 in update-ca-certificates) exit 4; esac`: false, "exit 0": true,
	} {
		for _, has := range []bool{true, false} {
			root := tree(t, unpacked())
			if out, err := hookIn(t, root, putOff, "exit 9"); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			if has {
				if err := errors.Join(
					os.WriteFile(filepath.Join(root, "usr/bin/py3compile.distrib"), nil, 0o755),
					os.WriteFile(filepath.Join(root, "usr/sbin/update-ca-certificates.later"), nil, 0o644),
				); err != nil {
					t.Fatal(err)
				}
			}
			if out, err := hookIn(t, root, catchUp, chroot); (err == nil) != (want || !has) {
				t.Errorf("%q, with both: %t: %v: %s", chroot, has, err, out)
			}
		}
	}
}
