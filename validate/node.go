package validate

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/nodeimage/packer-plugin-nodeimage/profiles"
	"github.com/nodeimage/packer-plugin-nodeimage/validate/apparmor"
	"github.com/nodeimage/packer-plugin-nodeimage/validate/binary"
	"github.com/nodeimage/packer-plugin-nodeimage/validate/bootloader"
	"github.com/nodeimage/packer-plugin-nodeimage/validate/containerd"
	"github.com/nodeimage/packer-plugin-nodeimage/validate/dpkg"
	"github.com/nodeimage/packer-plugin-nodeimage/validate/fstab"
	"github.com/nodeimage/packer-plugin-nodeimage/validate/kubelet"
	"github.com/nodeimage/packer-plugin-nodeimage/validate/live"
	"github.com/nodeimage/packer-plugin-nodeimage/validate/modules"
	"github.com/nodeimage/packer-plugin-nodeimage/validate/source"
	"github.com/nodeimage/packer-plugin-nodeimage/validate/sysctl"
	"github.com/nodeimage/packer-plugin-nodeimage/validate/systemd"
	"github.com/nodeimage/packer-plugin-nodeimage/validate/target"
)

// Node is what checks see: the target's root and the effective configuration
// of each program in it. Each model is read once, when the first check asks,
// and shared. It is safe for concurrent use.
type Node struct {
	Root    target.FS
	ESP     target.FS         // nil without an EFI system partition
	Profile *profiles.Profile // nil if none was named
	// Live is what the running system says; nil for an image.
	Live *live.Machine

	now     time.Time
	reading sync.Mutex // held while a program is read
	rules   *Rules
	compat  *profiles.Compatibility

	unitsOnce     lazy[*systemd.Units]
	sysctlOnce    lazy[*sysctl.Config]
	modulesOnce   lazy[*modules.Config]
	fstabOnce     lazy[*fstab.Table]
	bootOnce      lazy[*bootloader.Config]
	preloadOnce   lazy[*preload]
	dpkgOnce      lazy[*dpkg.Database]
	apparmorOnce  lazy[*apparmor.Policy]
	programsOnce  lazy[*programs]
	templateOnce  lazy[binary.Template]
	inventoryOnce lazy[[]item]
	ctdOnce       lazy[*containerd.Config]
	kubeletOnce   lazy[*kubelet.Config]
}

// lazy computes a value when it is first asked for, and keeps it and its error.
type lazy[T any] struct {
	once  sync.Once
	value T
	err   error
}

func (l *lazy[T]) get(compute func() (T, error)) (T, error) {
	l.once.Do(func() { l.value, l.err = compute() })
	return l.value, l.err
}

func (n *Node) units() (*systemd.Units, error) {
	return n.unitsOnce.get(func() (*systemd.Units, error) { return systemd.Load(n.Root) })
}

func (n *Node) service(name string) (*systemd.Service, error) {
	units, err := n.units()
	if err != nil {
		return nil, err
	}
	return units.Service(name)
}

func (n *Node) sysctls() (*sysctl.Config, error) {
	return n.sysctlOnce.get(func() (*sysctl.Config, error) { return sysctl.Load(n.Root) })
}

func (n *Node) modules() (*modules.Config, error) {
	return n.modulesOnce.get(func() (*modules.Config, error) { return modules.Load(n.Root) })
}

func (n *Node) fstab() (*fstab.Table, error) {
	return n.fstabOnce.get(func() (*fstab.Table, error) { return fstab.Load(n.Root) })
}

func (n *Node) bootloader() (*bootloader.Config, error) {
	return n.bootOnce.get(func() (*bootloader.Config, error) { return bootloader.Load(n.Root) })
}

func (n *Node) apparmor() (*apparmor.Policy, error) {
	return n.apparmorOnce.get(func() (*apparmor.Policy, error) { return apparmor.Load(n.Root) })
}

