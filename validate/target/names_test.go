package target

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// TestNameThatIsNotUTF8 reads a file whose name no encoding but Latin-1 has, as
// old packages and backups leave them: a walk must not end there.
func TestNameThatIsNotUTF8(t *testing.T) {
	t.Parallel()
	const name = "caf\xe9"
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name, name), []byte("noir"), 0o644); err != nil {
		t.Fatal(err)
	}
	root := mustOpen(t, dir).Root()
	var seen []string
	err := fs.WalkDir(root, ".", func(p string, _ fs.DirEntry, err error) error {
		seen = append(seen, p)
		return err
	})
	if err != nil {
		t.Fatalf("walking: %v", err)
	}
	if len(seen) != 3 {
		t.Errorf("saw %q", seen)
	}
	if b, err := fs.ReadFile(root, name+"/"+name); err != nil || string(b) != "noir" {
		t.Errorf("got %q, %v", b, err)
	}
}
