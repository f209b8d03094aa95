package ubuntutest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/run"
)

// debs are the packages that are made for an archive.
type debs struct {
	dir  string // where they are made
	arch string
	host run.Runner
	// files get them, by path below the archive's address.
	files map[string][]byte
}

// Package is one that is made here: a metapackage, or one with files.
type Package struct {
	Name    string
	Version string
	Depends string            // as in control
	Files   map[string]string // content by path; those below /usr/bin and /DEBIAN's scripts are programs
	Copies  map[string]string // path on this host by path
	// More are further fields of control, a line each.
	More string
}

const revision = "1ubuntu1~standin"

// kernelImage makes the links that GRUB's menu leads to where Ubuntu has them.
const kernelImage = "# Kernel image management overrides, as on Ubuntu.\ndo_symlinks = yes\ndo_bootloader = no\ndo_initrd = yes\nlink_in_boot = yes\n"

// ownPackages makes those that are Ubuntu's own, and returns their stanzas.
func (a *Archive) ownPackages(ctx context.Context, keyring []byte) (string, error) {
	kernel := map[string]string{"amd64": "linux-image-amd64", "arm64": "linux-image-arm64"}[a.o.Arch]
	stanzas := ""
	for _, p := range []Package{
		{Name: "ubuntu-keyring", Version: "2024." + revision, More: "Multi-Arch: foreign\n",
			Files: map[string]string{"/usr/share/keyrings/ubuntu-archive-keyring.gpg": string(keyring)}},
		{Name: "linux-image-virtual", Version: a.o.Version + "." + revision, Depends: "linux-image-generic (= " + a.o.Version + "." + revision + ")"},
		{Name: "linux-image-generic", Version: a.o.Version + "." + revision, Depends: kernel},
		{Name: "linux-image-virtual-hwe-" + a.o.Version, Version: a.o.Version + "." + revision, Depends: kernel},
	} {
		stanza, err := a.debs.build(ctx, p, "pool/stand-in/"+p.Name+".deb")
		if err != nil {
			return "", err
		}
		stanzas += stanza
	}
	stanza, err := a.baseFiles(ctx)
	return stanzas + stanza, err
}

// baseFiles is Debian's base-files, which says that it is Ubuntu.
func (a *Archive) baseFiles(ctx context.Context) (string, error) {
	tree := filepath.Join(a.dir, "base-files")
	if err := a.run(ctx, filepath.Join(a.dir, "apt"), "apt-get", "--quiet=2", "download", "base-files"); err != nil {
		return "", err
	}
	debs, err := filepath.Glob(filepath.Join(a.dir, "apt", "base-files_*.deb"))
	if err != nil {
		return "", err
	}
	if len(debs) != 1 {
		return "", fmt.Errorf("apt downloaded %d packages as base-files, expected 1", len(debs))
	}
	if err := a.run(ctx, a.dir, "dpkg-deb", "--raw-extract", debs[0], tree); err != nil {
		return "", err
	}
	release := fmt.Sprintf("PRETTY_NAME=\"Ubuntu %[1]s LTS (stand-in made from Debian's packages)\"\nNAME=\"Ubuntu\"\nVERSION_ID=\"%[1]s\"\nVERSION=\"%[1]s LTS\"\nVERSION_CODENAME=%[2]s\nID=ubuntu\nID_LIKE=debian\nUBUNTU_CODENAME=%[2]s\n", a.o.Version, a.o.Codename)
	for name, content := range map[string]string{
		"usr/lib/os-release": release, "etc/issue": "Ubuntu " + a.o.Version + " stand-in \\n \\l\n\n", "etc/issue.net": "Ubuntu " + a.o.Version + " stand-in\n",
		"etc/debian_version": a.o.Suite + "/sid\n", "etc/kernel-img.conf": kernelImage,
	} {
		if err := os.WriteFile(filepath.Join(tree, name), []byte(content), 0o644); err != nil {
			return "", err
		}
	}
	control := filepath.Join(tree, "DEBIAN", "control")
	text, err := os.ReadFile(control)
	if err != nil {
		return "", err
	}
	var lines []string
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "Version: ") {
			line = strings.TrimSpace(line) + "ubuntu1~standin\n"
		}
		lines = append(lines, line)
	}
	if err := os.WriteFile(control, []byte(strings.Join(lines, "")), 0o644); err != nil {
		return "", err
	}
	// dpkg checks the sums of what it installed; these are Debian's.
	if err := os.Remove(filepath.Join(tree, "DEBIAN", "md5sums")); err != nil {
		return "", err
	}
	return a.debs.pack(ctx, tree, "pool/stand-in/base-files.deb")
}

// build makes a package, which is served at a path, and returns its stanza.
func (d *debs) build(ctx context.Context, p Package, at string) (string, error) {
	tree := filepath.Join(d.dir, "tree-"+p.Name+"-"+p.Version)
	arch := "all"
	if len(p.Copies) > 0 {
		arch = d.arch
	}
	control := fmt.Sprintf("Package: %s\nVersion: %s\nArchitecture: %s\nMaintainer: Stand-in <stand-in@example.org>\nSection: misc\nPriority: optional\n%s", p.Name, p.Version, arch, p.More)
	if p.Depends != "" {
		control += "Depends: " + p.Depends + "\n"
	}
	control += "Description: stand-in for a package of this name\n"
	files := map[string][]byte{"/DEBIAN/control": []byte(control)}
	for name, content := range p.Files {
		files[name] = []byte(content)
	}
	for name, from := range p.Copies {
		data, err := os.ReadFile(from)
		if err != nil {
			return "", err
		}
		files[name] = data
	}
	var conffiles []string
	for name, data := range files {
		mode := os.FileMode(0o644)
		if strings.HasPrefix(name, "/usr/bin/") || name == "/DEBIAN/postinst" {
			mode = 0o755
		}
		if strings.HasPrefix(name, "/etc/") {
			conffiles = append(conffiles, name+"\n")
		}
		path := filepath.Join(tree, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return "", err
		}
		if err := os.WriteFile(path, data, mode); err != nil {
			return "", err
		}
	}
	if len(conffiles) > 0 {
		slices.Sort(conffiles)
		if err := os.WriteFile(filepath.Join(tree, "DEBIAN", "conffiles"), []byte(strings.Join(conffiles, "")), 0o644); err != nil {
			return "", err
		}
	}
	return d.pack(ctx, tree, at)
}

// pack makes the .deb of a tree, serves it at a path and returns its stanza.
func (d *debs) pack(ctx context.Context, tree, at string) (string, error) {
	deb := tree + ".deb"
	if _, err := d.host.Run(ctx, run.Cmd{Argv: []string{"dpkg-deb", "-Zgzip", "-z1", "--root-owner-group", "--build", tree, deb}, Dir: d.dir}); err != nil {
		return "", err
	}
	data, err := os.ReadFile(deb)
	if err != nil {
		return "", err
	}
	control, err := os.ReadFile(filepath.Join(tree, "DEBIAN", "control"))
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(data)
	d.files[at] = data
	return strings.TrimRight(string(control), "\n") + fmt.Sprintf("\nFilename: %s\nSize: %d\nSHA256: %s\n\n", at, len(data), hex.EncodeToString(sum[:])), nil
}
