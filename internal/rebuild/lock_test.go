package rebuild

import (
	"os"
	"path/filepath"
	"testing"
)

func TestLockBeside(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	image := filepath.Join(dir, "node.qcow2")
	if got, err := LockBeside(image); got != "" || err != nil {
		t.Errorf("without a lock: %q, %v", got, err)
	}
	want := filepath.Join(dir, "node.lock.yaml")
	if err := os.WriteFile(want, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := LockBeside(image); got != want || err != nil {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
	if _, err := LockBeside(filepath.Join(want, "node.qcow2")); err == nil {
		t.Error("a path through a file is no error")
	}
}
