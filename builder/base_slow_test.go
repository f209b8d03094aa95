//go:build integration && slow

package builder

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/nodeimage/packer-plugin-nodeimage/builder/disk"
)

// The base is the same whoever makes it, so that it does not matter whose
// store it came from. They are whole bootstraps more than TestBuild needs.
func TestBaseIsReproducible(t *testing.T) {
	var sums []string
	for _, who := range []string{"root", "elsewhere", "user"} {
		var dir string
		var cmd *exec.Cmd
		switch who {
		case "user":
			name, home := newUser(t)
			if out, err := exec.Command("chown", "-R", name+":", home).CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			dir, cmd = home, userChild(name, home)
		case "elsewhere":
			dir = workspace(t, debian, keyring)
			cmd = child(dir, hostile...)
			cmd.Env = append(cmd.Env, hostileEnv...)
		default:
			dir = workspace(t, debian, keyring)
			cmd = child(dir)
		}
		if code, said := finish(t, cmd); code != "0" {
			t.Fatalf("exit code %s:\n%s", code, said)
		}
		found, err := filepath.Glob(filepath.Join(dir, "cache/entries/*/data/rootfs.tar"))
		if err != nil || len(found) != 1 {
			t.Fatalf("%v, %v: want one base", found, err)
		}
		sum, _, err := disk.Digest(t.Context(), found[0])
		if err != nil {
			t.Fatal(err)
		}
		sums = append(sums, sum)
		if keep := os.Getenv("BUILDER_TEST_KEEP"); keep != "" {
			copyFile(t, found[0], filepath.Join(keep, sum+".tar"))
		}
	}
	if sums[0] != sums[1] || sums[0] != sums[2] {
		t.Errorf("the base is %s here, %s elsewhere and %s for an ordinary user: set BUILDER_TEST_KEEP to a directory to keep them and compare", sums[0], sums[1], sums[2])
	}
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	in, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	if _, err := io.Copy(out, in); err != nil {
		t.Fatal(err)
	}
}
