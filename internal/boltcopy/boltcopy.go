// Package boltcopy copies a bbolt database so that its bytes follow from its
// contents alone. A database that was worked on is laid out by the history of
// its transactions, and keeps pages of what it no longer holds.
package boltcopy

import (
	"errors"
	"fmt"
	"time"

	"go.etcd.io/bbolt"
)

// lockPatience is how long a database that another process uses is waited for.
const lockPatience = 5 * time.Second

// pageSize does not depend on this host's.
const pageSize = 4096

// Edit returns what the copy is to hold in the place of a value. path names the
// buckets down to the key's, the outermost first; sibling looks up another key
// of that bucket.
type Edit func(path []string, sibling func(key []byte) []byte, key, value []byte) []byte

// Copy writes the contents of the database from to the new file to. edit may
// be nil. The database must be one that can be trusted: bbolt does.
func Copy(from, to string, edit Edit) (err error) {
	in, err := bbolt.Open(from, 0o600, &bbolt.Options{ReadOnly: true, Timeout: lockPatience})
	if err != nil {
		return fmt.Errorf("opening the database %s: %w", from, err)
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	// An array of free pages is used in order, unlike the map.
	out, err := bbolt.Open(to, 0o644, &bbolt.Options{NoSync: true, PageSize: pageSize, FreelistType: bbolt.FreelistArrayType})
	if err != nil {
		return fmt.Errorf("making the database %s: %w", to, err)
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	err = in.View(func(tx *bbolt.Tx) error {
		return tx.ForEach(func(name []byte, b *bbolt.Bucket) error { return copyBucket(out, [][]byte{name}, b, edit) })
	})
	if err != nil {
		return fmt.Errorf("copying the database %s: %w", from, err)
	}
	return out.Sync()
}

// copyBucket copies one bucket in a transaction of its own, and then those in
// it: a transaction that changes two buckets writes them in any order.
func copyBucket(out *bbolt.DB, path [][]byte, from *bbolt.Bucket, edit Edit) error {
	names := make([]string, len(path))
	for i, name := range path {
		names[i] = string(name)
	}
	err := out.Update(func(tx *bbolt.Tx) error {
		to, err := tx.CreateBucketIfNotExists(path[0])
		for _, name := range path[1:] {
			if err != nil {
				return err
			}
			to, err = to.CreateBucketIfNotExists(name)
		}
		if err != nil {
			return err
		}
		// Many small values to a page, and no room for more: nothing is added.
		to.FillPercent = 1
		if err := to.SetSequence(from.Sequence()); err != nil {
			return err
		}
		return from.ForEach(func(key, value []byte) error {
			if value == nil {
				return nil
			}
			if edit != nil {
				value = edit(names, from.Get, key, value)
			}
			return to.Put(key, value)
		})
	})
	if err != nil {
		return err
	}
	return from.ForEachBucket(func(name []byte) error {
		return copyBucket(out, append(path[:len(path):len(path)], name), from.Bucket(name), edit)
	})
}
