package nodediff

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/manifest"
	"github.com/nodeimage/packer-plugin-nodeimage/profiles"
	"github.com/nodeimage/packer-plugin-nodeimage/profiles/lock"
)

// document reads a manifest, a lock or a profile.
func (s *side) document(data []byte) error {
	var head struct {
		Schema string `yaml:"schema"`
		Kind   string `yaml:"kind"`
	}
	if err := yaml.Unmarshal(data, &head); err != nil {
		return exitcode.BadInput(err)
	}
	switch {
	case head.Schema == manifest.SchemaVersion:
		return s.manifest(data)
	case head.Kind == lock.Kind:
		return s.lock(data)
	case head.Kind == "Profile":
		return s.profile()
	}
	return exitcode.BadInput(fmt.Errorf("is neither an image nor a known document: want schema: %s (a manifest), kind: Lock or kind: Profile; found schema: %q, kind: %q",
		manifest.SchemaVersion, head.Schema, head.Kind))
}

func (s *side) manifest(data []byte) error {
	var m manifest.Manifest
	if err := json.NewDecoder(bytes.NewReader(data)).Decode(&m); err != nil {
		return exitcode.BadInput(err)
	}
	s.subject.Kind = "manifest"
	if m.Base != nil {
		s.say("base", "cloud image", Fact{Value: m.Base.URL, Sum: m.Base.SHA256})
	}
	for _, p := range m.Packages {
		s.package1(p.Name, p.Version, p.Arch, p.SHA256)
	}
	s.kernelFrom(func(yield func(name string)) {
		for _, p := range m.Packages {
			yield(p.Name)
		}
	})
	s.components(m.Components, m.Containers)
	s.size("root file system", m.Sizes.RootFS)
	for _, i := range m.Images {
		s.size("file ("+i.Format+")", i.Size)
		s.size("disk", i.VirtualSize)
	}
	return nil
}

// kernelFrom tells the kernels of a list of Debian packages: each is in a
// package that is named after its release.
func (s *side) kernelFrom(each func(yield func(name string))) {
	var releases []string
	each(func(name string) {
		release, ok := strings.CutPrefix(name, "linux-image-")
		if ok && release != "" && release[0] >= '0' && release[0] <= '9' {
			releases = append(releases, release)
		}
	})
	if len(releases) > 0 {
		s.say("kernel", "installed", Fact{Value: strings.Join(releases, " ")})
	}
}

func (s *side) lock(data []byte) error {
	l, err := lock.Parse(s.subject.Path, data)
	if err != nil {
		return err
	}
	s.subject.Kind = "lock"
	s.say("kernel", "installed", Fact{Value: l.Kernel.Release, Sum: l.Kernel.SHA256})
	if image := l.Base.CloudImage; image.URL != "" {
		s.say("base", "cloud image", Fact{Value: image.URL, Sum: image.SHA256})
		for _, p := range image.Packages {
			s.package1(p.Name, p.Version, p.Arch, "")
		}
	}
	for _, p := range l.Packages {
		s.package1(p.Name, p.Version, p.Arch, p.SHA256)
	}
	for _, c := range l.Components {
		s.say("components", c.Name, Fact{Value: cmp.Or(c.Version, shortSum(c.Sum)), Sum: c.Sum})
	}
	for _, i := range l.Images {
		s.say("container images", i.Name, Fact{Value: i.Digest})
	}
	return nil
}

// profile reads a profile as a build would: with what it extends, and checked.
func (s *side) profile() error {
	p, err := profiles.Load(s.subject.Path)
	if err != nil {
		return err
	}
	s.subject.Kind = "profile"
	s.say("os", "ID", Fact{Value: p.OS.Distribution})
	s.say("os", "VERSION_ID", Fact{Value: p.OS.Version})
	if p.FromCloudImage() {
		s.say("base", "cloud image", Fact{Value: p.Base.CloudImage.URL, Sum: p.Base.CloudImage.SHA256})
	}
	for name, c := range p.Components {
		s.say("components", name, Fact{Value: c.Version, Sum: c.Sum})
	}
	for key, value := range p.Host.Sysctls {
		s.say("sysctl", key, Fact{Value: value, From: s.subject.Path})
	}
	return nil
}
