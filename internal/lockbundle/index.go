// Package lockbundle moves everything that a lock names from one store to
// another as one file, so that `nodeimage build --offline` needs nothing else.
//
// A bundle is a tar archive in one zstd frame. Its first member, bundle.json,
// has the size and the sha256 of every other one, in their order:
//
//	bundle.json
//	lock.yaml                      the lock, as it was exported
//	blobs/<sha256>                 one .deb each
//	components/<name>/component.json
//	components/<name>/files/<file> what the component became
//
// A bundle proves nothing about its lock. But a build takes only what its own
// lock names, by the sums that stand there: a bundle that lies gives a build
// that fails, not another image.
package lockbundle

import (
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"regexp"
	"strings"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/profiles/lock"
)

// Schema is the version of bundle.json.
const Schema = "nodeimage.dev/bundle/v1"

// Suffix ends the name of a bundle's file.
const Suffix = ".bundle.tar.zst"

const (
	indexName     = "bundle.json"
	lockName      = "lock.yaml"
	blobsDir      = "blobs"
	componentsDir = "components"
	recordName    = "component.json"
	filesDir      = "files"
)

// Bounds on what is believed of a bundle, in bytes and members. A bundle of
// debian-13 has 312 members and 916 MiB.
const (
	maxIndex  = 16 << 20
	maxLock   = 8 << 20
	maxRecord = 16 << 20
	maxFiles  = 20_000
	maxTotal  = 64 << 30
	maxWindow = 128 << 20
)

// Index is bundle.json.
type Index struct {
	Schema  string       `json:"schema"`
	Profile lock.Profile `json:"profile"`
	Files   []File       `json:"files"`
}

// File is one member of the bundle.
type File struct {
	Path   string `json:"path"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
}

var sumPattern = regexp.MustCompile(`^[0-9a-f]{64}$`)

// readIndex reads bundle.json strictly, and reports all that is wrong with it.
func readIndex(data []byte) (Index, error) {
	var index Index
	decoder := json.NewDecoder(strings.NewReader(string(data)))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&index); err != nil {
		return index, fmt.Errorf("%s: %w", indexName, err)
	}
	if index.Schema != Schema {
		return index, fmt.Errorf("%s: schema %q: expected %s: import it with the release of nodeimage that exported it", indexName, index.Schema, Schema)
	}
	if n := len(index.Files); n == 0 || n > maxFiles {
		return index, fmt.Errorf("%s: %d files: expected 1 to %d", indexName, n, maxFiles)
	}
	var errs []error
	seen := map[string]bool{}
	var total int64
	for i, f := range index.Files {
		switch {
		case !sumPattern.MatchString(f.SHA256) || f.Size < 0 || f.Size > maxTotal:
			errs = append(errs, fmt.Errorf("%s: files[%d] %q: expected a size and a sha256 in hexadecimal", indexName, i, f.Path))
		case seen[f.Path]:
			errs = append(errs, fmt.Errorf("%s: files[%d]: %q is listed twice", indexName, i, f.Path))
		}
		seen[f.Path] = true
		total += max(f.Size, 0)
		if total > maxTotal {
			return index, errors.Join(append(errs, fmt.Errorf("%s: more than %d GiB in all", indexName, maxTotal>>30))...)
		}
	}
	if index.Files[0].Path != lockName || index.Files[0].Size > maxLock {
		errs = append(errs, fmt.Errorf("%s: files[0] is %q of %d bytes: expected %s of %d at most", indexName, index.Files[0].Path, index.Files[0].Size, lockName, maxLock))
	}
	return index, errors.Join(errs...)
}

// Contents are the members that a lock asks for, by their paths. Of a
// component's record, only the path is known before.
func Contents(l *lock.Lock) map[string]File {
	all := map[string]File{}
	add := func(p, sum string, size int) { all[p] = File{p, int64(size), sum} }
	for _, deb := range l.AllPackages() {
		add(path.Join(blobsDir, deb.SHA256), deb.SHA256, deb.Size)
	}
	if image := l.Base.CloudImage; image.URL != "" {
		add(path.Join(blobsDir, image.SHA256), image.SHA256, image.Size)
	}
	for _, c := range l.Components {
		add(path.Join(componentsDir, c.Name, recordName), "", 0)
		for _, f := range c.Files {
			add(path.Join(componentsDir, c.Name, filesDir, f.Name), f.SHA256, f.Size)
		}
	}
	return all
}

// check compares the index with its lock: nothing may be missing, and nothing
// may be there that the lock does not name. Errors are bad input.
func (index Index) check(l *lock.Lock) error {
	var errs []error
	if index.Profile != l.Profile {
		errs = append(errs, fmt.Errorf("%s is of profile %s (%s), its lock of %s (%s)", indexName, index.Profile.Name, index.Profile.SHA256, l.Profile.Name, l.Profile.SHA256))
	}
	want := Contents(l)
	for _, f := range index.Files[1:] {
		w, ok := want[f.Path]
		delete(want, f.Path)
		switch {
		case !ok:
			errs = append(errs, fmt.Errorf("%q is nothing that the lock names", f.Path))
		case w.SHA256 == "" && f.Size > maxRecord:
			errs = append(errs, fmt.Errorf("%s has %d bytes: expected %d at most", f.Path, f.Size, maxRecord))
		case w.SHA256 != "" && (w.SHA256 != f.SHA256 || w.Size != f.Size):
			errs = append(errs, fmt.Errorf("%s has sha256 %s and %d bytes, the lock says %s and %d", f.Path, f.SHA256, f.Size, w.SHA256, w.Size))
		}
	}
	for p := range want {
		errs = append(errs, fmt.Errorf("%s is missing, which the lock names", p))
	}
	if err := errors.Join(errs...); err != nil {
		return exitcode.BadInput(err)
	}
	return nil
}
