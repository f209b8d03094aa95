package validate

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"go.etcd.io/bbolt"

	"github.com/nodeimage/packer-plugin-nodeimage/validate/images"
)

// store makes containerd's database and blobs.
type store struct {
	meta, snapshots map[string][]byte // by keys joined with |
	files           tree
	next            uint64
}

const storeRoot = "/var/lib/containerd"

func newStore() *store {
	return &store{meta: map[string][]byte{"v1|version": binary.AppendVarint(nil, 4)}, snapshots: map[string][]byte{}, files: tree{}}
}

func sum(b []byte) string {
	s := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(s[:])
}

func (s *store) blob(mediaType string, data []byte) map[string]any {
	d := sum(data)
	s.files[storeRoot+"/io.containerd.content.v1.content/blobs/sha256/"+d[7:]] = file(string(data))
	s.meta["v1|k8s.io|content|blob|"+d+"|size"] = binary.AppendVarint(nil, int64(len(data)))
	return map[string]any{"mediaType": mediaType, "digest": d, "size": len(data)}
}

func (s *store) json(mediaType string, v any) map[string]any {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return s.blob(mediaType, data)
}

// image adds an image of one layer: unpacked and pinned, unless asked not to.
func (s *store) image(name string, unpacked, pinned bool) {
	const oci = "application/vnd.oci.image."
	layer := s.blob(oci+"layer.v1.tar", []byte("layer of "+name))
	diff := sum([]byte("diff of " + name))
	config := s.json(oci+"config.v1+json", map[string]any{"os": "linux", "architecture": "amd64", "rootfs": map[string]any{"type": "layers", "diff_ids": []string{diff}}})
	manifest := s.json(oci+"manifest.v1+json", map[string]any{"schemaVersion": 2, "mediaType": oci + "manifest.v1+json", "config": config, "layers": []any{layer}})
	at := "v1|k8s.io|images|" + name + "|"
	s.meta[at+"target|digest"] = []byte(manifest["digest"].(string))
	s.meta[at+"target|mediatype"] = []byte(oci + "manifest.v1+json")
	s.meta[at+"target|size"] = binary.AppendVarint(nil, int64(manifest["size"].(int)))
	if pinned {
		s.meta[at+"labels|"+images.PinnedLabel] = []byte("pinned")
	}
	if unpacked {
		s.next++
		key := fmt.Sprintf("k8s.io/%d/%s", s.next, diff)
		s.meta["v1|k8s.io|snapshots|overlayfs|"+diff+"|name"] = []byte(key)
		s.snapshots["v1|snapshots|"+key+"|id"] = binary.AppendUvarint(nil, s.next)
		s.files[fmt.Sprintf("%s/io.containerd.snapshotter.v1.overlayfs/snapshots/%d/fs", storeRoot, s.next)] = directory(0o755)
	}
}

// tree writes the databases.
func (s *store) tree() tree {
	out := maps.Clone(s.files)
	out[storeRoot+"/io.containerd.metadata.v1.bolt/meta.db"] = file(bolt(s.meta))
	out[storeRoot+"/io.containerd.snapshotter.v1.overlayfs/metadata.db"] = file(bolt(s.snapshots))
	return out
}

func bolt(keys map[string][]byte) string {
	dir, err := os.MkdirTemp("", "bolt")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	db, err := bbolt.Open(filepath.Join(dir, "db"), 0o600, &bbolt.Options{NoSync: true})
	if err != nil {
		panic(err)
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		for _, k := range slices.Sorted(maps.Keys(keys)) {
			parts := strings.Split(k, "|")
			b, err := tx.CreateBucketIfNotExists([]byte(parts[0]))
			for _, p := range parts[1 : len(parts)-1] {
				if err == nil {
					b, err = b.CreateBucketIfNotExists([]byte(p))
				}
			}
			if err == nil {
				err = b.Put([]byte(parts[len(parts)-1]), keys[k])
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err := errors.Join(err, db.Close()); err != nil {
		panic(err)
	}
	data, err := os.ReadFile(filepath.Join(dir, "db"))
	if err != nil {
		panic(err)
	}
	return string(data)
}

// kubeadmImages are those of the good node's kubeadm.
func kubeadmImages() []string {
	const r = "registry.k8s.io/"
	return []string{r + "kube-apiserver:v1.37.2", r + "kube-controller-manager:v1.37.2", r + "kube-scheduler:v1.37.2", r + "kube-proxy:v1.37.2",
		r + "coredns/coredns:v1.14.6", r + "pause:3.10.2", r + "etcd:3.7.0-0"}
}

// preloadedBut has all of kubeadm's images, with a change of the one called
// name: change returns false to leave it out.
func preloadedBut(name string, change func(*store) bool) tree {
	s := newStore()
	for _, i := range kubeadmImages() {
		if !strings.Contains(i, "/"+name+":") || change(s) {
			s.image(i, true, true)
		}
	}
	return s.tree()
}

func preloadedAll() tree { return preloadedBut("none", nil) }
