package attest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
)

// maxFiles bounds a folder of bundles.
const maxFiles = 50_000

// Stored is one file of a folder of bundles.
type Stored struct {
	File   string // base name
	Data   []byte
	SHA256 string  // of Data
	Bundle *Bundle // nil if Err is set
	Claim  Claim   // nobody has verified it yet
	Err    error   // why the file cannot be read
}

// EachBundle reads the bundles of a folder one after another, so that no more
// than one is held, whatever the folder has. Links out of the folder, pipes
// and the like are bundles with an error; visit may keep what it is given.
func EachBundle(ctx context.Context, dir string, visit func(Stored) error) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return exitcode.BadInput(fmt.Errorf("opening the folder of attestations: %w", err))
	}
	defer func() { _ = root.Close() }() // only read
	entries, err := fs.ReadDir(root.FS(), ".")
	if err != nil {
		return exitcode.BadInput(fmt.Errorf("reading the folder of attestations: %w", err))
	}
	if len(entries) > maxFiles {
		return exitcode.BadInput(fmt.Errorf("folder of attestations %s: %d files, expected at most %d", dir, len(entries), maxFiles))
	}
	for _, e := range entries {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if !strings.HasSuffix(e.Name(), BundleSuffix) {
			continue
		}
		b := Stored{File: e.Name()}
		if b.Data, b.Err = readIn(root, e.Name()); b.Err == nil {
			b.SHA256 = hexSum(b.Data)
			b.Bundle, b.Err = Parse(b.Data)
		}
		if b.Err == nil {
			b.Claim = ReadClaim(b.Bundle.Statement())
		}
		if err := visit(b); err != nil {
			return err
		}
	}
	return nil
}

func readIn(root *os.Root, name string) ([]byte, error) {
	info, err := root.Stat(name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("it is no regular file")
	}
	if info.Size() > MaxBundle {
		return nil, fmt.Errorf("it has %d bytes: expected at most %d", info.Size(), MaxBundle)
	}
	f, err := root.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // only read
	data, err := io.ReadAll(io.LimitReader(f, MaxBundle+1))
	if err == nil && len(data) > MaxBundle {
		err = fmt.Errorf("it has more than %d bytes", MaxBundle)
	}
	return data, err
}
