package target

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
)

// Digest returns the SHA-256 of the target's file in lower-case hexadecimal,
// read from the very file that Open opened, whatever lies at its path by now.
//
// It is "" where no digest can stand for the content: a directory, and an
// image with a backing file. A file that was written to since it was opened is
// an error: what was read of it may not be what the digest is of.
func (t *Target) Digest(ctx context.Context) (string, error) {
	if t.file == nil || t.backed {
		return "", nil
	}
	sum := sha256.New()
	buffer := make([]byte, 1<<20)
	for offset := int64(0); ; {
		if ctx.Err() != nil {
			return "", context.Cause(ctx)
		}
		n, err := t.file.ReadAt(buffer, offset)
		sum.Write(buffer[:n])
		offset += int64(n)
		if err == io.EOF {
			break
		}
		if err != nil {
			return "", fmt.Errorf("computing the digest of %s: %w", t.path, err)
		}
	}
	after, err := t.file.Stat()
	if err != nil {
		return "", hostError(err)
	}
	if t.opened.Size() != after.Size() || !t.opened.ModTime().Equal(after.ModTime()) {
		return "", badf("computing the digest of %s: the file was written to since it was opened; wait until nothing uses it", t.path)
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}
