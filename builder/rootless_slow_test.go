//go:build integration && slow

package builder

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/console"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/manifest"
)

// newUser makes an ordinary user with subordinate IDs, who is gone with the
// test, and a directory of theirs that has the profile and the test's program.
func newUser(t *testing.T) (name, dir string) {
	t.Helper()
	name = fmt.Sprintf("nodeimage-test-%d", os.Getpid())
	must := func(argv ...string) {
		t.Helper()
		if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", strings.Join(argv, " "), err, out)
		}
	}
	dir = filepath.Join("/var/tmp", name)
	must("useradd", "--create-home", "--home-dir", dir, "--shell", "/bin/sh", name)
	t.Cleanup(func() {
		must("userdel", name)
		must("rm", "-rf", dir)
	})
	must("cp", os.Args[0], filepath.Join(dir, "builder.test"))
	write(t, dir, map[string]string{"small.yaml": fmt.Sprintf(small, keyring, debian)})
	return name, dir
}

// userChild is child for a user that newUser made.
func userChild(name, dir string) *exec.Cmd {
	cmd := exec.Command("setpriv", "--reuid="+name, "--regid="+name, "--init-groups", "--", filepath.Join(dir, "builder.test"), "-test.run=^TestChildBuild$")
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "TMPDIR=" + dir, childVariable + "=" + dir}
	cmd.Dir = dir
	cmd.Stderr = os.Stderr
	return cmd
}

// TestBuildWithoutRoot wants root's bytes from an ordinary user. That the base
// is the same, too, is TestBaseIsReproducible's.
func TestBuildWithoutRoot(t *testing.T) {
	dir := warm(t, workspace(t, debian, keyring))
	if _, err := buildIn(t.Context(), dir, console.New(testWriter{t})); err != nil {
		t.Fatal(err)
	}
	sameWithoutRoot(t, dir, readManifest(t, dir))
}

// sameWithoutRoot builds what is in dir as an ordinary user, with the base of
// its store, and wants the digests of m.
func sameWithoutRoot(t *testing.T, dir string, m manifest.Manifest) {
	t.Helper()
	name, home := newUser(t)
	copyEntries(t, dir, home)
	if out, err := exec.Command("chown", "-R", name+":", home).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	code, said := finish(t, userChild(name, home))
	if code != "0" || !strings.Contains(said, "unchanged, from the cache") {
		t.Fatalf("exit code %s, or the base was bootstrapped again:\n%s", code, said)
	}
	if diff := cmp.Diff(m, readManifest(t, home)); diff != "" {
		t.Errorf("an ordinary user's build has other bytes (-root +user):\n%s", diff)
	}
	left, err := filepath.Glob(filepath.Join(home, "cache/scratch/*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}
