package component

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/oci"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/run"
)

// unpackDebs returns the files of a component's packages as entries of an
// image. Nothing is configured: the directories that Debian merged into /usr
// and the alternatives of iptables, which maintainer scripts would make, are
// made here. Content goes below work.
func (m *Maker) unpackDebs(ctx context.Context, work string, debs Built) ([]oci.Entry, error) {
	u := unpacker{byPath: map[string]oci.Entry{}}
	for i, deb := range debs.Files {
		dir := filepath.Join(work, fmt.Sprintf("%03d", i))
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, err
		}
		data := filepath.Join(dir, "data.tar")
		f, err := os.Create(data)
		if err != nil {
			return nil, err
		}
		_, err = m.runner.Run(ctx, run.Cmd{Argv: []string{"dpkg-deb", "--fsys-tarfile", deb.Path}, Stdout: f})
		if err := errors.Join(missingTool(err, "dpkg-deb", "install dpkg"), f.Close()); err != nil {
			return nil, err
		}
		if err := u.add(data, dir); err != nil {
			return nil, fmt.Errorf("unpacking %s: %w", deb.Name, err)
		}
		if err := os.Remove(data); err != nil {
			return nil, err
		}
	}
	return u.finish()
}

type unpacker struct {
	byPath map[string]oci.Entry
	files  int
	links  [][2]string // hard links: path, target
}

// keepDocs is what stays of /usr/share/doc: the licences.
const keepDocs = "copyright"

// dropped tells whether a path is of no use in a container.
func dropped(p string) bool {
	for _, dir := range []string{"/usr/share/man/", "/usr/share/locale/", "/usr/share/lintian/", "/usr/share/bug/", "/usr/share/info/",
		"/usr/share/bash-completion/", "/usr/share/initramfs-tools/", "/usr/share/gcc/", "/usr/share/gdb/", "/usr/lib/systemd/", "/etc/init.d/",
		"/usr/lib/x86_64-linux-gnu/gconv/", "/usr/lib/aarch64-linux-gnu/gconv/", "/usr/lib/x86_64-linux-gnu/audit/", "/usr/lib/aarch64-linux-gnu/audit/"} {
		if strings.HasPrefix(p+"/", dir) {
			return true
		}
	}
	return strings.HasPrefix(p, "/usr/share/doc/") && path.Base(p) != keepDocs
}

// mergedUsr moves what older packages ship in /bin, /sbin and /lib to where
// those directories lead.
func mergedUsr(p string) string {
	for _, dir := range []string{"/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"} {
		if p == dir || strings.HasPrefix(p, dir+"/") {
			return "/usr" + p
		}
	}
	return p
}

func (u *unpacker) add(data, dir string) error {
	f, err := os.Open(data)
	if err != nil {
		return err
	}
	defer f.Close()
	tr := tar.NewReader(f)
	for {
		header, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		p := mergedUsr(path.Clean("/" + header.Name))
		if p == "/" || dropped(p) {
			continue
		}
		e := oci.Entry{Path: p, Mode: header.Mode & 0o7777, UID: header.Uid, GID: header.Gid}
		switch header.Typeflag {
		case tar.TypeDir:
			// Directories that hold something come back as parents. One
			// that is empty matters only outside /usr.
			if strings.HasPrefix(p, "/usr") {
				continue
			}
			e.Kind = oci.Dir
		case tar.TypeSymlink:
			e.Kind, e.Target = oci.Symlink, header.Linkname
		case tar.TypeLink:
			u.links = append(u.links, [2]string{p, mergedUsr(path.Clean("/" + header.Linkname))})
			continue
		case tar.TypeReg:
			e.Kind, e.Source = oci.File, filepath.Join(dir, fmt.Sprintf("%05d", u.files))
			u.files++
			if err := writeFile(e.Source, tr); err != nil {
				return err
			}
		default:
			return fmt.Errorf("%s has type %q: expected files, directories and links", p, header.Typeflag)
		}
		u.byPath[p] = e
	}
}

// finish resolves hard links and adds what maintainer scripts would have made.
func (u *unpacker) finish() ([]oci.Entry, error) {
	for _, link := range u.links {
		target, ok := u.byPath[link[1]]
		if !ok {
			return nil, fmt.Errorf("%s is a hard link to %s: %w", link[0], link[1], fs.ErrNotExist)
		}
		target.Path = link[0]
		u.byPath[link[0]] = target
	}
	link := func(p, target string) {
		u.byPath[p] = oci.Entry{Path: p, Kind: oci.Symlink, Target: target}
	}
	for _, dir := range []string{"bin", "sbin", "lib"} {
		link("/"+dir, "usr/"+dir)
	}
	if slices.ContainsFunc(u.paths(), func(p string) bool { return strings.HasPrefix(p, "/usr/lib64/") }) {
		link("/lib64", "usr/lib64")
	}
	// The nft variant, as Debian's alternative with the highest priority: two
	// variants on one node do not see each other's rules
	// (kubernetes/kubernetes#71305).
	for _, family := range []string{"iptables", "ip6tables"} {
		for _, suffix := range []string{"", "-save", "-restore"} {
			if _, ok := u.byPath["/usr/sbin/"+family+"-nft"+suffix]; ok {
				link("/usr/sbin/"+family+suffix, family+"-nft"+suffix)
			}
		}
	}
	var entries []oci.Entry
	for _, p := range u.paths() {
		entries = append(entries, u.byPath[p])
	}
	return entries, nil
}

func (u *unpacker) paths() []string {
	paths := make([]string, 0, len(u.byPath))
	for p := range u.byPath {
		paths = append(paths, p)
	}
	slices.Sort(paths)
	return paths
}

func writeFile(target string, content io.Reader) error {
	f, err := os.Create(target)
	if err != nil {
		return err
	}
	if _, err := io.Copy(f, content); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}
