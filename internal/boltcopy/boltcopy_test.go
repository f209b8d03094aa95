package boltcopy_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.etcd.io/bbolt"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/boltcopy"
)

// database has many buckets in buckets, made in an order of its own, with
// things in between that are gone at the end.
func database(t *testing.T, path string, seed uint64, stamp string) {
	t.Helper()
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range rand.New(rand.NewPCG(seed, 1)).Perm(200) {
		err := db.Update(func(tx *bbolt.Tx) error {
			outer, err := tx.CreateBucketIfNotExists(fmt.Appendf(nil, "outer %d", i%7))
			if err != nil {
				return err
			}
			inner, err := outer.CreateBucket(fmt.Appendf(nil, "inner %d", i))
			if err != nil {
				return err
			}
			for key, value := range map[string]string{"time": stamp, "large": strings.Repeat("x", 40*(i%50)), "none": "", "gone": stamp} {
				if err := inner.Put([]byte(key), []byte(value)); err != nil {
					return err
				}
			}
			return inner.SetSequence(uint64(i))
		})
		if err == nil {
			err = db.Update(func(tx *bbolt.Tx) error {
				return tx.Bucket(fmt.Appendf(nil, "outer %d", i%7)).Bucket(fmt.Appendf(nil, "inner %d", i)).Delete([]byte("gone"))
			})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestCopyFollowsFromTheContents(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	edit := func(path []string, sibling func([]byte) []byte, key, value []byte) []byte {
		if len(path) == 2 && strings.HasPrefix(path[1], "inner ") && string(key) == "time" && sibling([]byte("large")) != nil {
			return []byte("always")
		}
		return value
	}
	var first []byte
	for i, stamp := range []string{"Monday", "Tuesday", "Monday"} {
		from, to := filepath.Join(dir, fmt.Sprint("from", i)), filepath.Join(dir, fmt.Sprint("to", i))
		database(t, from, uint64(i), stamp)
		if err := boltcopy.Copy(from, to, edit); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(to)
		if err != nil {
			t.Fatal(err)
		}
		if first == nil {
			first = got
		}
		if !bytes.Equal(got, first) {
			t.Errorf("copy %d has other bytes than the first", i)
		}
		if bytes.Contains(got, []byte("day")) {
			t.Error("the copy has a value that was edited or removed")
		}
	}
	// A copy of the copy is the same again, and has all that was in the first.
	again := filepath.Join(dir, "again")
	if err := boltcopy.Copy(filepath.Join(dir, "to0"), again, nil); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(again); err != nil || !bytes.Equal(got, first) {
		t.Errorf("a copy of the copy differs (%v)", err)
	}
	db, err := bbolt.Open(again, 0o600, &bbolt.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	err = db.View(func(tx *bbolt.Tx) error {
		for i := range 200 {
			b := tx.Bucket(fmt.Appendf(nil, "outer %d", i%7)).Bucket(fmt.Appendf(nil, "inner %d", i))
			if string(b.Get([]byte("time"))) != "always" || len(b.Get([]byte("large"))) != 40*(i%50) || b.Get([]byte("none")) == nil || b.Sequence() != uint64(i) {
				t.Errorf("bucket %d is not what was copied", i)
			}
		}
		for err := range tx.Check() {
			t.Error(err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestCopyOfNoDatabase(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "text"), []byte(strings.Repeat("no database", 1000)), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"text", "none"} {
		if err := boltcopy.Copy(filepath.Join(dir, name), filepath.Join(dir, "to"), nil); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: got %v, want an error that names it", name, err)
		}
	}
}
