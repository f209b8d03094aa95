package oci

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"os"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/klauspost/compress/zstd"
)

// layer is a compressed layer in a file. It is compressed because containerd
// keeps a layer's blob beside what it unpacks: uncompressed, every program
// would lie on the node's disk twice. It is zstd, which containerd reads since
// 1.5, because that takes a tenth of gzip's time.
type layer struct {
	path   string
	digest v1.Hash
	diffID v1.Hash
	size   int64
}

var _ v1.Layer = layer{}

func (l layer) Digest() (v1.Hash, error)             { return l.digest, nil }
func (l layer) DiffID() (v1.Hash, error)             { return l.diffID, nil }
func (l layer) Size() (int64, error)                 { return l.size, nil }
func (l layer) MediaType() (types.MediaType, error)  { return types.OCILayerZStd, nil }
func (l layer) Compressed() (io.ReadCloser, error)   { return os.Open(l.path) }
func (l layer) Uncompressed() (io.ReadCloser, error) { return decompress(l.path) }

func decompress(path string) (io.ReadCloser, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	z, err := zstd.NewReader(f)
	if err != nil {
		f.Close()
		return nil, err
	}
	return struct {
		io.Reader
		io.Closer
	}{z, closer(func() error { z.Close(); return f.Close() })}, nil
}

type closer func() error

func (c closer) Close() error { return c() }

// counter hashes and counts what is written through it.
type counter struct {
	hash hash.Hash
	size int64
}

func (c *counter) Write(p []byte) (int, error) {
	c.size += int64(len(p))
	return c.hash.Write(p)
}

func (c *counter) digest() v1.Hash {
	return v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(c.hash.Sum(nil))}
}

// writeLayer packs entries into the file path.
func writeLayer(ctx context.Context, path string, entries []Entry) (l layer, err error) {
	f, err := os.Create(path)
	if err != nil {
		return layer{}, err
	}
	defer func() {
		if closeErr := f.Close(); err == nil {
			err = closeErr
		}
	}()
	compressed, plain := &counter{hash: sha256.New()}, &counter{hash: sha256.New()}
	// More than one thread would be allowed to cut blocks as it likes.
	z, err := zstd.NewWriter(io.MultiWriter(f, compressed), zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedDefault))
	if err != nil {
		return layer{}, err
	}
	if err := writeTar(ctx, io.MultiWriter(z, plain), entries); err != nil {
		return layer{}, err
	}
	if err := z.Close(); err != nil {
		return layer{}, err
	}
	return layer{path: path, digest: compressed.digest(), diffID: plain.digest(), size: compressed.size}, nil
}

func writeTar(ctx context.Context, w io.Writer, entries []Entry) error {
	sorted, err := complete(entries)
	if err != nil {
		return err
	}
	tw := tar.NewWriter(w)
	for _, e := range sorted {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		if err := writeEntry(tw, e); err != nil {
			return fmt.Errorf("packing %s: %w", e.Path, err)
		}
	}
	return tw.Close()
}

func writeEntry(tw *tar.Writer, e Entry) error {
	header := &tar.Header{
		Name:    strings.TrimPrefix(e.Path, "/"),
		Mode:    e.Mode,
		Uid:     e.UID,
		Gid:     e.GID,
		ModTime: time.Unix(0, 0),
		Format:  tar.FormatPAX,
	}
	for name, value := range e.XAttrs {
		if header.PAXRecords == nil {
			header.PAXRecords = map[string]string{}
		}
		header.PAXRecords["SCHILY.xattr."+name] = value
	}
	switch e.Kind {
	case Dir:
		header.Typeflag = tar.TypeDir
		header.Name += "/"
		return tw.WriteHeader(header)
	case Symlink:
		header.Typeflag = tar.TypeSymlink
		header.Linkname = e.Target
		header.Mode = 0o777
		return tw.WriteHeader(header)
	}
	content, size, err := e.open()
	if err != nil {
		return err
	}
	defer content.Close()
	header.Typeflag = tar.TypeReg
	header.Size = size
	if err := tw.WriteHeader(header); err != nil {
		return err
	}
	_, err = io.Copy(tw, content)
	return err
}
