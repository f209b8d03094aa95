// Package binary tells the versions of the programs in an image from the
// programs themselves, without running them: from Go's build information and
// from the strings that the linker stamped in.
package binary

import (
	"bytes"
	"debug/buildinfo"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/validate/source"
)

// maxSpool bounds what is held of a program whose file cannot be read at
// random, as in a compressed tar. The kubelet has about 80 MiB.
const maxSpool = 256 << 20

// ErrNotGo says that a program was not built by Go, so that its version
// cannot be told (crun, a shell script).
var ErrNotGo = errors.New("not a Go program")

// Info is what a program says about itself.
type Info struct {
	// Package is the main package: k8s.io/kubernetes/cmd/kubelet.
	Package string
	// Module and ModuleVersion are the main module, as the Go command
	// recorded it. Packagers that build from a tree leave the version out.
	Module, ModuleVersion string
	// Deps are the versions of the other modules, by path.
	Deps map[string]string
	// Stamped is the version that the linker put into the program, which is
	// what `--version` prints; empty if it could not be found.
	Stamped string
	// GoVersion is the toolchain, Tags are the build tags, and Settings all
	// that is recorded of the build.
	GoVersion string
	Tags      []string
	Settings  map[string]string
	// Arch is GOARCH's word for the machine.
	Arch string
	// Interpreter is the dynamic loader, empty for a static program.
	Interpreter string
}

// Version is the version of the code: that of the module if it was recorded,
// else the stamped one. Without a leading v.
func (i *Info) Version() string {
	v := i.ModuleVersion
	if v == "" {
		v = i.Stamped
	}
	return strings.TrimPrefix(v, "v")
}

// HasTag reports whether the program was built with a tag. runc without
// "seccomp" starts no container that has a seccomp profile.
func (i *Info) HasTag(tag string) bool {
	for _, t := range i.Tags {
		if t == tag {
			return true
		}
	}
	return false
}

// ReadFile reads the program at p of an image.
func ReadFile(root fs.FS, p string) (*Info, error) {
	r, done, err := Open(root, p)
	if err != nil {
		return nil, err
	}
	defer done()
	i, err := Read(r)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", source.Path(p), err)
	}
	return i, nil
}

// Open gives random access to the file at p. done releases it.
func Open(root fs.FS, p string) (r io.ReaderAt, done func(), err error) {
	f, err := root.Open(source.Name(p))
	if err != nil {
		return nil, nil, fmt.Errorf("read %s: %w", source.Path(p), err)
	}
	if ra, ok := f.(io.ReaderAt); ok {
		st, err := f.Stat()
		if err != nil {
			f.Close()
			return nil, nil, fmt.Errorf("read %s: %w", source.Path(p), err)
		}
		// Not every file system calls a read behind the end io.EOF.
		return io.NewSectionReader(ra, 0, st.Size()), func() { f.Close() }, nil
	}
	f.Close()
	data, err := source.ReadFile(root, p, maxSpool)
	if err != nil {
		return nil, nil, err
	}
	return bytes.NewReader(data), func() {}, nil
}

// Read reads a program. Errors about its content are bad input; ErrNotGo is
// among them.
func Read(r io.ReaderAt) (*Info, error) {
	file, err := elf.NewFile(r)
	if err != nil {
		return nil, exitcode.BadInput(fmt.Errorf("%w: %w", ErrNotGo, err))
	}
	bi, err := buildinfo.Read(r)
	if err != nil {
		return nil, exitcode.BadInput(fmt.Errorf("%w: %w", ErrNotGo, err))
	}
	i := &Info{
		Package: bi.Path, Module: bi.Main.Path, GoVersion: bi.GoVersion,
		Deps: map[string]string{}, Settings: map[string]string{}, Arch: arch(file.Machine),
	}
	if v := bi.Main.Version; v != "(devel)" && !strings.HasPrefix(v, "v0.0.0-") {
		i.ModuleVersion = v
	}
	for _, d := range bi.Deps {
		v := d.Version
		if d.Replace != nil && d.Replace.Path == d.Path {
			v = d.Replace.Version
		}
		i.Deps[d.Path] = v
	}
	for _, s := range bi.Settings {
		i.Settings[s.Key] = s.Value
	}
	if t := i.Settings["-tags"]; t != "" {
		i.Tags = strings.FieldsFunc(t, func(r rune) bool { return r == ',' || r == ' ' })
	}
	if i.ModuleVersion == "" {
		// Built from a small module of its own that requires the real one.
		if v := i.Deps[moduleOf(i.Package)]; v != "" && v != "(devel)" {
			i.Module, i.ModuleVersion = moduleOf(i.Package), v
		}
	}
	if s := file.Section(".interp"); s != nil && s.Size < 4096 {
		if b, err := s.Data(); err == nil {
			i.Interpreter = string(bytes.TrimRight(b, "\x00"))
		}
	}
	if i.Stamped, err = stamped(file, i.Package); err != nil {
		return nil, err
	}
	return i, nil
}

// moduleOf is the module that a known program's main package belongs to.
func moduleOf(pkg string) string {
	for _, m := range []string{"github.com/containerd/containerd/v2", "github.com/containerd/containerd", "github.com/opencontainers/runc",
		"k8s.io/kubernetes", "github.com/containernetworking/plugins", "go.etcd.io/etcd/server/v3", "github.com/coredns/coredns"} {
		if pkg == m || strings.HasPrefix(pkg, m+"/") {
			return m
		}
	}
	return ""
}

func arch(m elf.Machine) string {
	switch m {
	case elf.EM_X86_64:
		return "amd64"
	case elf.EM_AARCH64:
		return "arm64"
	case elf.EM_RISCV:
		return "riscv64"
	case elf.EM_PPC64:
		return "ppc64le"
	case elf.EM_S390:
		return "s390x"
	case elf.EM_ARM:
		return "arm"
	case elf.EM_386:
		return "386"
	}
	return strings.ToLower(strings.TrimPrefix(m.String(), "EM_"))
}
