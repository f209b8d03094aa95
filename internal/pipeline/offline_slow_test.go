//go:build integration && slow

package pipeline_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/nodeimage/packer-plugin-nodeimage/builder/disk"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/component"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/profiles/lock"
)

// smallProfile is debian-13 with all its components and hardly a package more
// than boots.
const smallProfile = `apiVersion: nodeimage.dev/v1alpha1
kind: Profile
name: small
extends: debian-13
archive:
  sources:
    - uri: http://deb.debian.org/debian
      suites: [trixie]
      components: [main]
packages:
  include:
    network: []
    storage: [e2fsprogs]
    security: []
    cloud: []
    ssh: []
    time: []
    container: []
    admin: []
host:
  enableUnits: []
  disableUnits: []
`

// elsewhere is a machine that has a bundle, its lock and no network: a
// directory, and the program in namespaces that have no interface but a
// loopback device that is down.
type elsewhere struct{ program, dir string }

func (e elsewhere) run(t *testing.T, args ...string) (code int, said string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "unshare", append([]string{"--net", "--", e.program}, args...)...)
	cmd.Dir = e.dir
	// Nothing of this host's store, module cache or mirrors.
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + e.dir, "NODEIMAGE_CACHE=" + e.store(), "GOPROXY=off", "TMPDIR=" + os.TempDir()}
	out, err := cmd.CombinedOutput()
	if err != nil && !errors.As(err, new(*exec.ExitError)) {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), string(out)
}

func (e elsewhere) store() string { return filepath.Join(e.dir, "store") }

func (e elsewhere) build(t *testing.T) (code int, said string) {
	t.Helper()
	return e.run(t, "build", "small.yaml", "--lock", "small.lock.yaml", "--offline", "-o", "out")
}

// TestABundleBuildsWithoutANetwork locks a profile, moves the bundle to an empty
// store and builds there without a network. Without one of its files the build
// fails before it makes anything; with all of them the image has the bytes of
// the one that was built from the archive.
func TestABundleBuildsWithoutANetwork(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("this test needs root")
	}
	here := t.TempDir()
	program := buildProgram(t, here)
	there := elsewhere{program, t.TempDir()}
	profile, locked := filepath.Join(here, "small.yaml"), filepath.Join(here, "small.lock.yaml")
	for _, file := range []string{profile, filepath.Join(there.dir, "small.yaml")} {
		if err := os.WriteFile(file, []byte(smallProfile), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	online := filepath.Join(here, "out")
	command(t, os.Environ(), program, "build", profile, "-o", online, "--force") // no lock is there yet
	command(t, os.Environ(), program, "lock", profile)
	bundle := filepath.Join(here, "small.bundle.tar.zst")
	command(t, os.Environ(), program, "bundle", "export", profile, "-o", bundle)

	if code, said := there.build(t); code != exitcode.Usage || !strings.Contains(said, "small.lock.yaml") {
		t.Errorf("without a lock: exit code %d, want %d and its name:\n%s", code, exitcode.Usage, said)
	}
	if code, said := there.run(t, "bundle", "import", bundle, "-o", there.dir); code != exitcode.OK {
		t.Fatalf("importing the bundle: exit code %d:\n%s", code, said)
	}
	l, err := lock.Load(filepath.Join(there.dir, "small.lock.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if digest(t, locked) != digest(t, filepath.Join(there.dir, "small.lock.yaml")) {
		t.Error("the lock of the bundle is not the one that was exported")
	}
	lacking(t, there, l)

	code, said := there.build(t)
	if code != exitcode.OK {
		t.Fatalf("exit code %d:\n%s", code, said)
	}
	for _, name := range []string{"small.qcow2", "small.manifest.json"} {
		a, b := digest(t, filepath.Join(online, name)), digest(t, filepath.Join(there.dir, "out", name))
		if a != b {
			t.Errorf("%s is %s built from the archive, and %s built offline: compare them with nodeimage diff", name, a, b)
		}
	}
	if left, err := filepath.Glob(filepath.Join(there.store(), "scratch", "*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// lacking takes single files out of the store, and wants each build to name what
// they belong to, all at once, and to make nothing.
func lacking(t *testing.T, there elsewhere, l *lock.Lock) {
	t.Helper()
	blob := func(p lock.Package) string { return filepath.Join(there.store(), "blobs", p.SHA256[:2], p.SHA256) }
	named := func(name string) func(lock.Package) bool { return func(p lock.Package) bool { return p.Name == name } }
	kernel := l.Packages[slices.IndexFunc(l.Packages, named(l.Kernel.Package))]
	runc, ok := l.Component("runc")
	if !ok {
		t.Fatal("the lock has no runc")
	}
	base, ok := l.Component("kube-proxy-base")
	if !ok || len(base.Packages) == 0 {
		t.Fatal("the lock has no packages for kube-proxy")
	}
	key, err := component.LockedKey(runc)
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(there.store(), "entries", key, "data", "files", "runc")
	missing := map[string]string{
		blob(kernel):           fmt.Sprintf("package %s %s", kernel.Name, kernel.Version),
		blob(base.Packages[0]): fmt.Sprintf("package %s %s", base.Packages[0].Name, base.Packages[0].Version),
		program:                "component runc " + runc.Version,
	}
	check := func(files map[string]string) {
		t.Helper()
		for file := range files {
			if err := os.Rename(file, file+".away"); err != nil {
				t.Fatal(err)
			}
		}
		code, said := there.build(t)
		if code != exitcode.Usage || !strings.Contains(said, "nodeimage bundle import") || !strings.Contains(said, there.store()) {
			t.Errorf("exit code %d, want %d, the store and what to do:\n%s", code, exitcode.Usage, said)
		}
		for file, what := range files {
			if !strings.Contains(said, what) {
				t.Errorf("%s is missing and not named:\n%s", what, said)
			}
			if err := os.Rename(file+".away", file); err != nil {
				t.Fatal(err)
			}
		}
		if made, err := filepath.Glob(filepath.Join(there.dir, "out", "*")); err != nil || len(made) > 0 {
			t.Errorf("made without %v: %v, %v", files, made, err)
		}
	}
	for file, what := range missing {
		check(map[string]string{file: what})
	}
	check(missing)
}

func digest(t *testing.T, file string) string {
	t.Helper()
	sum, _, err := disk.Digest(t.Context(), file)
	if err != nil {
		t.Fatal(err)
	}
	return sum
}
