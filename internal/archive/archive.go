// Package archive takes files out of release archives, which are as hostile
// as whoever made them: no path leads out, nothing is linked, nothing is a
// device, and what comes out is bounded.
package archive

import (
	"archive/tar"
	"bufio"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	"github.com/klauspost/compress/zstd"
)

// Limits bound what an archive may hold, whether or not it is taken out.
type Limits struct {
	Entries int
	Bytes   int64 // of everything, unpacked
}

// DefaultLimits are a multiple of what the largest upstream release has.
func DefaultLimits() Limits { return Limits{Entries: 10_000, Bytes: 2 << 30} }

// windowSize bounds what a zstd stream may ask for, in bytes; zstd's own
// program refuses more as well unless told otherwise.
const windowSize = 128 << 20

// Error says what is wrong with an archive. No retry changes it.
type Error struct {
	Entry   string // "" for the archive as a whole
	Problem string
}

func (e *Error) Error() string {
	if e.Entry == "" {
		return e.Problem
	}
	return fmt.Sprintf("entry %q: %s", clip(e.Entry), e.Problem)
}

func clip(s string) string {
	if len(s) > 200 {
		return s[:200] + "…"
	}
	return s
}

// Extract unpacks the archive in the file src, a tar compressed with gzip or
// zstd or not at all, whichever its first bytes say. pick is asked for each
// regular file, by its clean path, and returns the name that it gets in dir,
// or "" for a file that is of no use. All of the archive is read, and one
// entry that is not to be trusted makes all of it an error: *Error.
//
// Files that were taken out before an error stay in dir.
func Extract(ctx context.Context, src, dir string, limits Limits, pick func(name string) string) error {
	f, err := os.Open(src)
	if err != nil {
		return err
	}
	defer f.Close()
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	return extract(ctx, f, root, limits, pick)
}

func extract(ctx context.Context, src io.Reader, root *os.Root, limits Limits, pick func(name string) string) error {
	stream, end, err := decompress(bufio.NewReader(src))
	if err != nil {
		return broken(err)
	}
	defer end()
	bounded := &boundedReader{stream, limits.Bytes, limits.Bytes}
	archive := tar.NewReader(bounded)
	for n := 0; ; n++ {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			if n == 0 {
				return &Error{Problem: "it is empty"}
			}
			return nil
		}
		if err != nil {
			return broken(err)
		}
		if n >= limits.Entries {
			return &Error{Problem: fmt.Sprintf("it has more than %d entries", limits.Entries)}
		}
		if err := take(archive, header, root, limits, pick); err != nil {
			return err
		}
	}
}

// take judges one entry, and takes it out if it is wanted.
func take(archive io.Reader, header *tar.Header, root *os.Root, limits Limits, pick func(name string) string) error {
	refuse := func(format string, args ...any) error {
		return &Error{header.Name, fmt.Sprintf(format, args...)}
	}
	switch header.Typeflag {
	case tar.TypeXGlobalHeader: // git's commit
		return nil
	case tar.TypeReg, tar.TypeDir:
	case tar.TypeSymlink, tar.TypeLink:
		return refuse("it is a link to %q: expected files and directories only", clip(header.Linkname))
	default:
		return refuse("it has type %q: expected files and directories only", header.Typeflag)
	}
	name := header.Name
	switch {
	case name == "", strings.ContainsRune(name, 0):
		return refuse("its name is none")
	case path.IsAbs(name), strings.Contains(name, `\`):
		return refuse("expected a path below the archive's top")
	}
	for element := range strings.SplitSeq(name, "/") {
		if element == ".." {
			return refuse("its path leads out of the archive")
		}
	}
	if header.Typeflag == tar.TypeDir {
		return nil
	}
	if header.Size > limits.Bytes {
		return refuse("it has %d bytes: expected at most %d in all of the archive", header.Size, limits.Bytes)
	}
	target := pick(path.Clean(name))
	if target == "" {
		return nil
	}
	out, err := root.OpenFile(target, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o755)
	if errors.Is(err, os.ErrExist) {
		return refuse("there is a second %s in the archive", target)
	}
	if err != nil {
		return err
	}
	// A sparse file is as long as it says, however short it is in the archive.
	_, err = io.Copy(out, io.LimitReader(archive, header.Size))
	closeErr := out.Close()
	var pathErr *os.PathError
	if err != nil && !errors.As(err, &pathErr) {
		return broken(err)
	}
	return errors.Join(err, closeErr)
}

// decompress looks at the first bytes for what the stream is.
func decompress(src *bufio.Reader) (io.Reader, func(), error) {
	magic, _ := src.Peek(4) // what cannot be read shows when it is
	switch {
	case len(magic) >= 2 && magic[0] == 0x1f && magic[1] == 0x8b:
		z, err := gzip.NewReader(src)
		if err != nil {
			return nil, nil, err
		}
		return z, func() { z.Close() }, nil
	case string(magic) == "\x28\xb5\x2f\xfd":
		z, err := zstd.NewReader(src, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(windowSize))
		if err != nil {
			return nil, nil, err
		}
		return z, z.Close, nil
	}
	return src, func() {}, nil
}

// broken turns what a decoder says into words about the archive.
func broken(err error) error {
	var known *Error
	switch {
	case errors.As(err, &known):
		return known
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return &Error{Problem: "it ends too early"}
	case errors.Is(err, tar.ErrHeader):
		return &Error{Problem: "it is no tar archive, or a damaged one"}
	}
	var pathErr *os.PathError
	if errors.As(err, &pathErr) {
		return err
	}
	return &Error{Problem: err.Error()}
}

// boundedReader fails once more than left bytes were read.
type boundedReader struct {
	src         io.Reader
	left, limit int64
}

func (b *boundedReader) Read(p []byte) (int, error) {
	if b.left < 0 {
		return 0, b.tooMuch()
	}
	if int64(len(p)) > b.left+1 {
		p = p[:b.left+1]
	}
	n, err := b.src.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return n, b.tooMuch()
	}
	return n, err
}

func (b *boundedReader) tooMuch() error {
	return &Error{Problem: fmt.Sprintf("it unpacks to more than %d bytes", b.limit)}
}
