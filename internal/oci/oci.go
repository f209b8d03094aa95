// Package oci assembles container images from files, without a container
// engine, and packs them as OCI image layout tars.
//
// The same spec gives the same bytes: entries are sorted, times are the epoch,
// owners are what the spec says, and the compressor works in one thread.
package oci

import (
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"
)

// Spec says what an image is made of: one layer and its configuration.
type Spec struct {
	// Name is the full reference, registry.k8s.io/pause:3.10.2.
	Name string
	// Arch is Go's name of the architecture.
	Arch    string
	Entries []Entry

	Entrypoint []string
	Env        []string // KEY=value
	User       string   // uid:gid, empty for root
	WorkingDir string
	Ports      []string // 53/udp
}

// Kind is what an entry is in the file system.
type Kind int

// The kinds of entries. The zero value is none, so that it is not forgotten.
const (
	File Kind = iota + 1
	Dir
	Symlink
)

// Entry is one file, directory or symbolic link. Missing parent directories
// are added with mode 0755, owned by root.
type Entry struct {
	Path string // absolute in the image
	Kind Kind
	Mode int64 // permission bits with setuid, setgid and sticky, as in stat(2)
	UID  int
	GID  int
	// Source is the file on this host that holds a file's content; Content
	// holds it when Source is empty.
	Source  string
	Content string
	Target  string            // of a symbolic link
	XAttrs  map[string]string // security.capability
}

// PathEnv is the search path that the upstream images of Kubernetes set.
const PathEnv = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// NetBindService returns the value of the extended attribute
// security.capability that grants a program CAP_NET_BIND_SERVICE as
// `setcap cap_net_bind_service=+ep` does: struct vfs_cap_data of revision 2.
func NetBindService() map[string]string {
	const (
		revision2 = 0x02
		effective = 0x01
		bit10     = 0x04 // in the second byte of the permitted set
	)
	value := [20]byte{0: effective, 3: revision2, 5: bit10}
	return map[string]string{"security.capability": string(value[:])}
}

// complete returns the entries with all parents, sorted so that a parent
// stands before what is in it.
func complete(entries []Entry) ([]Entry, error) {
	byPath := map[string]Entry{}
	for _, e := range entries {
		if !path.IsAbs(e.Path) || path.Clean(e.Path) != e.Path || e.Path == "/" {
			return nil, fmt.Errorf("image path %q: expected a clean absolute path", e.Path)
		}
		if e.Kind < File || e.Kind > Symlink {
			return nil, fmt.Errorf("image path %s: unknown kind %d", e.Path, e.Kind)
		}
		if _, ok := byPath[e.Path]; ok {
			return nil, fmt.Errorf("image path %s is given twice", e.Path)
		}
		byPath[e.Path] = e
	}
	for _, e := range entries {
		for dir := path.Dir(e.Path); dir != "/"; dir = path.Dir(dir) {
			parent, ok := byPath[dir]
			if !ok {
				byPath[dir] = Entry{Path: dir, Kind: Dir, Mode: 0o755}
			} else if parent.Kind != Dir {
				return nil, fmt.Errorf("image path %s lies below %s, which is not a directory", e.Path, dir)
			}
		}
	}
	sorted := make([]Entry, 0, len(byPath))
	for _, e := range byPath {
		sorted = append(sorted, e)
	}
	slices.SortFunc(sorted, func(a, b Entry) int { return strings.Compare(a.Path, b.Path) })
	return sorted, nil
}

// open returns a file's content and its size.
func (e Entry) open() (io.ReadCloser, int64, error) {
	if e.Source == "" {
		return io.NopCloser(strings.NewReader(e.Content)), int64(len(e.Content)), nil
	}
	f, err := os.Open(e.Source)
	if err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	return f, info.Size(), nil
}
