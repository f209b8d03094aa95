// Package images says which container images lie in an image's containerd:
// under which names, pinned against garbage collection or not, whole or with
// blobs missing, and unpacked or to be unpacked at the first boot.
package images

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"sort"
	"strconv"
	"strings"

	binaries "github.com/nodeimage/packer-plugin-nodeimage/validate/binary"
	"github.com/nodeimage/packer-plugin-nodeimage/validate/source"
)

const (
	// Namespace is the one that the CRI plugin keeps its images in.
	Namespace = "k8s.io"
	// PinnedLabel keeps the kubelet from removing an image when the disk fills up.
	PinnedLabel = "io.cri-containerd.pinned"

	metaDB  = "io.containerd.metadata.v1.bolt/meta.db"
	blobs   = "io.containerd.content.v1.content/blobs"
	maxBlob = 8 << 20 // of a manifest or configuration, as in containerd
	// maxImages bounds how many are looked at.
	maxImages = 10_000
)

// Image is one name and what it stands for.
type Image struct {
	Name      string
	Digest    string // of the index or manifest that the name points at
	MediaType string
	Size      int64 // of that document
	Labels    map[string]string
	// Manifest and Config are the digests for the platform asked for; empty
	// if they could not be found.
	Manifest, Config string
	// Content is the size of the manifest, the configuration and the layers.
	Content int64
	// Missing are the blobs that the image needs and containerd does not
	// have. Layers may be missing from an image that is unpacked: containerd
	// can be told to discard them.
	Missing []Blob
	Layers  int
	// Unpacked says that every layer has its snapshot, so that the first pod
	// starts at once. MissingSnapshots are the chain IDs that have none.
	Unpacked         bool
	MissingSnapshots []string
	// Problem says why an image could not be looked into any further.
	Problem string
}

// Pinned reports whether the kubelet's garbage collection leaves the image alone.
func (i *Image) Pinned() bool { return i.Labels[PinnedLabel] == "pinned" }

// Whole reports whether every blob is there.
func (i *Image) Whole() bool { return i.Problem == "" && len(i.Missing) == 0 }

// Blob is one piece of content.
type Blob struct {
	Digest string
	Kind   string // index, manifest, config, layer
	// Reason says what is wrong: not in containerd's database, no file, another size.
	Reason string
}

// Store is what containerd has of one namespace.
type Store struct {
	Root    string // containerd's directory
	Present bool   // it has a database
	Images  []Image
	// Namespaces are all there are: images imported into another one than
	// k8s.io (ctr's default is "default") do not exist for the kubelet.
	Namespaces []string
}

// Image returns the image of that name.
func (s *Store) Image(name string) (*Image, bool) {
	for i := range s.Images {
		if s.Images[i].Name == name {
			return &s.Images[i], true
		}
	}
	return nil, false
}

// Options say where to look.
type Options struct {
	// Root is containerd's directory, /var/lib/containerd by default.
	Root string
	// Namespace, Namespace of the CRI by default.
	Namespace string
	// Snapshotter, overlayfs by default.
	Snapshotter string
	// Arch is GOARCH's word for the node, amd64 by default.
	Arch string
}

// Load reads containerd's store in an image. An image without one gives a
// Store that is not Present.
func Load(root fs.FS, o Options) (*Store, error) {
	def := func(s *string, v string) {
		if *s == "" {
			*s = v
		}
	}
	def(&o.Root, "/var/lib/containerd")
	def(&o.Namespace, Namespace)
	def(&o.Snapshotter, "overlayfs")
	def(&o.Arch, "amd64")
	s := &Store{Root: o.Root}
	db, done, err := openDB(root, path.Join(o.Root, metaDB))
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return nil, err
	}
	defer done()
	s.Present = true
	l := &loader{root: root, o: o, store: s}
	if err := l.load(db); err != nil {
		return nil, fmt.Errorf("read %s: %w", path.Join(o.Root, metaDB), err)
	}
	return s, nil
}

func openDB(root fs.FS, p string) (*bolt, func(), error) {
	r, done, err := binaries.Open(root, p)
	if err != nil {
		return nil, nil, err
	}
	db, err := openBolt(r)
	if err != nil {
		done()
		return nil, nil, fmt.Errorf("read %s: %w", p, err)
	}
	return db, done, nil
}

type loader struct {
	root  fs.FS
	o     Options
	store *Store
	// blobs are the digests that the namespace knows, snapshots its chain IDs
	// with their names in the snapshotter.
	blobs     map[string]bool
	snapshots map[string]string
	// ids are the directories of the snapshotter's own database, by name.
	ids map[string]uint64
}

