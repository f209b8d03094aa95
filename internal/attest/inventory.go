package attest

import (
	"bufio"
	"bytes"
	"context"
	"debug/buildinfo"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/validate/binary"
	"github.com/nodeimage/packer-plugin-nodeimage/validate/dpkg"
	"github.com/nodeimage/packer-plugin-nodeimage/validate/source"
	"github.com/nodeimage/packer-plugin-nodeimage/validate/target"
)

// Bounds of what an image may make this program hold. A node has some 40 Go
// programs with some 100 modules each.
const (
	maxPrograms  = 4096
	maxModules   = 8192 // of one program
	maxProgram   = 1 << 30
	minProgram   = 256 << 10 // the smallest Go program has about 1 MiB
	maxCopyright = 1 << 20
	maxLicences  = 64 // of one package
)

// inventory is what an image holds, as its own files say.
type inventory struct {
	node     Node // without pins
	packages []debPackage
	programs []goProgram
}

type debPackage struct {
	dpkg.Package
	licences []string // short names from its copyright file
}

type goProgram struct {
	path    string
	main    string // import path of the main package
	modules []goModule
	goes    string // toolchain
}

type goModule struct{ path, version, sum string }

// look reads what an image holds.
func look(ctx context.Context, root target.FS) (inv inventory, err error) {
	if inv.node, err = readNode(root); err != nil {
		return inv, err
	}
	db, err := dpkg.Load(root)
	if err != nil {
		return inv, err
	}
	for _, p := range db.Packages {
		if !p.Installed() {
			continue
		}
		licences, err := readLicences(root, p.Name)
		if err != nil {
			return inv, err
		}
		inv.packages = append(inv.packages, debPackage{p, licences})
		if inv.node.Arch == "" && p.Name == "dpkg" {
			inv.node.Arch = p.Arch
		}
	}
	inv.programs, err = readPrograms(ctx, root)
	return inv, err
}

// readNode tells the system's release and its kernel.
func readNode(root target.FS) (n Node, err error) {
	data, err := source.ReadFile(root, "/etc/os-release", source.MaxFile)
	if errors.Is(err, fs.ErrNotExist) {
		data, err = source.ReadFile(root, "/usr/lib/os-release", source.MaxFile)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return n, err
	}
	values := map[string]string{}
	for line := range strings.Lines(string(data)) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok {
			values[key] = strings.Trim(value, `"'`)
		}
	}
	if n.OS = values["ID"]; values["VERSION_ID"] != "" {
		n.OS += "-" + values["VERSION_ID"]
	}
	kernels, err := source.ReadDir(root, "/lib/modules")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return n, err
	}
	var names []string
	for _, k := range kernels {
		names = append(names, k.Name())
	}
	n.Kernel = strings.Join(names, " ")
	return n, nil
}

// readLicences reads the short names in a package's copyright file, if that
// is in Debian's machine-readable format (DEP-5).
func readLicences(root target.FS, name string) ([]string, error) {
	// The name becomes part of a path, and is the image's own word.
	if name == "" || strings.ContainsAny(name, "/\x00") || strings.HasPrefix(name, ".") {
		return nil, nil
	}
	data, err := source.ReadFile(root, path.Join("/usr/share/doc", name, "copyright"), maxCopyright)
	switch {
	case errors.Is(err, fs.ErrNotExist), exitcode.Of(err) == exitcode.Usage:
		return nil, nil // excluded from the image, or no plain file
	case err != nil:
		return nil, err
	}
	return parseLicences(data), nil
}

func parseLicences(data []byte) []string {
	head, _, _ := bytes.Cut(bytes.TrimSpace(data), []byte("\n"))
	if !bytes.HasPrefix(bytes.ToLower(head), []byte("format:")) {
		return nil
	}
	var found []string
	s := bufio.NewScanner(bytes.NewReader(data))
	s.Buffer(nil, maxCopyright)
	for s.Scan() && len(found) < maxLicences {
		key, value, ok := strings.Cut(s.Text(), ":")
		value = strings.TrimSpace(value)
		if ok && strings.EqualFold(key, "License") && value != "" && len(value) < 200 && !slices.Contains(found, value) {
			found = append(found, value)
		}
	}
	slices.Sort(found)
	return found
}

// readPrograms finds every program that Go built, those in the layers of
// unpacked container images included.
func readPrograms(ctx context.Context, root target.FS) ([]goProgram, error) {
	var found []goProgram
	err := target.Walk(ctx, root, ".", func(name string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		if !d.Type().IsRegular() {
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if info.Mode().Perm()&0o111 == 0 || info.Size() < minProgram || info.Size() > maxProgram {
			return nil
		}
		p, ok, err := readProgram(root, name)
		if err != nil || !ok {
			return err
		}
		if found = append(found, p); len(found) > maxPrograms {
			return exitcode.BadInput(fmt.Errorf("more than %d Go programs", maxPrograms))
		}
		return nil
	})
	slices.SortFunc(found, func(a, b goProgram) int { return strings.Compare(a.path, b.path) })
	return found, err
}

// readProgram reads the build information of a file, if Go built it.
func readProgram(root target.FS, name string) (p goProgram, ok bool, err error) {
	r, done, err := binary.Open(root, name)
	if err != nil {
		return p, false, err
	}
	defer done()
	var magic [4]byte
	if n, err := r.ReadAt(magic[:], 0); n < len(magic) || string(magic[:]) != "\x7fELF" {
		if err != nil && !errors.Is(err, io.EOF) {
			return p, false, err
		}
		return p, false, nil
	}
	info, err := buildinfo.Read(r)
	if err != nil {
		return p, false, nil // built by another language's compiler
	}
	if len(info.Deps) > maxModules {
		return p, false, exitcode.BadInput(fmt.Errorf("%s: more than %d modules", source.Path(name), maxModules))
	}
	return programOf(source.Path(name), info), true, nil
}

// programOf lists the modules that a program was built from: those in use,
// where one replaces another, and the standard library.
func programOf(path string, info *buildinfo.BuildInfo) goProgram {
	p := goProgram{path: path, main: info.Path, goes: info.GoVersion}
	add := func(m *debug.Module) {
		if m.Replace != nil {
			m = m.Replace
		}
		if m.Path == "" {
			return
		}
		v := m.Version
		if v == "(devel)" {
			v = "" // built from a tree, which has no version
		}
		p.modules = append(p.modules, goModule{m.Path, v, m.Sum})
	}
	add(&info.Main)
	for _, m := range info.Deps {
		add(m)
	}
	// The standard library has holes of its own; scanners look for this name.
	release, _, _ := strings.Cut(strings.TrimPrefix(info.GoVersion, "go"), " ")
	p.modules = append(p.modules, goModule{path: "stdlib", version: release})
	return p
}
