package oci

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"slices"
	"strings"
	"time"
)

// blob is one file of a layout.
type blob struct {
	path string // in the layout
	size int64
	open func() (io.ReadCloser, error)
}

func memory(path string, content []byte) blob {
	return blob{path, int64(len(content)), func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content)), nil }}
}

// writeLayout writes the file target: a tar of an OCI image layout. The same
// blobs give the same bytes. target is removed again after an error.
func writeLayout(ctx context.Context, target string, index []byte, blobs []blob) (err error) {
	out, err := os.Create(target)
	if err != nil {
		return err
	}
	defer func() {
		if closeErr := out.Close(); err == nil {
			err = closeErr
		}
		if err != nil {
			err = errors.Join(err, os.Remove(target))
		}
	}()
	tw := tar.NewWriter(out)
	for _, dir := range []string{"blobs/", "blobs/sha256/"} {
		if err := tw.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir, Mode: 0o755, ModTime: time.Unix(0, 0)}); err != nil {
			return err
		}
	}
	all := append([]blob{memory("oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`)), memory("index.json", index)}, blobs...)
	slices.SortFunc(all, func(a, b blob) int { return strings.Compare(a.path, b.path) })
	for _, b := range all {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := writeBlob(tw, b); err != nil {
			return err
		}
	}
	return tw.Close()
}

func writeBlob(tw *tar.Writer, b blob) error {
	content, err := b.open()
	if err != nil {
		return err
	}
	defer content.Close()
	if err := tw.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: b.path, Mode: 0o644, Size: b.size, ModTime: time.Unix(0, 0)}); err != nil {
		return err
	}
	_, err = io.Copy(tw, content)
	return err
}
