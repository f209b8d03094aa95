package treediff

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/nodeimage/packer-plugin-nodeimage/validate/target"
)

// chunk is how much is read at once, in bytes.
const chunk = 256 << 10

// spend takes size bytes from what may still be read.
func (c *comparison) spend(name string, size int64) error {
	if c.left -= size; c.left < 0 {
		return badf("/%s: more than %d bytes of content to compare", name, c.opts.MaxBytes)
	}
	return nil
}

// sameContent compares two regular files of the same size.
func (c *comparison) sameContent(name string, size int64, inodes pair, linked bool) (bool, error) {
	linked = linked && inodes.a != 0 && inodes.b != 0
	if same, known := c.same[inodes]; linked && known {
		return same, nil
	}
	if err := c.spend(name, size); err != nil {
		return false, err
	}
	a, err := open(c.a.fs, name)
	if err != nil {
		return false, err
	}
	defer a.Close()
	b, err := open(c.b.fs, name)
	if err != nil {
		return false, err
	}
	defer b.Close()
	same, err := equal(c.ctx, a, b)
	if err != nil {
		return false, fmt.Errorf("/%s: %w", name, err)
	}
	if linked {
		c.same[inodes] = same
	}
	return same, nil
}

// equal reads both to their ends or to the first difference.
func equal(ctx context.Context, a, b io.Reader) (bool, error) {
	bufA, bufB := make([]byte, chunk), make([]byte, chunk)
	for {
		if ctx.Err() != nil {
			return false, context.Cause(ctx)
		}
		n, err := fill(a, bufA)
		if err != nil {
			return false, err
		}
		m, err := fill(b, bufB)
		if err != nil {
			return false, err
		}
		if !bytes.Equal(bufA[:n], bufB[:m]) {
			return false, nil
		}
		if n < chunk {
			return true, nil
		}
	}
}

// fill reads until buf is full or r ends. Unlike io.ReadFull it does not take
// the error of a reader that was cut short for the end.
func fill(r io.Reader, buf []byte) (n int, err error) {
	for n < len(buf) {
		m, err := r.Read(buf[n:])
		n += m
		if err == io.EOF {
			return n, nil
		}
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// sum is the SHA-256 of a regular file in hexadecimal.
func (c *comparison) sum(fsys target.FS, name string, size int64) (string, error) {
	if err := c.spend(name, size); err != nil {
		return "", err
	}
	f, err := open(fsys, name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	buf := make([]byte, chunk)
	for {
		if c.ctx.Err() != nil {
			return "", context.Cause(c.ctx)
		}
		n, err := f.Read(buf)
		h.Write(buf[:n])
		if errors.Is(err, io.EOF) {
			return hex.EncodeToString(h.Sum(nil)), nil
		}
		if err != nil {
			return "", fmt.Errorf("/%s: %w", name, err)
		}
	}
}

func open(fsys target.FS, name string) (io.ReadCloser, error) {
	f, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	return f, nil
}

// showXattrs renders attributes for a report.
func showXattrs(x map[string][]byte) map[string]string {
	if len(x) == 0 {
		return nil
	}
	out := make(map[string]string, len(x))
	for k, v := range x {
		text := strconv.QuoteToASCII(strings.TrimRight(string(v), "\x00"))
		if len(v) > maxXattr || strings.Contains(text, `\x`) {
			sum := sha256.Sum256(v)
			text = "sha256:" + hex.EncodeToString(sum[:])
		}
		out[k] = text
	}
	return out
}
