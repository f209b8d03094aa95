package pipeline

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/console"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/store"
)

func TestStoreLimit(t *testing.T) {
	for text, want := range map[string]int64{"": 0, "20GiB": 20 << 30} {
		t.Setenv(EnvLimit, text)
		if got, err := storeLimit(); err != nil || got != want {
			t.Errorf("%q: got %d, %v, want %d", text, got, err, want)
		}
	}
	t.Setenv(EnvLimit, "much")
	if _, err := storeLimit(); exitcode.Of(err) != exitcode.Usage || !strings.Contains(err.Error(), EnvLimit) {
		t.Errorf("got %v, want bad input that names %s", err, EnvLimit)
	}
	// A wrong limit is refused before anything is done.
	if _, err := Build(t.Context(), Options{Profile: "debian-13", OutputDir: t.TempDir(), UI: console.New(new(bytes.Buffer))}); exitcode.Of(err) != exitcode.Usage || !strings.Contains(err.Error(), EnvLimit) {
		t.Errorf("a build with it: %v", err)
	}
}

func TestShrink(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	fill := func(what string) {
		s, err := store.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		key, err := store.Key(what)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Do(t.Context(), key, func(_ context.Context, dir string) error {
			return os.WriteFile(filepath.Join(dir, what), make([]byte, 3<<20), 0o600)
		}); err != nil {
			t.Fatal(err)
		}
	}
	fill("old")
	s, err := store.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	shrink(t.Context(), s, 0, console.New(&said))
	if said.Len() != 0 {
		t.Errorf("without a limit: %s", said.String())
	}
	// The entry is held by this process, which made it.
	shrink(t.Context(), s, 1<<20, console.New(&said))
	if !strings.Contains(said.String(), "more than "+EnvLimit+" allows (1 MiB)") {
		t.Errorf("a limit that cannot hold: %q", said.String())
	}
	shrink(t.Context(), s, 100<<20, console.New(&said))
	if strings.Count(said.String(), "\n") != 1 {
		t.Errorf("a limit that holds is no news: %q", said.String())
	}
}
