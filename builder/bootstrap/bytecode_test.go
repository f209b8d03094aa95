package bootstrap

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// tree makes files with their contents below a new directory; programs end
// in .distrib or lie in a bin directory.
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	root := filepath.Join(t.TempDir(), "a root")
	for name, text := range files {
		path := filepath.Join(root, name)
		mode := fs.FileMode(0o644)
		if strings.Contains(name, "bin/") {
			mode = 0o755
		}
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), mode)); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func hookIn(t *testing.T, root, hook, path string) (string, error) {
	t.Helper()
	cmd := exec.Command("sh", "-c", hook, "sh", root)
	cmd.Env = append(os.Environ(), "PATH="+path+":"+os.Getenv("PATH"))
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// The modules that programs share are compiled once, in the end, and nothing
// tells of the detour.
func TestBytecodeIsMadeOnce(t *testing.T) {
	t.Parallel()
	const diverted = "/usr/bin/a\n/usr/bin/a.distrib\npackage\n"
	root := tree(t, map[string]string{"var/lib/dpkg/diversions": diverted, "usr/bin/sh": "", "usr/lib/python3/dist-packages/x.py": "", "usr/lib/python3.13/dist-packages/y.py": ""})
	// A chroot that changes nothing, and says what it was to run.
	fake := filepath.Join(tree(t, map[string]string{"bin/chroot": "#!/bin/sh\nshift\necho \"ran $*\"\n"}), "bin")
	if out, err := hookIn(t, root, deferBytecode, fake); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	stub, diversions := filepath.Join(root, "usr/bin/py3compile"), filepath.Join(root, "var/lib/dpkg/diversions")
	if text, err := os.ReadFile(diversions); err != nil || string(text) != diverted+"/usr/bin/py3compile\n/usr/bin/py3compile.distrib\n:\n" {
		t.Errorf("diversions are %q, %v", text, err)
	}
	// As a package with a directory of its own calls it, before python3-minimal
	// is unpacked.
	for _, args := range [][]string{{"-p", "python3-yaml:amd64"}, {"-p", "python3", "/usr/share/python3"}} {
		if out, err := exec.Command(stub, args...).CombinedOutput(); err != nil || len(out) > 0 {
			t.Errorf("py3compile %v: %v, %s", args, err, out)
		}
	}
	// dpkg unpacks it, and has copied the list when it last changed that.
	program := filepath.Join(root, "usr/bin/py3compile.distrib")
	if err := errors.Join(os.WriteFile(program, []byte("#!/bin/sh\nexit 3\n"), 0o755), os.Link(diversions, diversions+"-old")); err != nil {
		t.Fatal(err)
	}
	if out, err := hookIn(t, root, makeBytecode, fake); err != nil || out != "ran py3compile /usr/lib/python3/dist-packages\nran py3compile /usr/lib/python3.13/dist-packages\n" {
		t.Errorf("%v: %s", err, out)
	}
	for _, name := range []string{diversions, diversions + "-old"} {
		if text, err := os.ReadFile(name); err != nil || string(text) != diverted {
			t.Errorf("%s: %q, %v", name, text, err)
		}
	}
	if text, err := os.ReadFile(stub); err != nil || string(text) != "#!/bin/sh\nexit 3\n" {
		t.Errorf("py3compile is %q, %v", text, err)
	}
	if _, err := os.Stat(program); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%s: %v, want none", program, err)
	}
}

// A compiler that fails fails the build, and a system without Python needs none.
func TestBytecodeFails(t *testing.T) {
	t.Parallel()
	fake := filepath.Join(tree(t, map[string]string{"bin/chroot": "#!/bin/sh\nexit 4\n"}), "bin")
	files := map[string]string{"var/lib/dpkg/diversions": "", "usr/bin/sh": "", "usr/lib/python3/dist-packages/x.py": ""}
	for _, python := range []bool{true, false} {
		root := tree(t, files)
		if out, err := hookIn(t, root, deferBytecode, fake); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		if python {
			if err := os.WriteFile(filepath.Join(root, "usr/bin/py3compile.distrib"), nil, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		if out, err := hookIn(t, root, makeBytecode, fake); (err != nil) != python {
			t.Errorf("with python: %t: %v: %s", python, err, out)
		}
	}
}
