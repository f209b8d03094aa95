package bundle

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	"github.com/klauspost/compress/zstd"

	"github.com/nodeimage/packer-plugin-nodeimage/e2e/cause"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
)

// Limits on an archive that may come from anybody.
const (
	maxUnpacked = 512 << 20 // bytes of the whole archive, unpacked
	maxFile     = 64 << 20  // bytes read of one file
	maxFiles    = 10000
	maxWindow   = 64 << 20 // memory that a zstd frame may ask for
	maxLines    = 200_000  // lines of evidence
	maxLine     = 16 << 10 // bytes of one
)

// Bundle is what can be told from an archive.
type Bundle struct {
	// Summary is summary.json as the suite wrote it, nil if it is not there.
	Summary json.RawMessage
	// Files lists the names in the archive, without its directory.
	Files []string
	// Lines are those of evidence, each once.
	Lines []cause.Line
	// Cut says what was too much to be read.
	Cut []string
}

// Read reads an archive, a tar compressed with zstd or gzip or not at all.
// Nothing is unpacked to disk. Whatever is in the file ends in an answer or in
// bad input, within bounded memory.
func Read(ctx context.Context, file string) (Bundle, error) {
	b, err := read(ctx, file)
	if err != nil {
		return Bundle{}, fmt.Errorf("reading the bundle %s: %w", file, err)
	}
	return b, nil
}

func read(ctx context.Context, file string) (_ Bundle, err error) {
	if fi, err := os.Stat(file); err != nil {
		return Bundle{}, exitcode.BadInput(err)
	} else if !fi.Mode().IsRegular() {
		return Bundle{}, badf("is not a regular file: want an archive that the suite wrote (%s)", File)
	}
	f, err := os.Open(file)
	if err != nil {
		return Bundle{}, exitcode.BadInput(err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	r, done, err := decompress(bufio.NewReader(f))
	if err != nil {
		return Bundle{}, err
	}
	defer done()
	return readTar(ctx, r)
}

func badf(format string, args ...any) error {
	return exitcode.BadInput(fmt.Errorf(format, args...))
}

func decompress(r *bufio.Reader) (io.Reader, func(), error) {
	magic, _ := r.Peek(4)
	switch {
	case bytes.HasPrefix(magic, []byte("\x28\xb5\x2f\xfd")):
		z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return nil, nil, badf("zstd: %w", err)
		}
		return z, z.Close, nil
	case bytes.HasPrefix(magic, []byte("\x1f\x8b")):
		z, err := gzip.NewReader(r)
		if err != nil {
			return nil, nil, badf("gzip: %w", err)
		}
		return z, func() {}, nil
	}
	return r, func() {}, nil
}

// limited fails, rather than ends, when an archive is larger than it may be.
type limited struct {
	ctx  context.Context
	r    io.Reader
	left int64
}

func (l *limited) Read(p []byte) (int, error) {
	if err := l.ctx.Err(); err != nil {
		return 0, exitcode.Transient(err)
	}
	if l.left <= 0 {
		return 0, badf("is larger than %d MiB when unpacked", maxUnpacked>>20)
	}
	n, err := l.r.Read(p[:min(int64(len(p)), l.left)])
	l.left -= int64(n)
	return n, err
}

func readTar(ctx context.Context, r io.Reader) (Bundle, error) {
	var b Bundle
	g := gatherer{b: &b, seen: map[cause.Line]bool{}}
	t := tar.NewReader(&limited{ctx, r, maxUnpacked})
	for {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return b, classify(err)
		}
		name := strings.TrimPrefix(path.Clean("/"+h.Name), "/")
		if _, rest, ok := strings.Cut(name, "/"); ok {
			name = rest
		}
		if h.Typeflag != tar.TypeReg {
			continue // nothing is made, so nothing can escape
		}
		if len(b.Files) == maxFiles {
			return b, badf("holds more than %d files", maxFiles)
		}
		b.Files = append(b.Files, name)
		if err := g.file(name, io.LimitReader(t, maxFile), h.Size); err != nil {
			return b, classify(err)
		}
	}
	if b.Summary == nil && len(b.Lines) == 0 {
		return b, badf("holds neither summary.json nor evidence: want an archive that the suite wrote (%s)", File)
	}
	return b, nil
}

// classify says that damage is the archive's, not this host's.
func classify(err error) error {
	if exitcode.Of(err) != exitcode.Infrastructure || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return exitcode.BadInput(err)
}

// gatherer takes evidence out of files.
type gatherer struct {
	b    *Bundle
	seen map[cause.Line]bool
	full bool
}

func (g *gatherer) file(name string, r io.Reader, size int64) error {
	if size > maxFile {
		g.b.Cut = append(g.b.Cut, fmt.Sprintf("%s: only the first %d of %d bytes were read", name, maxFile, size))
	}
	switch {
	case name == "summary.json":
		data, err := io.ReadAll(r)
		if err != nil {
			return err
		}
		if !json.Valid(data) {
			g.b.Cut = append(g.b.Cut, "summary.json: is no JSON")
			return nil
		}
		g.b.Summary = data
		return nil
	case path.Base(name) == "diagnosis-lines.json":
		var lines []cause.Line
		if err := json.NewDecoder(r).Decode(&lines); err != nil {
			g.b.Cut = append(g.b.Cut, fmt.Sprintf("%s: %v", name, err))
			return nil
		}
		for _, l := range lines {
			g.add(l)
		}
		return nil
	}
	source, ok := sourceOf(name)
	if !ok {
		return nil
	}
	s := bufio.NewReaderSize(r, maxLine)
	for {
		text, more, err := s.ReadLine()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		for _, l := range cause.Lines(source, string(text)) {
			g.add(l)
		}
		for more && err == nil { // the rest of a line without end
			_, more, err = s.ReadLine()
		}
	}
}

// sourceOf tells what a file's lines are evidence of; ok is false for files
// that are for people.
func sourceOf(name string) (cause.Source, bool) {
	switch base := path.Base(name); {
	case base == "console.log":
		return cause.Console, true
	case strings.HasPrefix(base, "journal") && path.Ext(base) == ".log":
		return cause.Journal, true
	case base == "kubeadm-init.log":
		return cause.Kubeadm, true
	case base == "cgroups.txt" && path.Base(path.Dir(name)) == "evidence":
		return cause.Cgroup, true
	}
	return "", false
}

func (g *gatherer) add(l cause.Line) {
	if len(l.Text) > maxLine {
		l.Text = l.Text[:maxLine]
	}
	if l.Source == "" || l.Text == "" || g.seen[l] || g.full {
		return
	}
	if len(g.b.Lines) == maxLines {
		g.full = true
		g.b.Cut = append(g.b.Cut, fmt.Sprintf("only the first %d lines of evidence were read", maxLines))
		return
	}
	g.seen[l] = true
	g.b.Lines = append(g.b.Lines, l)
	// The kernel's messages are in the journal as well.
	if l.Source == cause.Journal && (strings.Contains(l.Text, " kernel: ") || strings.Contains(l.Text, `apparmor="`)) {
		g.add(cause.Line{Source: cause.Kernel, Text: l.Text})
	}
}
