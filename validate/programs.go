package validate

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
	"sync"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/manifest"
	"github.com/nodeimage/packer-plugin-nodeimage/validate/binary"
	"github.com/nodeimage/packer-plugin-nodeimage/validate/dpkg"
	"github.com/nodeimage/packer-plugin-nodeimage/validate/source"
)

// program is an installed program.
type program struct {
	Name    string
	Path    string // absolute, as a service or the shell finds it
	Version string // without a leading v, packager's suffix included; "" if it cannot be told
	Info    *binary.Info
}

// programs remembers what was looked up.
type programs struct {
	// recorded is the version by path, from the image's manifest fragments.
	recorded map[string]string

	mu   sync.Mutex
	read map[string]*lazy[program] // by path
}

// searchPath is systemd's and Debian's PATH for services.
func searchPath() []string {
	return []string{"/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"}
}

// find returns the path of a program as a service would, "" if there is none.
func (n *Node) find(name string) (string, error) {
	all, err := n.findAll(name)
	if err != nil || len(all) == 0 {
		return "", err
	}
	return all[0], nil
}

// findAll returns the paths of all copies of a program in PATH, the one that
// is found first in front. Links to a copy are no copies.
func (n *Node) findAll(name string) ([]string, error) {
	var all []string
	seen := map[string]bool{}
	for _, dir := range searchPath() {
		p := path.Join(dir, name)
		fi, err := n.Root.Stat(source.Name(p))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		real, err := n.Root.Resolve(source.Name(p))
		if err != nil {
			return nil, err
		}
		if fi.Mode().IsRegular() && fi.Mode()&0o111 != 0 && !seen[real] {
			seen[real] = true
			all = append(all, p)
		}
	}
	return all, nil
}

// program returns the copy of a program that runs on the node: the one that
// its service starts, else the first in PATH. The error is errAbsent if there
// is none.
func (n *Node) program(name string) (program, error) {
	at, err := n.started(name)
	if err != nil {
		return program{}, err
	}
	if at == "" {
		if at, err = n.find(name); err != nil {
			return program{}, err
		}
	}
	if at == "" {
		return program{}, absent("%s is not installed", name)
	}
	return n.programAt(name, at)
}

// started is the path from which a program's own service starts it, "" if it
// has none.
func (n *Node) started(name string) (string, error) {
	if name != "containerd" && name != "kubelet" {
		return "", nil
	}
	svc, err := n.service(name + ".service")
	if err != nil || len(svc.ExecStart) == 0 {
		return "", err
	}
	p := svc.ExecStart[len(svc.ExecStart)-1].Path
	if path.Base(p) != name {
		return "", nil
	}
	if ok, err := n.exists(p); err != nil || !ok {
		return "", err
	}
	return p, nil
}

// programAt tells the version of the program at p: what the program says
// about itself, else what the image's build recorded, else the package's.
func (n *Node) programAt(name, p string) (program, error) {
	known, err := n.programsOnce.get(n.readManifests)
	if err != nil {
		return program{}, err
	}
	known.mu.Lock()
	l := known.read[p]
	if l == nil {
		l = &lazy[program]{}
		known.read[p] = l
	}
	known.mu.Unlock()
	return l.get(func() (program, error) {
		found := program{Name: name, Path: p}
		// One at a time: reading a program takes some tens of MiB.
		n.reading.Lock()
		info, err := binary.ReadFile(n.Root, p)
		n.reading.Unlock()
		switch {
		case errors.Is(err, binary.ErrNotGo):
		case err != nil:
			return found, err
		default:
			found.Info = info
			found.Version = info.Version()
			// A packager's stamp (1.7.24~ds1) tells more than the module.
			if stamped := strings.TrimPrefix(info.Stamped, "v"); plain(stamped) != "" && (plain(stamped) == plain(found.Version) || plain(found.Version) == "") {
				found.Version = stamped
			}
		}
		if plain(found.Version) == "" {
			found.Version = strings.TrimPrefix(known.recorded[p], "v")
		}
		// What was built outside of a git checkout knows no revision, and so
		// not whose build it is: Debian's has other defaults.
		unknown := strings.HasSuffix(found.Version, "+unknown")
		if plain(found.Version) == "" || unknown {
			pkg, err := n.packageOf(p)
			if err != nil {
				return found, err
			}
			if v := dpkg.Upstream(pkg.Version); !unknown || plain(v) == plain(found.Version) {
				found.Version = v
			}
		}
		return found, nil
	})
}

