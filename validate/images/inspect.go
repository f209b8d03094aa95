package images

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"

	"github.com/nodeimage/packer-plugin-nodeimage/validate/source"
)

// descriptor, document and config are the parts of the OCI image
// specification that are looked at. Docker's media types have the same shape.
type descriptor struct {
	MediaType string `json:"mediaType"`
	Digest    string `json:"digest"`
	Size      int64  `json:"size"`
	Platform  *struct {
		OS           string `json:"os"`
		Architecture string `json:"architecture"`
	} `json:"platform"`
}

type document struct {
	Manifests []descriptor `json:"manifests"` // of an index
	Config    descriptor   `json:"config"`    // of a manifest
	Layers    []descriptor `json:"layers"`
}

type config struct {
	OS           string `json:"os"`
	Architecture string `json:"architecture"`
	RootFS       struct {
		DiffIDs []string `json:"diff_ids"`
	} `json:"rootfs"`
}

const (
	maxLayers    = 4096
	maxManifests = 1024
	maxIndexes   = 8
)

// inspect follows an image from its index to its layers.
func (l *loader) inspect(i *Image) error {
	d := descriptor{MediaType: i.MediaType, Digest: i.Digest, Size: i.Size}
	var m document
	for depth := 0; ; depth++ {
		m = document{}
		if ok, err := l.decode(i, d, "manifest", &m); !ok {
			return err
		}
		i.Content += d.Size
		if len(m.Manifests) == 0 {
			break
		}
		if depth == maxIndexes || len(m.Manifests) > maxManifests {
			i.Problem = fmt.Sprintf("index %s: more than %d levels or %d manifests", d.Digest, maxIndexes, maxManifests)
			return nil
		}
		next := l.choose(m.Manifests)
		if next == nil {
			i.Problem = fmt.Sprintf("index %s has no manifest for linux/%s", d.Digest, l.o.Arch)
			return nil
		}
		d = *next
	}
	i.Manifest, i.Config, i.Layers = d.Digest, m.Config.Digest, len(m.Layers)
	if len(m.Layers) > maxLayers {
		i.Problem = fmt.Sprintf("manifest %s has %d layers, want at most %d", d.Digest, len(m.Layers), maxLayers)
		return nil
	}
	for _, layer := range m.Layers {
		i.Content += layer.Size
		if reason, err := l.lacks(layer); err != nil {
			return err
		} else if reason != "" {
			i.Missing = append(i.Missing, Blob{layer.Digest, "layer", reason})
		}
	}
	i.Content += m.Config.Size
	var c config
	if ok, err := l.decode(i, m.Config, "config", &c); !ok {
		return err
	}
	if c.Architecture != l.o.Arch || c.OS != "linux" {
		i.Problem = fmt.Sprintf("is for %s/%s, want linux/%s", c.OS, c.Architecture, l.o.Arch)
		return nil
	}
	if len(c.RootFS.DiffIDs) != len(m.Layers) {
		i.Problem = fmt.Sprintf("config %s has %d layers, its manifest %d", m.Config.Digest, len(c.RootFS.DiffIDs), len(m.Layers))
		return nil
	}
	for _, chain := range chainIDs(c.RootFS.DiffIDs) {
		if !l.unpacked(chain) {
			i.MissingSnapshots = append(i.MissingSnapshots, chain)
		}
	}
	i.Unpacked = len(i.MissingSnapshots) == 0
	return nil
}

// choose takes the manifest for the node, as containerd does: the first of
// the platform. Attestations have the platform unknown/unknown.
func (l *loader) choose(ms []descriptor) *descriptor {
	for n := range ms {
		if p := ms[n].Platform; p != nil && p.OS == "linux" && p.Architecture == l.o.Arch {
			return &ms[n]
		}
	}
	for n := range ms {
		if ms[n].Platform == nil { // its config says what it is for
			return &ms[n]
		}
	}
	return nil
}

// decode reads a JSON blob and checks its digest. It reports false if the
// image cannot be followed further, having said why in i.
func (l *loader) decode(i *Image, d descriptor, kind string, out any) (bool, error) {
	reason, err := l.lacks(d)
	if err != nil {
		return false, err
	}
	if reason != "" {
		i.Missing = append(i.Missing, Blob{d.Digest, kind, reason})
		return false, nil
	}
	data, err := source.ReadFile(l.root, l.blobFile(d.Digest), maxBlob)
	if errors.Is(err, source.ErrTooLarge) {
		i.Problem = err.Error()
		return false, nil
	}
	if err != nil {
		return false, err
	}
	sum := sha256.Sum256(data)
	if got := "sha256:" + hex.EncodeToString(sum[:]); got != d.Digest {
		i.Missing = append(i.Missing, Blob{d.Digest, kind, "the file's digest is " + got})
		return false, nil
	}
	if err := json.Unmarshal(data, out); err != nil {
		i.Problem = fmt.Sprintf("%s %s: %v", kind, d.Digest, err)
		return false, nil
	}
	return true, nil
}

// lacks says why containerd does not have a blob, "" if it does. Layers are
// compared by size: reading them all would take as long as unpacking them.
func (l *loader) lacks(d descriptor) (string, error) {
	f := l.blobFile(d.Digest)
	switch {
	case f == "":
		return "not a sha256 digest", nil
	case !l.blobs[d.Digest]:
		return "not in containerd's database", nil
	}
	st, err := source.Stat(l.root, f)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "no file " + f, nil
	case err != nil:
		return "", err
	case st.Size() != d.Size:
		return fmt.Sprintf("%s has %d bytes, want %d", f, st.Size(), d.Size), nil
	}
	return "", nil
}

// chainIDs are the names of the snapshots of a stack of layers.
func chainIDs(diffIDs []string) []string {
	out := make([]string, len(diffIDs))
	for n, d := range diffIDs {
		if n == 0 {
			out[n] = d
			continue
		}
		sum := sha256.Sum256([]byte(out[n-1] + " " + d))
		out[n] = "sha256:" + hex.EncodeToString(sum[:])
	}
	return out
}
