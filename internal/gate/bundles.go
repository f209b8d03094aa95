package gate

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/attest"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
)

// Bounds of a folder of attestations.
const (
	maxFiles = 50_000
	maxTotal = 512 << 20 // bytes of the bundles that are about one image
)

// bundle is one file of the folder.
type bundle struct {
	file   string // base name
	data   []byte
	sha256 string
	parsed *attest.Bundle // nil if err is set
	claim  attest.Claim
	err    error // why it cannot be read
}

// eachBundle reads the bundles of a folder one after another, so that no more
// than one is held, whatever the folder has. Links out of the folder, pipes
// and the like are bundles with an error; visit may keep what it is given.
func eachBundle(ctx context.Context, dir string, visit func(bundle) error) error {
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
		if !strings.HasSuffix(e.Name(), attest.BundleSuffix) {
			continue
		}
		b := bundle{file: e.Name()}
		if b.data, b.err = readIn(root, e.Name()); b.err == nil {
			sum := sha256.Sum256(b.data)
			b.sha256 = hex.EncodeToString(sum[:])
			b.parsed, b.err = attest.Parse(b.data)
		}
		if b.err == nil {
			b.claim = attest.ReadClaim(b.parsed.Statement())
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
	if info.Size() > attest.MaxBundle {
		return nil, fmt.Errorf("it has %d bytes: expected at most %d", info.Size(), attest.MaxBundle)
	}
	f, err := root.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // only read
	data, err := io.ReadAll(io.LimitReader(f, attest.MaxBundle+1))
	if err == nil && len(data) > attest.MaxBundle {
		err = fmt.Errorf("it has more than %d bytes", attest.MaxBundle)
	}
	return data, err
}
