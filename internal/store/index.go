package store

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

const indexName = "index.json"

// indexFile is one file or symbolic link of an entry. Of a link, the size and
// the sum are those of its target's text.
type indexFile struct {
	Name   string `json:"name"` // relative to data/
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
	Link   bool   `json:"link,omitempty"`
}

// writeIndex puts index.json beside entry's data and everything on disk.
func writeIndex(entry string) error {
	data := filepath.Join(entry, dataDir)
	files := []indexFile{}
	var dirs []string
	err := filepath.WalkDir(data, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			dirs = append(dirs, path)
			return nil
		}
		name, err := filepath.Rel(data, path)
		if err != nil {
			return err
		}
		f, err := describe(path, d.Type(), true)
		if err != nil {
			return err
		}
		f.Name = name
		files = append(files, f)
		return nil
	})
	if err != nil {
		return err
	}
	text, err := json.MarshalIndent(files, "", "  ")
	if err != nil {
		return err
	}
	index := filepath.Join(entry, indexName)
	if err := os.WriteFile(index, append(text, '\n'), 0o644); err != nil {
		return err
	}
	for _, path := range append(dirs, index, entry) {
		if err := syncPath(path); err != nil {
			return err
		}
	}
	return nil
}

// describe reads the whole file at path; with sync, it is on disk afterwards.
func describe(path string, mode fs.FileMode, sync bool) (indexFile, error) {
	switch {
	case mode&fs.ModeSymlink != 0:
		target, err := os.Readlink(path)
		if err != nil {
			return indexFile{}, err
		}
		sum := sha256.Sum256([]byte(target))
		return indexFile{Size: int64(len(target)), SHA256: hex.EncodeToString(sum[:]), Link: true}, nil
	case mode.IsRegular():
		f, err := os.Open(path)
		if err != nil {
			return indexFile{}, err
		}
		defer f.Close()
		hash := sha256.New()
		size, err := io.Copy(hash, f)
		if err != nil {
			return indexFile{}, err
		}
		if sync {
			if err := f.Sync(); err != nil {
				return indexFile{}, err
			}
		}
		return indexFile{Size: size, SHA256: hex.EncodeToString(hash.Sum(nil))}, nil
	}
	return indexFile{}, fmt.Errorf("%s is %s: a store entry holds regular files, directories and symbolic links only", path, mode)
}

func readIndex(entry string) ([]indexFile, error) {
	text, err := os.ReadFile(filepath.Join(entry, indexName))
	if err != nil {
		return nil, err
	}
	var files []indexFile
	if err := json.Unmarshal(text, &files); err != nil {
		return nil, fmt.Errorf("%s: %w", indexName, err)
	}
	for _, f := range files {
		if !filepath.IsLocal(f.Name) {
			return nil, fmt.Errorf("%s: name %q leads out of the entry", indexName, f.Name)
		}
	}
	return files, nil
}

// checkSizes is the cheap check of every use: all files are there, with
// the sizes they were made with.
func checkSizes(entry string) error {
	files, err := readIndex(entry)
	if err != nil {
		return err
	}
	if info, err := os.Lstat(filepath.Join(entry, dataDir)); err != nil {
		return err
	} else if !info.IsDir() {
		return fmt.Errorf("%s is not a directory", dataDir)
	}
	for _, f := range files {
		info, err := os.Lstat(filepath.Join(entry, dataDir, f.Name))
		if err != nil {
			return err
		}
		link := info.Mode()&fs.ModeSymlink != 0
		if info.Size() != f.Size || link != f.Link || !link && !info.Mode().IsRegular() {
			return fmt.Errorf("%s has %d bytes and mode %s, expected %d bytes", f.Name, info.Size(), info.Mode(), f.Size)
		}
	}
	return nil
}

// checkContents compares everything, and also finds files that do not belong.
func checkContents(entry string) error {
	if err := checkSizes(entry); err != nil {
		return err
	}
	files, err := readIndex(entry)
	if err != nil {
		return err
	}
	want := map[string]indexFile{}
	for _, f := range files {
		want[f.Name] = f
	}
	var errs []error
	data := filepath.Join(entry, dataDir)
	err = filepath.WalkDir(data, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name := strings.TrimPrefix(path, data+"/")
		w, ok := want[name]
		if !ok {
			errs = append(errs, fmt.Errorf("%s does not belong to the entry", name))
			return nil
		}
		got, err := describe(path, d.Type(), false)
		if err != nil {
			return err
		}
		if got.SHA256 != w.SHA256 {
			errs = append(errs, fmt.Errorf("%s has sha256 %s, expected %s", name, got.SHA256, w.SHA256))
		}
		return nil
	})
	return errors.Join(append(errs, err)...)
}

// syncPath flushes a file or a directory.
func syncPath(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Sync(); err != nil {
		return fmt.Errorf("flushing %s: %w", path, err)
	}
	return nil
}
