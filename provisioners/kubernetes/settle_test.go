package kubernetes

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.etcd.io/bbolt"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/boltcopy"
)

const seen = `epoch 1763200800
database io.containerd.snapshotter.v1.overlayfs/metadata.db
database io.containerd.metadata.v1.bolt/meta.db
file 7/fs d 40 3 1
file 7/fs/a name with spaces f 4097 1 2
file 7/fs/linked f 10 2 3
file 7/fs/linked again f 10 2 3
file 7/fs/short l 10 1 4
file 7/fs/long l 100 1 5
file 7/fs/device c 0 1 6
file 7/work d 4096 2 7
file 7/fs/a line
end f 1 1 8
file 12/fs d 4096 2 9
file x/fs d 4096 2 10
`

func TestParseSettle(t *testing.T) {
	t.Parallel()
	got, err := parseSettle(seen)
	if err != nil {
		t.Fatal(err)
	}
	// The directory, two blocks, one link's file, the long link.
	if diff := cmp.Diff(map[uint64]int64{7: 4096 + 8192 + 4096 + 4096, 12: 4096}, got.sizes); diff != "" {
		t.Errorf("sizes (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"io.containerd.metadata.v1.bolt/meta.db", "io.containerd.snapshotter.v1.overlayfs/metadata.db"}, got.databases); diff != "" {
		t.Errorf("databases (-want +got):\n%s", diff)
	}
	if none, err := parseSettle(""); err != nil || len(none.databases) > 0 {
		t.Errorf("a machine that runs: %v, %v", none, err)
	}
	if _, err := parseSettle("epoch now\n"); err == nil {
		t.Error("a bad SOURCE_DATE_EPOCH was taken")
	}
}

// snapshotterDB is what the overlayfs snapshotter keeps of one snapshot.
func snapshotterDB(t *testing.T, path string, now time.Time, size int64) {
	t.Helper()
	stamp, err := now.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		b, err := tx.CreateBucket([]byte("v1"))
		for _, name := range []string{"snapshots", "k8s.io/7/sha256:abc"} {
			if err == nil {
				b, err = b.CreateBucket([]byte(name))
			}
		}
		for key, value := range map[string][]byte{
			"id": binary.AppendUvarint(nil, 7), "size": binary.AppendVarint(nil, size), "inodes": binary.AppendVarint(nil, 5),
			"createdat": stamp, "updatedat": stamp,
		} {
			if err == nil {
				err = b.Put([]byte(key), value)
			}
		}
		return err
	})
	if err == nil {
		err = db.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestSettledDatabases(t *testing.T) {
	t.Parallel()
	s, err := parseSettle(seen)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	var copies [][]byte
	for i, now := range []time.Time{time.Unix(1, 2).UTC(), time.Now()} {
		from, to := filepath.Join(dir, fmt.Sprint("from", i)), filepath.Join(dir, fmt.Sprint("to", i))
		snapshotterDB(t, from, now, int64(1000+i))
		if err := boltcopy.Copy(from, to, s.edit); err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(to)
		if err != nil {
			t.Fatal(err)
		}
		copies = append(copies, data)
	}
	if !bytes.Equal(copies[0], copies[1]) {
		t.Error("the time or the file system of the build is in the database")
	}
	db, err := bbolt.Open(filepath.Join(dir, "to0"), 0o600, &bbolt.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	err = db.View(func(tx *bbolt.Tx) error {
		b := tx.Bucket([]byte("v1")).Bucket([]byte("snapshots")).Bucket([]byte("k8s.io/7/sha256:abc"))
		size, _ := binary.Varint(b.Get([]byte("size")))
		inodes, _ := binary.Varint(b.Get([]byte("inodes")))
		var made time.Time
		if err := made.UnmarshalBinary(b.Get([]byte("createdat"))); err != nil {
			return err
		}
		if size != 20480 || inodes != 5 || made.Unix() != 1763200800 {
			t.Errorf("size %d, inodes %d, made %v", size, inodes, made)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
