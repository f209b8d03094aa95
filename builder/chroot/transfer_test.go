package chroot_test

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nodeimage/packer-plugin-nodeimage/builder/chroot"
)

func open(t *testing.T, root string) *chroot.Communicator {
	t.Helper()
	comm, err := chroot.New(root)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := comm.Close(); err != nil {
			t.Errorf("closing: %v", err)
		}
	})
	return comm
}

// write makes files below dir: content, or "-> target" for a link, or a
// directory for a name that ends in a slash. Modes follow the name after @.
func write(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, content := range files {
		name, mode, _ := strings.Cut(name, "@")
		perm := fs.FileMode(0o644)
		if strings.HasSuffix(name, "/") {
			perm = 0o755
		}
		if mode != "" {
			perm = map[string]fs.FileMode{"0755": 0o755, "0600": 0o600, "0700": 0o700, "1777": 0o777 | fs.ModeSticky}[mode]
		}
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		target, isLink := strings.CutPrefix(content, "-> ")
		switch {
		case strings.HasSuffix(name, "/"):
			if err = os.MkdirAll(path, 0o755); err == nil {
				err = os.Chmod(path, perm)
			}
		case isLink:
			err = os.Symlink(target, path)
		default:
			if err = os.WriteFile(path, []byte(content), 0o644); err == nil {
				err = os.Chmod(path, perm)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// list describes all below dir: mode, and content or target.
func list(t *testing.T, dir string) map[string]string {
	t.Helper()
	got := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		text := info.Mode().String()
		switch info.Mode().Type() {
		case fs.ModeSymlink:
			target, err := os.Readlink(path)
			if err != nil {
				return err
			}
			text = "-> " + target
		case 0:
			content, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			text += " " + string(content)
		}
		got[strings.TrimPrefix(path, dir+"/")] = text
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestUpload(t *testing.T) {
	t.Parallel()
	root, src := t.TempDir(), t.TempDir()
	write(t, src, map[string]string{"tool@0755": "x"})
	write(t, root, map[string]string{"opt/": "", "lib": "-> usr/lib", "usr/lib/": "", "etc/passwd": "p"})
	comm := open(t, root)
	info, err := os.Stat(filepath.Join(src, "tool"))
	if err != nil {
		t.Fatal(err)
	}
	for _, dst := range []string{"/usr/local/bin/renamed", "/opt", "/new/", "/lib/tool"} {
		if err := comm.Upload(dst, strings.NewReader("tool"), &info); err != nil {
			t.Errorf("uploading to %s: %v", dst, err)
		}
	}
	if err := comm.Upload("/etc/plain", strings.NewReader("plain"), nil); err != nil {
		t.Error(err)
	}
	if err := comm.Upload("/opt", strings.NewReader("plain"), nil); err == nil {
		t.Error("a file without a name was put into a directory")
	}
	want := map[string]string{
		"usr/local/bin/renamed": "-rwxr-xr-x tool", "opt/tool": "-rwxr-xr-x tool", "new/tool": "-rwxr-xr-x tool",
		"usr/lib/tool": "-rwxr-xr-x tool", "etc/plain": "-rw-r--r-- plain", "etc/passwd": "-rw-r--r-- p",
	}
	got := list(t, root)
	for name, text := range want {
		if got[name] != text {
			t.Errorf("%s: got %q, want %q", name, got[name], text)
		}
	}
}

func TestUploadDoesNotEscape(t *testing.T) {
	t.Parallel()
	top := t.TempDir()
	root, outside := filepath.Join(top, "root"), filepath.Join(top, "outside")
	write(t, top, map[string]string{
		"outside/file": "untouched", "root/abs": "-> " + outside, "root/rel": "-> ../../../outside",
		"root/file": "-> " + outside + "/file",
	})
	comm := open(t, root)
	for _, dst := range []string{"/abs/file", "/rel/file", "/file", "/../outside/file", "/rel/new"} {
		_ = comm.Upload(dst, strings.NewReader("escaped"), nil)
	}
	_ = comm.UploadDir("/abs", outside, nil)
	if diff := cmp.Diff(map[string]string{"file": "-rw-r--r-- untouched"}, list(t, outside)); diff != "" {
		t.Errorf("outside the root (-want +got):\n%s", diff)
	}
	var b bytes.Buffer
	for _, src := range []string{"/abs/file", "/rel/file", "/file"} {
		if err := comm.Download(src, &b); err == nil && strings.Contains(b.String(), "untouched") {
			t.Errorf("downloading %s read a file outside the root", src)
		}
	}
}

func tree() map[string]string {
	return map[string]string{
		"bin/tool@0755": "t", "etc/secret@0600": "s", "etc/link": "-> ../bin/tool", "etc/dangling": "-> /no/such",
		"empty/@0700": "", "tmp/@1777": "", "skip/a": "a", "keep/b.log": "b",
	}
}

func wantTree(prefix string, sticky bool) map[string]string {
	tmp := "drwxrwxrwx"
	if sticky {
		tmp = "dtrwxrwxrwx"
	}
	want := map[string]string{
		"bin": "drwxr-xr-x", "bin/tool": "-rwxr-xr-x t", "etc": "drwxr-xr-x", "etc/secret": "-rw------- s",
		"etc/link": "-> ../bin/tool", "etc/dangling": "-> /no/such", "empty": "drwx------", "tmp": tmp, "keep": "drwxr-xr-x",
	}
	out := map[string]string{}
	for name, text := range want {
		out[prefix+name] = text
	}
	return out
}

var exclude = []string{"skip", "keep/*.log"}

func TestUploadDir(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ slash, prefix string }{
		"with its name": {"", "src/"}, "contents": {"/", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			root, src := t.TempDir(), filepath.Join(t.TempDir(), "src")
			write(t, src, tree())
			comm := open(t, root)
			for range 2 { // again, over what is there
				if err := comm.UploadDir("/opt/x", src+tc.slash, exclude); err != nil {
					t.Fatal(err)
				}
			}
			want := wantTree(tc.prefix, true)
			if tc.prefix != "" {
				want["src"] = "drwxr-xr-x"
			}
			if diff := cmp.Diff(want, list(t, filepath.Join(root, "opt/x"))); diff != "" {
				t.Errorf("tree (-want +got):\n%s", diff)
			}
		})
	}
}

func TestDownloadDir(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ slash, prefix string }{
		"with its name": {"", "src/"}, "contents": {"/", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			root, dst := t.TempDir(), t.TempDir()
			write(t, filepath.Join(root, "data/src"), tree())
			// By way of a link that is absolute in the image.
			write(t, root, map[string]string{"via": "-> /data"})
			comm := open(t, root)
			for range 2 {
				if err := comm.DownloadDir("/via/src"+tc.slash, dst, exclude); err != nil {
					t.Fatal(err)
				}
			}
			want := wantTree(tc.prefix, false)
			if tc.prefix != "" {
				want["src"] = "drwxr-xr-x"
			}
			if diff := cmp.Diff(want, list(t, dst)); diff != "" {
				t.Errorf("tree (-want +got):\n%s", diff)
			}
		})
	}
	comm := open(t, t.TempDir())
	if err := comm.DownloadDir("/no/such", t.TempDir(), nil); err == nil {
		t.Error("a directory that is not there was downloaded")
	}
	if err := comm.UploadDir("/x", "/no/such/dir", nil); err == nil {
		t.Error("a directory that is not there was uploaded")
	}
}

func TestGuardsComeAndGo(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		before, during, after map[string]string
	}{
		"bare": {
			before: map[string]string{"etc/": "", "usr/sbin/": ""},
			after:  map[string]string{"etc": "drwxr-xr-x", "usr": "drwxr-xr-x", "usr/sbin": "drwxr-xr-x"},
		},
		"own files stay": {
			before: map[string]string{"etc/resolv.conf": "mine", "usr/sbin/policy-rc.d@0755": "mine"},
			after: map[string]string{
				"etc": "drwxr-xr-x", "usr": "drwxr-xr-x", "usr/sbin": "drwxr-xr-x",
				"etc/resolv.conf": "-rw-r--r-- mine", "usr/sbin/policy-rc.d": "-rwxr-xr-x mine",
			},
		},
		"a provisioner's link stays": {
			before: map[string]string{"etc/": "", "usr/sbin/": ""},
			during: map[string]string{"etc/resolv.conf": "-> ../run/systemd/resolve/stub-resolv.conf"},
			after: map[string]string{
				"etc": "drwxr-xr-x", "usr": "drwxr-xr-x", "usr/sbin": "drwxr-xr-x",
				"etc/resolv.conf": "-> ../run/systemd/resolve/stub-resolv.conf",
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			root := t.TempDir()
			write(t, root, tc.before)
			comm, err := chroot.New(root)
			if err != nil {
				t.Fatal(err)
			}
			policy, err := os.ReadFile(filepath.Join(root, "usr/sbin/policy-rc.d"))
			if err != nil || len(policy) == 0 {
				t.Errorf("no guard against services: %q, %v", policy, err)
			}
			if tc.during != nil {
				if err := os.Remove(filepath.Join(root, "etc/resolv.conf")); err != nil {
					t.Fatal(err)
				}
				write(t, root, tc.during)
			}
			for range 2 {
				if err := comm.Close(); err != nil {
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff(tc.after, list(t, root)); diff != "" {
				t.Errorf("left in the image (-want +got):\n%s", diff)
			}
			if err := comm.Upload("/x", strings.NewReader(""), nil); err == nil {
				t.Error("a closed communicator took a file")
			}
		})
	}
}
