package fetch

import (
	"crypto/sha256"
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/renameio/v2"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/store"
)

const (
	partSuffix  = ".part"
	stateSuffix = ".state"
	// saveEvery bounds what a kill loses, in bytes.
	saveEvery = 16 << 20
	// keepParts is how long a part waits for another run.
	keepParts = 7 * 24 * time.Hour
)

// part is where a file's part lies, without the suffix: parts go by their sum,
// so that another address of the same file goes on with it.
func (c *Client) part(f File) string { return filepath.Join(c.Dir, f.SHA256) }

// state is what another run needs to go on with a part.
type state struct {
	URL    string `json:"url"` // that ETag belongs to
	ETag   string `json:"etag,omitempty"`
	Offset int64  `json:"offset"`
	Total  int64  `json:"total"`
	Hash   []byte `json:"hash"` // state of the sha256 at Offset
}

// save writes down how far the download has come.
func (d *download) save() error {
	if d.offset == d.saved {
		return nil
	}
	sum, err := hashState(d.hash)
	if err != nil {
		return err
	}
	text, err := json.Marshal(state{URL: d.where.Redacted(), ETag: d.etag, Offset: d.offset, Total: d.total, Hash: sum})
	if err != nil {
		return err
	}
	// A state without its bytes would be worse than none. After a crash of
	// the machine that can be; the sum then does not match, and the file is
	// fetched again from the start.
	if err := renameio.WriteFile(d.base+stateSuffix, text, 0o644); err != nil {
		return fmt.Errorf("keeping it: %w", err)
	}
	d.saved = d.offset
	return nil
}

// restore goes on where an earlier run ended. A state that makes no sense is
// as good as none.
func (d *download) restore() error {
	s, ok := d.load()
	info, err := d.part.Stat()
	if err != nil {
		return err
	}
	if !ok || s.Offset <= 0 || s.Offset > info.Size() || s.Offset > d.file.bound() || s.Total >= 0 && s.Offset > s.Total {
		return d.forget()
	}
	sum := sha256.New()
	if err := sum.(encoding.BinaryUnmarshaler).UnmarshalBinary(s.Hash); err != nil {
		return d.forget()
	}
	if err := d.part.Truncate(s.Offset); err != nil {
		return err
	}
	if _, err := d.part.Seek(s.Offset, io.SeekStart); err != nil {
		return err
	}
	d.hash, d.offset, d.saved, d.total, d.resumed = sum, s.Offset, s.Offset, -1, true
	if s.URL == d.where.Redacted() {
		d.etag, d.total = s.ETag, s.Total
	}
	return nil
}

func (d *download) load() (state, bool) {
	var s state
	text, err := os.ReadFile(d.base + stateSuffix)
	if err != nil || json.Unmarshal(text, &s) != nil {
		return state{}, false
	}
	return s, true
}

func removeState(base string) error {
	if err := os.Remove(base + stateSuffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// sweep removes parts that nobody went on with. What cannot be removed now is
// left for the next time.
func (c *Client) sweep() {
	parts, err := filepath.Glob(filepath.Join(c.Dir, "*"+partSuffix))
	if err != nil {
		return
	}
	for _, path := range parts {
		if info, err := os.Stat(path); err != nil || time.Since(info.ModTime()) < keepParts {
			continue
		}
		lock, err := store.TryLockFile(path)
		if err != nil {
			continue // in use
		}
		_ = removeState(strings.TrimSuffix(path, partSuffix))
		_ = os.Remove(path)
		lock.Close()
	}
}
