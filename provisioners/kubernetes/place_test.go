package kubernetes

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"
	"github.com/klauspost/compress/zstd"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/component"
	"github.com/nodeimage/packer-plugin-nodeimage/provisioners/plan/executor"
)

// tree is a communicator whose commands end as they are told to.
type tree struct {
	packersdk.Communicator
	hasStore, tarFails bool
	unpacked           []byte
}

func (f *tree) Start(_ context.Context, cmd *packersdk.RemoteCmd) error {
	code := 0
	switch {
	case strings.Contains(cmd.Command, "id -u"):
		_, _ = io.WriteString(cmd.Stdout, "0\n")
	case strings.Contains(cmd.Command, "SOURCE_DATE_EPOCH"):
		if f.hasStore {
			code = 1
		}
	case f.tarFails:
		code = 2
	default:
		f.unpacked, _ = io.ReadAll(cmd.Stdin)
	}
	go cmd.SetExited(code)
	return nil
}

type preloaded struct {
	component.Resolver
	path  string
	err   error
	asked int
}

func (r *preloaded) Preloaded(context.Context) (string, error) {
	r.asked++
	return r.path, r.err
}

func TestPlace(t *testing.T) {
	t.Parallel()
	content := bytes.Repeat([]byte("a tar of some size "), 1<<16)
	var packed bytes.Buffer
	w, err := zstd.NewWriter(&packed)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(content); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	whole, cut := filepath.Join(dir, "whole"), filepath.Join(dir, "cut")
	if err := errors.Join(os.WriteFile(whole, packed.Bytes(), 0o600), os.WriteFile(cut, packed.Bytes()[:packed.Len()/2], 0o600)); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		tree     tree
		resolver preloaded
		said     string
		err      string
		unpacked bool
		unasked  bool
	}{
		"there is a store already":  {tree: tree{hasStore: true}, unasked: true},
		"this host cannot":          {},
		"it cannot be made":         {resolver: preloaded{err: errors.New("no memory left")}, said: "warning: no memory left: they are imported in the image"},
		"all is well":               {resolver: preloaded{path: whole}, said: "unpacking", unpacked: true},
		"the file is cut":           {resolver: preloaded{path: cut}, said: "unpacking", err: cut + ": unexpected EOF"},
		"the file is gone":          {resolver: preloaded{path: cut + "x"}, said: "unpacking", err: "no such file"},
		"tar ends before its input": {tree: tree{tarFails: true}, resolver: preloaded{path: whole}, said: "unpacking", err: "exit status 2"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			target, err := executor.New(t.Context(), &c.tree)
			if err != nil {
				t.Fatal(err)
			}
			var said []string
			err = Place(t.Context(), target, func(line string) { said = append(said, line) }, &c.resolver)
			if (err != nil) != (c.err != "") || err != nil && !strings.Contains(err.Error(), c.err) {
				t.Errorf("error %v, want %q", err, c.err)
			}
			if c.unpacked && !bytes.Equal(c.tree.unpacked, content) {
				t.Errorf("tar got %d bytes, want %d", len(c.tree.unpacked), len(content))
			}
			if (c.resolver.asked == 0) != c.unasked {
				t.Errorf("the resolver was asked %d times", c.resolver.asked)
			}
			if (len(said) > 0) != (c.said != "") || !slices.ContainsFunc(said, func(line string) bool { return strings.HasPrefix(line, c.said) }) && c.said != "" {
				t.Errorf("said %q, want %q", said, c.said)
			}
		})
	}
}
