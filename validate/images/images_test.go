package images

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"go.etcd.io/bbolt"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/validate/source"
)

// database writes a bbolt file. Keys are paths; a value of nil is an empty bucket.
func database(t testing.TB, keys map[string][]byte) []byte {
	t.Helper()
	p := filepath.Join(t.TempDir(), "db")
	db, err := bbolt.Open(p, 0o600, &bbolt.Options{NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		for path, v := range keys {
			parts := strings.Split(path, "|")
			b, err := tx.CreateBucketIfNotExists([]byte(parts[0]))
			if err != nil {
				return err
			}
			last := len(parts) - 1
			for i, k := range parts[1:] {
				if i+1 == last && v != nil {
					break
				}
				if b, err = b.CreateBucketIfNotExists([]byte(k)); err != nil {
					return err
				}
			}
			if v != nil {
				if err := b.Put([]byte(parts[last]), v); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(p)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:])
}

func number(n int64) []byte { return binary.AppendVarint(nil, n) }

// node is a containerd store under construction.
type node struct {
	meta, snap map[string][]byte
	root       fstest.MapFS
	nextID     uint64
}

const dir = "/var/lib/containerd"

func newNode() *node {
	return &node{
		meta: map[string][]byte{"v1|version": number(4)}, snap: map[string][]byte{"v1|snapshots": nil},
		root: fstest.MapFS{}, nextID: 1,
	}
}

func (n *node) blob(data []byte) descriptor {
	d := digest(data)
	n.root[source.Name(dir+"/"+blobs+"/sha256/"+d[7:])] = &fstest.MapFile{Data: data}
	n.meta["v1|"+Namespace+"|content|blob|"+d+"|size"] = number(int64(len(data)))
	return descriptor{Digest: d, Size: int64(len(data))}
}

func (n *node) json(v any) descriptor {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return n.blob(b)
}

// image adds a manifest with layers and unpacks it.
func (n *node) image(arch string, layers ...string) descriptor {
	var m document
	var c config
	c.OS, c.Architecture = "linux", arch
	for _, l := range layers {
		m.Layers = append(m.Layers, n.blob([]byte(l)))
		c.RootFS.DiffIDs = append(c.RootFS.DiffIDs, digest([]byte("diff "+l)))
	}
	m.Config = n.json(c)
	for i, chain := range chainIDs(c.RootFS.DiffIDs) {
		name := fmt.Sprintf("%s/%d/%s", Namespace, i, chain)
		n.meta["v1|"+Namespace+"|snapshots|overlayfs|"+chain+"|name"] = []byte(name)
		n.snap["v1|snapshots|"+name+"|id"] = binary.AppendUvarint(nil, n.nextID)
		n.root[source.Name(fmt.Sprintf("%s/io.containerd.snapshotter.v1.overlayfs/snapshots/%d/fs", dir, n.nextID))] = &fstest.MapFile{Mode: fs.ModeDir | 0o755}
		n.nextID++
	}
	return n.json(m)
}

func (n *node) name(name string, d descriptor, labels ...string) {
	p := "v1|" + Namespace + "|images|" + name + "|"
	n.meta[p+"target|digest"] = []byte(d.Digest)
	n.meta[p+"target|mediatype"] = []byte("application/vnd.oci.image.index.v1+json")
	n.meta[p+"target|size"] = number(d.Size)
	for i := 0; i+1 < len(labels); i += 2 {
		n.meta[p+"labels|"+labels[i]] = []byte(labels[i+1])
	}
}

func (n *node) load(t *testing.T) *Store {
	t.Helper()
	n.root[source.Name(dir+"/"+metaDB)] = &fstest.MapFile{Data: database(t, n.meta)}
	n.root[source.Name(dir+"/io.containerd.snapshotter.v1.overlayfs/metadata.db")] = &fstest.MapFile{Data: database(t, n.snap)}
	s, err := Load(n.root, Options{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// platform makes a descriptor of an index entry.
func platform(d descriptor, os, arch string) map[string]any {
	return map[string]any{"digest": d.Digest, "size": d.Size, "platform": map[string]string{"os": os, "architecture": arch}}
}

func TestStore(t *testing.T) {
	t.Parallel()
	n := newNode()
	pause := n.image("amd64", "a", "b")
	index := n.json(map[string]any{"manifests": []any{
		platform(descriptor{Digest: digest(nil), Size: 1}, "unknown", "unknown"),
		platform(descriptor{Digest: digest([]byte("arm")), Size: 1}, "linux", "arm64"),
		platform(pause, "linux", "amd64"),
	}})
	n.name("registry.k8s.io/pause:3.10.2", index, PinnedLabel, "pinned", "x", "y")
	n.name("registry.k8s.io/pause@"+index.Digest, index)
	n.name("plain", n.image("amd64", "c"))
	n.meta["v1|default|images|elsewhere|target|digest"] = []byte("sha256:1")
	s := n.load(t)
	if !s.Present || len(s.Images) != 3 {
		t.Fatalf("%+v", s)
	}
	i, ok := s.Image("registry.k8s.io/pause:3.10.2")
	if !ok || !i.Pinned() || !i.Whole() || !i.Unpacked || i.Layers != 2 || i.Digest != index.Digest || i.Manifest != pause.Digest || i.Size != index.Size {
		t.Errorf("%+v", i)
	}
	if i.Content <= index.Size+pause.Size {
		t.Errorf("content of %d bytes", i.Content)
	}
	if i, _ = s.Image("registry.k8s.io/pause@" + index.Digest); i.Pinned() || !i.Unpacked {
		t.Errorf("labels belong to a name, content to a digest: %+v", i)
	}
	if diff := cmp.Diff([]string{"default", Namespace}, s.Namespaces); diff != "" {
		t.Error(diff)
	}
}

func TestFaults(t *testing.T) {
	t.Parallel()
	missing := func(s *Store, name string) string {
		i, _ := s.Image(name)
		out := i.Problem
		for _, m := range i.Missing {
			out += m.Kind + ": " + m.Reason + "; "
		}
		return out
	}
	file := func(d string) string { return source.Name(dir + "/" + blobs + "/sha256/" + d[7:]) }
	for _, tt := range []struct {
		name   string
		breaks func(n *node, m descriptor)
		want   string
		unpack bool
	}{
		{"good", func(*node, descriptor) {}, "", true},
		{"layer file gone", func(n *node, _ descriptor) { delete(n.root, file(digest([]byte("a")))) }, "layer: no file", true},
		{"layer cut", func(n *node, _ descriptor) { n.root[file(digest([]byte("a")))].Data = nil }, "has 0 bytes, want 1", true},
		{"layer unknown to containerd", func(n *node, _ descriptor) {
			delete(n.meta, "v1|"+Namespace+"|content|blob|"+digest([]byte("a"))+"|size")
		}, "not in containerd's database", true},
		{"manifest changed", func(n *node, m descriptor) {
			b := bytes.Clone(n.root[file(m.Digest)].Data)
			b[0] = ' '
			n.root[file(m.Digest)].Data = b
		}, "manifest: the file's digest is", false},
		{"snapshot directory gone", func(n *node, _ descriptor) {
			delete(n.root, source.Name(dir+"/io.containerd.snapshotter.v1.overlayfs/snapshots/2/fs"))
		}, "", false},
		{"snapshot unknown to the snapshotter", func(n *node, _ descriptor) {
			n.snap = map[string][]byte{"v1|snapshots": nil}
		}, "", false},
		{"not unpacked", func(n *node, _ descriptor) {
			for k := range n.meta {
				if strings.Contains(k, "|snapshots|") {
					delete(n.meta, k)
				}
			}
		}, "", false},
		{"other platform", func(n *node, _ descriptor) { n.name("x", n.image("arm64", "a", "b")) }, "is for linux/arm64, want linux/amd64", false},
		{"no manifest for the platform", func(n *node, m descriptor) {
			n.name("x", n.json(map[string]any{"manifests": []any{platform(m, "linux", "arm64")}}))
		}, "has no manifest for linux/amd64", false},
		{"no digest", func(n *node, _ descriptor) { n.name("x", descriptor{Digest: "../../etc/shadow", Size: 1}) }, "manifest: not a sha256 digest", false},
		{"no JSON", func(n *node, _ descriptor) { n.name("x", n.blob([]byte("{"))) }, "unexpected end of JSON", false},
		{"index of itself by size", func(n *node, m descriptor) {
			d := m
			for range maxIndexes + 2 {
				d = n.json(map[string]any{"manifests": []any{platform(d, "linux", "amd64")}})
			}
			n.name("x", d)
		}, "more than 8 levels", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			n := newNode()
			m := n.image("amd64", "a", "b")
			n.name("x", m)
			tt.breaks(n, m)
			s := n.load(t)
			i, _ := s.Image("x")
			got := missing(s, "x")
			if tt.want == "" && got != "" || !strings.Contains(got, tt.want) {
				t.Errorf("%q, want %q", got, tt.want)
			}
			if i.Unpacked != tt.unpack {
				t.Errorf("unpacked %v, want %v: %v", i.Unpacked, tt.unpack, i.MissingSnapshots)
			}
		})
	}
}

func TestNoStore(t *testing.T) {
	t.Parallel()
	if s, err := Load(fstest.MapFS{}, Options{}); err != nil || s.Present {
		t.Errorf("%+v %v", s, err)
	}
	bad := fstest.MapFS{source.Name(dir + "/" + metaDB): {Data: []byte("no database")}}
	if _, err := Load(bad, Options{}); exitcode.Of(err) != exitcode.Usage || !strings.Contains(err.Error(), metaDB) {
		t.Errorf("%v", err)
	}
}

// TestAgainstBbolt reads back what bbolt wrote, in trees of several levels,
// nested and inline buckets, and values of many pages.
func TestAgainstBbolt(t *testing.T) {
	t.Parallel()
	keys := map[string][]byte{"empty": nil, "one|big": bytes.Repeat([]byte("x"), 100_000), "one|sub|deep|k": []byte("v")}
	for i := range 3000 {
		keys[fmt.Sprintf("many|key-%05d", i)] = []byte(fmt.Sprint("value ", i))
		keys[fmt.Sprintf("buckets|b-%05d|k", i)] = []byte(fmt.Sprint(i))
	}
	db, err := openBolt(bytes.NewReader(database(t, keys)))
	if err != nil {
		t.Fatal(err)
	}
	got := map[string][]byte{}
	var walk func(prefix string, k bucket)
	walk = func(prefix string, k bucket) {
		n := 0
		err := db.each(k, func(key, value []byte, sub *bucket) error {
			n++
			if sub != nil {
				walk(prefix+string(key)+"|", *sub)
			} else {
				got[prefix+string(key)] = value
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			got[strings.TrimSuffix(prefix, "|")] = nil
		}
	}
	walk("", db.top())
	if diff := cmp.Diff(keys, got); diff != "" {
		t.Errorf("%.2000s", diff)
	}
}

func TestHostileBolt(t *testing.T) {
	t.Parallel()
	good := database(t, map[string][]byte{"v1|k8s.io|images|x|target|digest": []byte("d")})
	size := 4096
	db, err := openBolt(bytes.NewReader(good))
	if err != nil {
		t.Fatal(err)
	}
	root := int(db.root) * size
	for name, spoil := range map[string]func(b []byte) []byte{
		"truncated": func(b []byte) []byte { return b[:root+10] },
		"both metas broken": func(b []byte) []byte {
			b[20], b[size+20] = 9, 9
			return b
		},
		"branch to itself": func(b []byte) []byte {
			le := binary.LittleEndian
			le.PutUint16(b[root+8:], 1)
			le.PutUint16(b[root+10:], 200)
			for i := range 200 {
				le.PutUint64(b[root+16+i*16+8:], db.root)
			}
			return b
		},
		"element beyond the page": func(b []byte) []byte {
			binary.LittleEndian.PutUint32(b[root+16+4:], 1<<31)
			return b
		},
		"too many elements": func(b []byte) []byte {
			binary.LittleEndian.PutUint16(b[root+10:], 0xffff)
			return b
		},
		"overflow of terabytes": func(b []byte) []byte {
			binary.LittleEndian.PutUint32(b[root+12:], 0xffffffff)
			return b
		},
		"page of another number": func(b []byte) []byte {
			b[root]++
			return b
		},
		"freelist in the tree": func(b []byte) []byte {
			b[root+8] = 0x10
			return b
		},
	} {
		bad := spoil(bytes.Clone(good))
		_, err := Load(fstest.MapFS{source.Name(dir + "/" + metaDB): {Data: bad}}, Options{})
		if !errors.Is(err, errBolt) || exitcode.Of(err) != exitcode.Usage {
			t.Errorf("%s: %v", name, err)
		}
	}
	// One broken meta page is what an interrupted write leaves.
	one := bytes.Clone(good)
	one[20] = 9
	if _, err := openBolt(bytes.NewReader(one)); err != nil {
		t.Errorf("the other meta page is whole: %v", err)
	}
}

func FuzzBolt(f *testing.F) {
	f.Add(database(f, map[string][]byte{"v1|k8s.io|images|x|target|digest": []byte("sha256:d"), "v1|k8s.io|content|blob|a|size": number(1), "v1|k8s.io|snapshots|overlayfs|c|name": []byte("n")}), uint32(0), byte(0))
	f.Fuzz(func(t *testing.T, data []byte, at uint32, with byte) {
		if len(data) > 1<<20 {
			t.Skip()
		}
		if len(data) > 0 {
			data = bytes.Clone(data)
			data[int(at)%len(data)] ^= with
		}
		s, err := Load(fstest.MapFS{source.Name(dir + "/" + metaDB): {Data: data}}, Options{})
		if err == nil && !s.Present {
			t.Fatal("a database that is not there")
		}
	})
}
