package registry

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/imagefile"
)

// kubevirtUser is the user and group of qemu in KubeVirt's launcher, who must
// be able to read the disk (https://kubevirt.io/user-guide/storage/disks_and_volumes/#containerdisk).
const kubevirtUser = 107

// diskDir is where KubeVirt looks for the disk.
const diskDir = "disk/"

// tarBlock is the unit of a tar, in bytes.
const tarBlock = 512

// diskLayer is the one layer of a containerDisk: a tar with the disk, put
// together as it is read, so that it needs no room and any part can be sent
// again. It is not compressed: the clusters of the qcow2 are.
type diskLayer struct {
	head    []byte
	content io.ReaderAt
	size    int64 // of content
	tail    int64 // zeros
}

// newDiskLayer puts a disk of size bytes at /disk/name. The same disk gives
// the same bytes.
func newDiskLayer(name string, content io.ReaderAt, size int64) (*diskLayer, error) {
	var head bytes.Buffer
	tw := tar.NewWriter(&head)
	epoch := time.Unix(0, 0)
	for _, h := range []*tar.Header{
		{Typeflag: tar.TypeDir, Name: diskDir, Mode: 0o555, Uid: kubevirtUser, Gid: kubevirtUser, ModTime: epoch, Format: tar.FormatPAX},
		{Typeflag: tar.TypeReg, Name: diskDir + name, Mode: 0o440, Uid: kubevirtUser, Gid: kubevirtUser, ModTime: epoch, Size: size, Format: tar.FormatPAX},
	} {
		if err := tw.WriteHeader(h); err != nil {
			return nil, fmt.Errorf("packing the disk: %w", err)
		}
	}
	padding := (tarBlock - size%tarBlock) % tarBlock
	return &diskLayer{head.Bytes(), content, size, padding + 2*tarBlock}, nil
}

// Size of the tar in bytes.
func (l *diskLayer) Size() int64 { return int64(len(l.head)) + l.size + l.tail }

// ReadAt implements io.ReaderAt.
func (l *diskLayer) ReadAt(p []byte, offset int64) (n int, err error) {
	pieces := []struct {
		from io.ReaderAt
		size int64
	}{{bytes.NewReader(l.head), int64(len(l.head))}, {l.content, l.size}, {zeros{}, l.tail}}
	for _, piece := range pieces {
		if offset >= piece.size {
			offset -= piece.size
			continue
		}
		want := min(int64(len(p)-n), piece.size-offset)
		got, err := piece.from.ReadAt(p[n:n+int(want)], offset)
		n += got
		if int64(got) < want {
			if err == nil || err == io.EOF {
				err = io.ErrUnexpectedEOF // the file became shorter
			}
			return n, err
		}
		if offset = 0; n == len(p) {
			return n, nil
		}
	}
	return n, io.EOF
}

type zeros struct{}

func (zeros) ReadAt(p []byte, _ int64) (int, error) {
	clear(p)
	return len(p), nil
}

// wrap describes the layer of an image's containerDisk. The file is read once
// more, and must still be what its digest says.
func wrap(ctx context.Context, name string, img *imagefile.Image) (*diskLayer, ocispec.Descriptor, error) {
	disk := &hashing{img, sha256.New(), 0}
	layer, err := newDiskLayer(name, disk, img.Size)
	if err != nil {
		return nil, ocispec.Descriptor{}, err
	}
	sum := sha256.New()
	if err := imagefile.Stream(ctx, sum, layer); err != nil {
		return nil, ocispec.Descriptor{}, fmt.Errorf("reading the image: %w", err)
	}
	if got := hex.EncodeToString(disk.sum.Sum(nil)); got != img.SHA256 {
		return nil, ocispec.Descriptor{}, exitcode.Transient(fmt.Errorf("image %s has sha256:%s now and had sha256:%s: it was changed meanwhile", img.Path, got, img.SHA256))
	}
	layer.content = img
	return layer, ocispec.Descriptor{
		MediaType: ocispec.MediaTypeImageLayer, Digest: digest.NewDigest(digest.SHA256, sum), Size: layer.Size(),
	}, nil
}

// hashing hashes what is read through it from the beginning to the end.
type hashing struct {
	io.ReaderAt
	sum hash.Hash
	at  int64
}

func (h *hashing) ReadAt(p []byte, offset int64) (int, error) {
	n, err := h.ReaderAt.ReadAt(p, offset)
	if offset != h.at {
		return n, fmt.Errorf("reading at %d after %d: expected one byte after the other", offset, h.at)
	}
	h.sum.Write(p[:n])
	h.at += int64(n)
	return n, err
}
