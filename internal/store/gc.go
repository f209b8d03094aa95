package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// GCOptions say what may go.
type GCOptions struct {
	// MaxSize is what entries and blobs may have together, in bytes: those that
	// were not used for longest go first. 0 is no limit.
	MaxSize int64
	// Unused removes what was not used for so long. 0 removes nothing for its age.
	Unused time.Duration
	// Keep are the sums of blobs that stay, whatever their age.
	Keep map[string]bool
	// DryRun removes nothing and says what would go.
	DryRun bool
}

// Collected is what GC did.
type Collected struct {
	Removed int   `json:"removed"` // entries and blobs
	Freed   int64 `json:"freed"`   // bytes
	Left    int64 `json:"left"`    // bytes of entries and blobs that are left
	InUse   int   `json:"inUse"`   // were to go and are used by another process
}

// thing is an entry or a blob.
type thing struct {
	name string
	blob bool
	size int64
	used time.Time
}

// GC removes what was not used for long, until the limits hold. What a living
// process uses stays, so it can run beside any number of builds; the limits then
// hold only after they have ended.
func (s *Store) GC(ctx context.Context, o GCOptions) (Collected, error) {
	things, err := s.things()
	if err != nil {
		return Collected{}, explain(s.dir, fmt.Errorf("reading the store %s: %w", s.dir, err))
	}
	slices.SortFunc(things, func(a, b thing) int { return a.used.Compare(b.used) })
	var c Collected
	for _, t := range things {
		c.Left += t.size
	}
	for _, t := range things {
		if err := ctx.Err(); err != nil {
			return c, err
		}
		old := o.Unused > 0 && time.Since(t.used) > o.Unused
		large := o.MaxSize > 0 && c.Left > o.MaxSize
		if !old && !large || t.blob && o.Keep[t.name] {
			continue
		}
		if !o.DryRun {
			err = s.remove(t)
		}
		switch {
		case errors.Is(err, errLocked):
			c.InUse++
			err = nil
			continue
		case err != nil && !errors.Is(err, fs.ErrNotExist):
			return c, explain(s.dir, fmt.Errorf("removing %s from the store: %w", t.name, err))
		}
		c.Removed++
		c.Freed += t.size
		c.Left -= t.size
	}
	return c, nil
}

func (s *Store) remove(t thing) error {
	if t.blob {
		return s.removeBlob(t.name)
	}
	return s.removeEntry(t.name)
}

// things lists entries and blobs with their sizes.
func (s *Store) things() ([]thing, error) {
	var list []thing
	entries, err := os.ReadDir(filepath.Join(s.dir, entriesDir))
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if checkKey(e.Name()) != nil {
			continue
		}
		t := thing{name: e.Name(), used: s.lastUse(e.Name(), filepath.Join(s.dir, entriesDir, e.Name()))}
		// One whose index cannot be read counts nothing, and is found by VerifyAll.
		files, _ := readIndex(filepath.Join(s.dir, entriesDir, e.Name()))
		for _, f := range files {
			t.size += f.Size
		}
		list = append(list, t)
	}
	err = filepath.WalkDir(filepath.Join(s.dir, blobsDir), func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || checkKey(d.Name()) != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return ignoreMissing(err)
		}
		list = append(list, thing{d.Name(), true, info.Size(), info.ModTime()})
		return nil
	})
	return list, err
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// Rot is an entry or a blob that is not what it was when it was put in.
type Rot struct {
	Name     string `json:"name"` // the key of an entry, the sum of a blob
	Problem  string `json:"problem"`
	Repaired string `json:"repaired,omitempty"` // how; empty when it is still there
}

// VerifyAll reads the whole store. With repair, what is damaged is removed, so
// that the next use makes it again; a blob is then asked of fetch, which may be
// nil and puts it in again. What another process uses is left alone and reported.
func (s *Store) VerifyAll(ctx context.Context, repair bool, fetch func(ctx context.Context, sum string) error) (checked int, rotten []Rot, err error) {
	things, err := s.things()
	if err != nil {
		return 0, nil, explain(s.dir, fmt.Errorf("reading the store %s: %w", s.dir, err))
	}
	for _, t := range things {
		if err := ctx.Err(); err != nil {
			return checked, rotten, err
		}
		problem := s.problem(t)
		if errors.Is(problem, fs.ErrNotExist) && s.gone(t) {
			continue // removed meanwhile
		}
		checked++
		if problem == nil {
			continue
		}
		rot := Rot{Name: t.name, Problem: strings.ReplaceAll(problem.Error(), "\n", "; ")}
		if repair {
			rot.Repaired = s.repair(ctx, t, fetch, &rot)
		}
		rotten = append(rotten, rot)
	}
	return checked, rotten, nil
}

func (s *Store) gone(t thing) bool {
	path := filepath.Join(s.dir, entriesDir, t.name)
	if t.blob {
		path = s.blobPath(t.name)
	}
	_, err := os.Lstat(path)
	return errors.Is(err, fs.ErrNotExist)
}

func (s *Store) problem(t thing) error {
	if !t.blob {
		return s.Verify(t.name)
	}
	sum, _, err := hashFile(s.blobPath(t.name))
	if err == nil && sum != t.name {
		err = fmt.Errorf("blob %s has sha256 %s", t.name, sum)
	}
	return err
}

func (s *Store) repair(ctx context.Context, t thing, fetch func(context.Context, string) error, rot *Rot) string {
	switch err := s.remove(t); {
	case errors.Is(err, errLocked):
		rot.Problem += "; not repaired: a process uses it"
		return ""
	case err != nil:
		rot.Problem += "; not repaired: " + err.Error()
		return ""
	}
	if t.blob && fetch != nil {
		if err := fetch(ctx, t.name); err != nil {
			rot.Problem += "; removed, and not fetched again: " + err.Error()
			return "removed"
		}
		return "fetched again"
	}
	return "removed: the next use makes it again"
}