// readManifests reads what the provisioners recorded about installed files.
func (n *Node) readManifests() (*programs, error) {
	known := &programs{recorded: map[string]string{}, read: map[string]*lazy[program]{}}
	entries, err := n.list(manifest.FragmentDir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		file := path.Join(manifest.FragmentDir, e.Name())
		data, err := n.read(file)
		if err != nil {
			return nil, err
		}
		var fragment manifest.Fragment
		if err := json.Unmarshal(data, &fragment); err != nil {
			return nil, exitcode.BadInput(fmt.Errorf("read %s: %w", file, err))
		}
		for _, c := range fragment.Components {
			for _, f := range c.Files {
				known.recorded[f.Path] = c.Version
			}
		}
	}
	return known, nil
}

// runc is a copy of runc and the handlers that start it.
type runc struct {
	program
	Handlers []string
}

// runcs returns each runc that containerd's handlers start: BinaryName, or
// the first runc in PATH. A path that is not there has no Version and no Info.
func (n *Node) runcs() ([]runc, error) {
	c, err := n.containerd()
	if err != nil {
		return nil, err
	}
	var all []runc
	for _, name := range c.HandlerNames() {
		h := c.Handlers[name]
		if !h.IsRunc() {
			continue
		}
		p := h.BinaryName.Value
		switch {
		case p == "":
			p = "runc"
			fallthrough
		case !path.IsAbs(p):
			at, err := n.find(p)
			if err != nil {
				return nil, err
			}
			if at != "" {
				p = at
			}
		}
		i := indexOf(all, p)
		if i < 0 {
			r := runc{program: program{Name: "runc", Path: p}}
			if ok, err := n.exists(p); err != nil {
				return nil, err
			} else if ok && path.IsAbs(p) {
				if r.program, err = n.programAt("runc", p); err != nil {
					return nil, err
				}
			}
			all, i = append(all, r), len(all)
		}
		all[i].Handlers = append(all[i].Handlers, name)
	}
	return all, nil
}

func indexOf(all []runc, p string) int {
	for i, r := range all {
		if r.Path == p {
			return i
		}
	}
	return -1
}

// template is the AppArmor profile in the containerd that runs.
func (n *Node) template() (binary.Template, error) {
	return n.templateOnce.get(func() (binary.Template, error) {
		p, err := n.program("containerd")
		if err != nil {
			return binary.Template{}, err
		}
		r, done, err := binary.Open(n.Root, p.Path)
		if err != nil {
			return binary.Template{}, err
		}
		defer done()
		n.reading.Lock()
		defer n.reading.Unlock()
		t, err := binary.ReadTemplate(r)
		if errors.Is(err, binary.ErrNotGo) {
			return binary.Template{}, nil
		}
		return t, err
	})
}

// allowsRuncSignals tells whether containers of the installed containerd
// accept signals from AppArmor's label runc: by the profile in the program,
// else by its version.
func (n *Node) allowsRuncSignals(ctd program) (bool, error) {
	t, err := n.template()
	if err != nil {
		return false, err
	}
	if t.Found {
		return t.PeerRunc, nil
	}
	return has(n.rules.Faults["apparmor-runc-signal-denied"].Fixed, ctd.Version), nil
}

// sameFiles tells whether all paths hold the same bytes.
func (n *Node) sameFiles(paths []string) (bool, error) {
	var first [sha256.Size]byte
	for i, p := range paths {
		f, err := n.Root.Open(source.Name(p))
		if err != nil {
			return false, err
		}
		h := sha256.New()
		_, err = io.Copy(h, f)
		if err := errors.Join(err, f.Close()); err != nil {
			return false, err
		}
		var sum [sha256.Size]byte
		h.Sum(sum[:0])
		if i > 0 && sum != first {
			return false, nil
		}
		first = sum
	}
	return true, nil
}
