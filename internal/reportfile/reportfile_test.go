package reportfile

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
)

func says(text string) func(io.Writer) error {
	return func(w io.Writer) error {
		_, err := io.WriteString(w, text)
		return err
	}
}

func TestSave(t *testing.T) {
	dir := t.TempDir()
	if err := Save(dir, map[string]func(io.Writer) error{"a.json": says("{}"), "a.md": says("# a")}); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"a.json": "{}", "a.md": "# a"} {
		if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

func TestSaveFails(t *testing.T) {
	dir := t.TempDir()
	broken := errors.New("broken")
	err := Save(dir, map[string]func(io.Writer) error{"a.json": func(w io.Writer) error {
		if _, err := io.WriteString(w, "half"); err != nil {
			return err
		}
		return broken
	}})
	if !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 0 {
		t.Errorf("half a report was left: %v, %v", entries, err)
	}
	err = Save(filepath.Join(dir, "missing"), map[string]func(io.Writer) error{"a.json": says("{}")})
	if exitcode.Of(err) != exitcode.Infrastructure {
		t.Errorf("a directory that is not there: %v", err)
	}
}
