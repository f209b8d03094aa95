package nodediff

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/manifest"
	"github.com/nodeimage/packer-plugin-nodeimage/validate"
	"github.com/nodeimage/packer-plugin-nodeimage/validate/dpkg"
	"github.com/nodeimage/packer-plugin-nodeimage/validate/source"
	"github.com/nodeimage/packer-plugin-nodeimage/validate/target"
)

// side is one of the two things that are compared, opened.
type side struct {
	subject Subject
	facts   map[string]facts
	absent  map[string]string // why a topic is not told of

	target  *target.Target // nil for documents
	running bool           // is the system that this process runs on
	dpkg    *dpkg.Database
	made    map[string]string // component by path, from the image's own record
}

func (s *side) close() {
	if s.target != nil {
		_ = s.target.Close() // only read from
	}
}

// say records a fact.
func (s *side) say(topic, key string, f Fact) {
	if s.facts[topic] == nil {
		s.facts[topic] = facts{}
	}
	s.facts[topic][key] = f
}

// maxDocument is the largest manifest, lock or profile that is read, in bytes.
const maxDocument = 32 << 20

// open finds out what lies at p and reads what it says.
func open(ctx context.Context, p string) (*side, error) {
	s := &side{subject: Subject{Path: p}, facts: map[string]facts{}, absent: map[string]string{}}
	doc, err := document(p)
	if err != nil {
		return nil, err
	}
	if doc != nil {
		if err := s.document(doc); err != nil {
			return nil, fmt.Errorf("reading %s: %w", p, err)
		}
		return s, nil
	}
	t, err := target.Open(ctx, p)
	if err != nil {
		return nil, err
	}
	s.target, s.subject.Kind = t, string(t.Kind())
	if err := s.look(ctx); err != nil {
		s.close()
		return nil, fmt.Errorf("looking into %s: %w", p, err)
	}
	return s, nil
}

// document returns the content of a text file, nil for anything else: what a
// target is, package target tells.
func document(p string) ([]byte, error) {
	fi, err := os.Stat(p)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return nil, exitcode.BadInput(err)
	}
	if err != nil {
		return nil, err
	}
	named := slices.Contains([]string{".json", ".yaml", ".yml"}, strings.ToLower(filepath.Ext(p)))
	if !fi.Mode().IsRegular() || !named {
		return nil, nil
	}
	if fi.Size() > maxDocument {
		return nil, exitcode.BadInput(fmt.Errorf("%s: is %d bytes long, want a manifest, a lock or a profile of at most %d", p, fi.Size(), maxDocument))
	}
	data, err := os.ReadFile(p)
	if data == nil {
		data = []byte{}
	}
	return data, err
}

// look reads what an image says.
func (s *side) look(ctx context.Context) error {
	n, err := validate.NewNode(s.target, nil)
	if err != nil {
		return err
	}
	s.running = n.Live != nil
	for _, read := range []func(*validate.Node) error{s.release, s.packages, s.record, s.programs, s.kernel, s.configuration} {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		if err := read(n); err != nil {
			return err
		}
	}
	if !s.running {
		size, err := rootBytes(ctx, n.Root)
		if err != nil {
			return err
		}
		s.size("root file system", size)
	}
	if fi, err := os.Stat(s.subject.Path); err == nil && fi.Mode().IsRegular() {
		s.size("file ("+s.subject.Kind+")", fi.Size())
	}
	if disk, size := s.target.Disk(); disk != nil {
		s.size("disk", size)
		s.say("disk", "partition table", Fact{Value: s.target.DiskGUID()})
		for _, p := range s.target.Partitions() {
			s.say("disk", fmt.Sprintf("partition %d", p.Number), Fact{Value: fmt.Sprintf("%s %q, %s from %d, type %s", p.GUID, p.Name, size3(p.Length), p.Start, p.Type)})
		}
	}
	return nil
}

func (s *side) size(key string, n int64) {
	s.say("sizes", key, Fact{Value: size3(n), Bytes: n})
}

// size3 is a number of bytes for people, with its exact value where that is short.
func size3(n int64) string {
	if n < 10<<10 {
		return fmt.Sprintf("%d B", n)
	}
	value, unit := float64(n)/(1<<10), "KiB"
	for _, u := range []string{"MiB", "GiB", "TiB"} {
		if value < 1024 {
			break
		}
		value, unit = value/1024, u
	}
	return fmt.Sprintf("%.1f %s", value, unit)
}