func (n *Node) dpkg() (*dpkg.Database, error) {
	return n.dpkgOnce.get(func() (*dpkg.Database, error) { return dpkg.Load(n.Root) })
}

// packageOf is the package that brought a file; its Name is empty if none did.
func (n *Node) packageOf(p string) (dpkg.Package, error) {
	db, err := n.dpkg()
	if err != nil {
		return dpkg.Package{}, err
	}
	pkg, _, err := db.Owner(n.Root, p)
	return pkg, err
}

// today is the day of the judgement, which end-of-life dates are compared with.
func (n *Node) today() string { return n.now.UTC().Format(time.DateOnly) }

// errAbsent says that there is nothing to look at. Checks that meet it are
// skipped with its text.
var errAbsent = errors.New("not in the target")

func absent(format string, args ...any) error {
	return absence{fmt.Sprintf(format, args...)}
}

// absence is an errAbsent with a reason.
type absence struct{ reason string }

func (a absence) Error() string   { return a.reason }
func (a absence) Is(t error) bool { return t == errAbsent }

func reasonOf(err error) string {
	var a absence
	if errors.As(err, &a) {
		return a.reason
	}
	return err.Error()
}

// containerd is what the installed containerd makes of its configuration.
// The error is errAbsent if there is none, or one of unknown version.
func (n *Node) containerd() (*containerd.Config, error) {
	return n.ctdOnce.get(func() (*containerd.Config, error) {
		p, err := n.program("containerd")
		if err != nil {
			return nil, err
		}
		if p.Version == "" {
			return nil, absent("the version of %s cannot be told", p.Path)
		}
		file := containerd.DefaultPath
		svc, err := n.service("containerd.service")
		if err != nil {
			return nil, err
		}
		if len(svc.ExecStart) > 0 {
			args := svc.Argv(svc.ExecStart[len(svc.ExecStart)-1])
			if f, ok := flagValue(args, "--config", "-c"); ok {
				file = path.Join("/", f)
			}
		}
		return containerd.Effective(n.Root, file, p.Version)
	})
}

// kubelet is the configuration that the installed kubelet runs with.
// The error is errAbsent if there is none, or one of unknown version.
func (n *Node) kubelet() (*kubelet.Config, error) {
	return n.kubeletOnce.get(func() (*kubelet.Config, error) {
		p, err := n.program("kubelet")
		if err != nil {
			return nil, err
		}
		if p.Version == "" {
			return nil, absent("the version of %s cannot be told", p.Path)
		}
		svc, err := n.service("kubelet.service")
		if err != nil {
			return nil, err
		}
		return kubelet.Load(n.Root, svc, p.Version)
	})
}

// flagValue finds a flag of urfave/cli or pflag: --name value or --name=value.
func flagValue(args []systemd.Arg, names ...string) (string, bool) {
	for i, a := range args {
		for _, name := range names {
			if a.Text == name && i+1 < len(args) {
				return args[i+1].Text, true
			}
			if rest, ok := strings.CutPrefix(a.Text, name+"="); ok {
				return rest, true
			}
		}
	}
	return "", false
}

// exists tells whether p is there, following links inside the target. A link
// to nowhere is not.
func (n *Node) exists(p string) (bool, error) {
	_, err := n.Root.Stat(source.Name(p))
	switch {
	case err == nil:
		return true, nil
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	}
	return false, err
}

// read returns a file's content, nil if it is not there.
func (n *Node) read(p string) ([]byte, error) {
	data, err := source.ReadFile(n.Root, p, source.MaxFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return data, err
}

// list returns a directory's entries, none if it is not there.
func (n *Node) list(p string) ([]fs.DirEntry, error) {
	entries, err := source.ReadDir(n.Root, p)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return entries, err
}

// image tells whether the node is still an image, which must have no identity.
func (n *Node) image() (reason string, err error) {
	if n.Live != nil {
		return "this is a running node, which has an identity of its own", nil
	}
	return "", nil
}