func (l *loader) load(db *bolt) error {
	v1, err := db.find(db.top(), "v1")
	if err != nil || v1 == nil {
		return err
	}
	var ns *bucket
	err = db.each(*v1, func(key, _ []byte, sub *bucket) error {
		if sub == nil {
			return nil
		}
		l.store.Namespaces = append(l.store.Namespaces, string(key))
		if string(key) == l.o.Namespace {
			ns = sub
		}
		return nil
	})
	if err != nil || ns == nil {
		return err
	}
	if err := l.loadBlobs(db, *ns); err != nil {
		return err
	}
	if err := l.loadSnapshots(db, *ns); err != nil {
		return err
	}
	all, err := db.find(*ns, "images")
	if err != nil || all == nil {
		return err
	}
	err = db.each(*all, func(key, _ []byte, sub *bucket) error {
		if sub == nil {
			return nil
		}
		if len(l.store.Images) == maxImages {
			return damaged("more than %d images", maxImages)
		}
		i := Image{Name: string(key)}
		target, err := db.find(*sub, "target")
		if err != nil {
			return err
		}
		if target != nil {
			vs, err := db.values(*target)
			if err != nil {
				return err
			}
			i.Digest, i.MediaType, i.Size = string(vs["digest"]), string(vs["mediatype"]), varint(vs["size"])
		}
		if i.Labels, err = db.texts(*sub, "labels"); err != nil {
			return err
		}
		l.store.Images = append(l.store.Images, i)
		return nil
	})
	if err != nil {
		return err
	}
	sort.Slice(l.store.Images, func(a, b int) bool { return l.store.Images[a].Name < l.store.Images[b].Name })
	// Several names share one digest; each digest is read once.
	seen := map[string]Image{}
	for n := range l.store.Images {
		i := &l.store.Images[n]
		if done, ok := seen[i.Digest]; ok {
			done.Name, done.Labels, done.MediaType, done.Size = i.Name, i.Labels, i.MediaType, i.Size
			*i = done
			continue
		}
		if err := l.inspect(i); err != nil {
			return err
		}
		seen[i.Digest] = *i
	}
	return nil
}

func (l *loader) loadBlobs(db *bolt, ns bucket) error {
	l.blobs = map[string]bool{}
	at, err := db.find(ns, "content", "blob")
	if err != nil || at == nil {
		return err
	}
	return db.each(*at, func(key, _ []byte, sub *bucket) error {
		l.blobs[string(key)] = sub != nil
		return nil
	})
}

// loadSnapshots reads the chain IDs that containerd has unpacked and, of the
// snapshotter's own database, in which directories.
func (l *loader) loadSnapshots(db *bolt, ns bucket) error {
	l.snapshots, l.ids = map[string]string{}, map[string]uint64{}
	at, err := db.find(ns, "snapshots", l.o.Snapshotter)
	if err != nil || at == nil {
		return err
	}
	err = db.each(*at, func(key, _ []byte, sub *bucket) error {
		if sub == nil {
			return nil
		}
		vs, err := db.values(*sub)
		l.snapshots[string(key)] = string(vs["name"])
		return err
	})
	if err != nil {
		return err
	}
	own, done, err := openDB(l.root, path.Join(l.snapshotterDir(), "metadata.db"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer done()
	if at, err = own.find(own.top(), "v1", "snapshots"); err != nil || at == nil {
		return err
	}
	return own.each(*at, func(key, _ []byte, sub *bucket) error {
		if sub == nil {
			return nil
		}
		vs, err := own.values(*sub)
		l.ids[string(key)], _ = binary.Uvarint(vs["id"])
		return err
	})
}

func (l *loader) snapshotterDir() string {
	return path.Join(l.o.Root, "io.containerd.snapshotter.v1."+l.o.Snapshotter)
}

// unpacked reports whether the snapshot of a chain ID is there: known to
// containerd, known to the snapshotter, and a directory.
func (l *loader) unpacked(chain string) bool {
	name, ok := l.snapshots[chain]
	if !ok {
		return false
	}
	id, ok := l.ids[name]
	if !ok {
		return false
	}
	st, err := source.Stat(l.root, path.Join(l.snapshotterDir(), "snapshots", strconv.FormatUint(id, 10)))
	return err == nil && st.IsDir()
}

// blobFile is where a blob lies, "" for no digest.
func (l *loader) blobFile(digest string) string {
	algo, hex, ok := strings.Cut(digest, ":")
	if !ok || algo != "sha256" || len(hex) != 64 || strings.Trim(hex, "0123456789abcdef") != "" {
		return ""
	}
	return path.Join(l.o.Root, blobs, algo, hex)
}