// release reads os-release.
func (s *side) release(n *validate.Node) error {
	for _, p := range []string{"/etc/os-release", "/usr/lib/os-release"} {
		data, err := source.ReadFile(n.Root, p, source.MaxFile)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		for line := range strings.Lines(string(data)) {
			key, value, ok := strings.Cut(strings.TrimSpace(line), "=")
			if ok && slices.Contains([]string{"ID", "VERSION_ID", "VERSION_CODENAME", "DEBIAN_VERSION_FULL", "IMAGE_ID", "IMAGE_VERSION"}, key) {
				s.say("os", key, Fact{Value: strings.Trim(value, `"'`), From: p})
			}
		}
		return nil
	}
	s.absent["os"] = "no os-release"
	return nil
}

func (s *side) packages(n *validate.Node) error {
	db, err := dpkg.Load(n.Root)
	if err != nil {
		return err
	}
	s.dpkg = db
	if len(db.Packages) == 0 {
		s.absent["packages"] = "no packages of dpkg"
		return nil
	}
	for _, p := range db.Packages {
		if p.Installed() {
			s.package1(p.Name, p.Version, p.Arch, "")
		}
	}
	return nil
}

// package1 records one package; a second one of the name, for another
// architecture, has that in its key.
func (s *side) package1(name, version, arch, sum string) {
	if _, taken := s.facts["packages"][name]; taken {
		name += ":" + arch
	}
	s.say("packages", name, Fact{Value: version, Sum: sum})
}

// record reads what the build recorded in the image.
func (s *side) record(n *validate.Node) error {
	entries, err := source.ReadDir(n.Root, manifest.FragmentDir)
	if errors.Is(err, fs.ErrNotExist) {
		s.absent["components"] = "no record of a build by nodeimage"
		s.absent["container images"] = s.absent["components"]
		return nil
	}
	if err != nil {
		return err
	}
	s.made = map[string]string{}
	for _, e := range entries {
		file := path.Join(manifest.FragmentDir, e.Name())
		data, err := source.ReadFile(n.Root, file, source.MaxFile)
		if err != nil {
			return err
		}
		var fragment manifest.Fragment
		if err := json.NewDecoder(bytes.NewReader(data)).Decode(&fragment); err != nil {
			return exitcode.BadInput(fmt.Errorf("%s: %w", file, err))
		}
		s.components(fragment.Components, fragment.Containers)
		for _, c := range fragment.Components {
			for _, f := range c.Files {
				s.made[f.Path] = c.Name
			}
		}
	}
	return nil
}

func (s *side) components(components []manifest.Component, containers []manifest.Container) {
	for _, c := range components {
		s.say("components", c.Name, Fact{Value: c.Version, Sum: c.Sum})
	}
	for _, c := range containers {
		s.say("container images", c.Name, Fact{Value: c.Digest})
	}
}

func (s *side) programs(n *validate.Node) error {
	programs, err := n.Programs()
	if err != nil {
		return err
	}
	if len(programs) == 0 {
		s.absent["programs"] = "no containerd, runc, kubelet, kubeadm or kubectl"
	}
	for _, p := range programs {
		value := p.Version
		if value == "" {
			value = "of unknown version"
		}
		if p.Go != "" {
			value += ", " + p.Go
		}
		s.say("programs", p.Name, Fact{Value: value, From: p.Path})
	}
	return nil
}

func (s *side) kernel(n *validate.Node) error {
	kernels, err := n.Kernels()
	if err != nil {
		return err
	}
	if len(kernels) == 0 {
		s.absent["kernel"] = "no kernel with modules"
		return nil
	}
	slices.Sort(kernels)
	s.say("kernel", "installed", Fact{Value: strings.Join(kernels, " ")})
	boots, err := n.Boots()
	if err != nil {
		return err
	}
	for _, e := range boots {
		if e.Default {
			s.say("kernel command line", "(kernel)", Fact{Value: e.Kernel, From: e.Pos.String()})
		}
	}
	return nil
}

// configuration reads what is in effect.
func (s *side) configuration(n *validate.Node) error {
	all, err := n.Settings()
	if err != nil {
		return err
	}
	for _, p := range all {
		topic := p.Program
		if topic == "kernel" {
			topic = "kernel command line"
		}
		if p.Absent != "" {
			s.absent[topic] = p.Absent
			continue
		}
		if s.facts[topic] == nil {
			s.facts[topic] = facts{}
		}
		for _, e := range p.List {
			from := ""
			if !e.Pos.IsDefault() {
				from = e.Pos.String()
			}
			// Several lines may speak of one key, such as softdeps of a module.
			f := Fact{Value: e.Value, From: from}
			if old, ok := s.facts[topic][e.Key]; ok && old.Value != e.Value {
				f.Value = old.Value + " " + e.Value
			}
			s.facts[topic][e.Key] = f
		}
	}
	return nil
}
