package profiles

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
)

// YAML renders the effective profile. It can be loaded again, extends nothing
// and has the same Hash.
func (p *Profile) YAML() ([]byte, error) {
	effective := *p
	effective.Extends = ""
	var b bytes.Buffer
	enc := yaml.NewEncoder(&b)
	enc.SetIndent(2)
	if err := enc.Encode(&effective); err != nil {
		return nil, fmt.Errorf("profile %s as YAML: %w", p.Name, err)
	}
	if err := enc.Close(); err != nil {
		return nil, fmt.Errorf("profile %s as YAML: %w", p.Name, err)
	}
	return b.Bytes(), nil
}

// JSON renders the effective profile, indented, with a newline at the end.
func (p *Profile) JSON() ([]byte, error) {
	out, err := json.MarshalIndent(p, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("profile %s as JSON: %w", p.Name, err)
	}
	return append(out, '\n'), nil
}

// Hash is the sha256, in hexadecimal, of the effective profile's canonical
// JSON: keys sorted, no blanks. The order and style of the files it was
// written in do not matter, nor which of them said what.
func (p *Profile) Hash() string {
	sum := sha256.Sum256(p.canonical())
	return hex.EncodeToString(sum[:])
}

func (p *Profile) canonical() []byte {
	// Through a generic value, since maps are written in the order of keys
	// and structs in the order of this release's fields.
	var tree any
	out, err := json.Marshal(p)
	if err == nil {
		if err = json.Unmarshal(out, &tree); err == nil {
			out, err = json.Marshal(tree)
		}
	}
	if err != nil {
		// A Profile has strings, numbers, lists and maps of them only.
		panic(fmt.Sprintf("profile %s as canonical JSON: %v", p.Name, err))
	}
	return out
}

const snapshotPlaceholder = "{snapshot}"

// Effective returns the sources that packages are fetched from: of the living
// archive, or of its snapshot. Each names the keyring that it is verified with.
func (a Archive) Effective() []ArchiveSource {
	sources := slices.Clone(a.Sources)
	for i := range sources {
		s := &sources[i]
		if a.Snapshot != "" {
			s.URI = strings.Replace(s.SnapshotURI, snapshotPlaceholder, a.Snapshot, 1)
		}
		s.SnapshotURI = ""
		if s.Keyring == "" {
			s.Keyring = a.Keyring
		}
	}
	return sources
}

// Keyrings returns the keyrings on the build host that packages are verified
// with, each once.
func (a Archive) Keyrings() []string {
	list := []string{a.Keyring}
	for _, s := range a.Sources {
		if s.Keyring != "" && !slices.Contains(list, s.Keyring) {
			list = append(list, s.Keyring)
		}
	}
	return list
}

// PackageList returns the distribution packages to install into the image's
// root: all groups, the kernel, and those of deb components, except
// kube-proxy-base, which goes into a container image. Sorted, each once.
func (p *Profile) PackageList() []string {
	var list []string
	for _, group := range p.Packages.Include {
		list = append(list, group...)
	}
	if p.Kernel.Package != "" {
		list = append(list, p.Kernel.Package)
	}
	list = append(list, p.ComponentPackages()...)
	slices.Sort(list)
	return slices.Compact(list)
}

// ComponentPackages returns the packages that bring components into the image's
// root. Sorted, each once.
func (p *Profile) ComponentPackages() []string {
	var list []string
	for name, c := range p.Components {
		if c.Source == SourceDeb && name != "kube-proxy-base" {
			list = append(list, c.Packages...)
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// PackagePins returns the version that a package of a deb component must have,
// by the package's name: the first package of the component has the component's
// version. Where two components come in one package, as containerd and runc in
// Docker's containerd.io, that of the first is the package's, and the other's is
// its program's.
func (p *Profile) PackagePins() map[string]string {
	pins := map[string]string{}
	for _, rule := range componentRules() {
		c := p.Components[rule.name]
		if c.Source != SourceDeb || !rule.versioned || len(c.Packages) == 0 || pins[c.Packages[0]] != "" {
			continue
		}
		pins[c.Packages[0]] = c.Version
	}
	return pins
}

// Pinned returns names of packages as apt takes them: name=version where a
// component pins the version.
func (p *Profile) Pinned(names []string) []string {
	pins := p.PackagePins()
	pinned := slices.Clone(names)
	for i, name := range pinned {
		if version := pins[name]; version != "" {
			pinned[i] = name + "=" + version
		}
	}
	return pinned
}

// PackageSums returns the sha256 that a package of a deb component must have, by
// the package's name, where the profile pins one.
func (p *Profile) PackageSums() map[string]string {
	sums := map[string]string{}
	for _, c := range p.Components {
		if sum := c.SHA256[p.OS.Arch]; c.Source == SourceDeb && len(c.Packages) > 0 && sum != "" {
			sums[c.Packages[0]] = sum
		}
	}
	return sums
}

// KubeadmImages returns the names that `kubeadm config images list` prints
// for the profile's Kubernetes version and image repository, in its order.
// Bad input when the components it names have no version or image.
func KubeadmImages(p *Profile) ([]string, error) {
	kubernetes := p.Components["kubernetes"]
	version := kubernetes.Version
	if kubernetes.Source == SourceDeb {
		version, _, _ = strings.Cut(version, "-") // the Debian revision
	}
	if version == "" {
		return nil, exitcode.BadInput(fmt.Errorf("profile %s: components.kubernetes.version: missing", p.Name))
	}
	repository := p.Kubernetes.ImageRepository
	var images []string
	for _, name := range []string{"kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy"} {
		images = append(images, repository+"/"+name+":v"+version)
	}
	for _, name := range []string{"coredns", "pause", "etcd"} {
		image := p.Components[name].Image
		if image == "" {
			return nil, exitcode.BadInput(fmt.Errorf("profile %s: components.%s.image: missing", p.Name, name))
		}
		// Only below the default repository does CoreDNS have a directory of
		// its own (kubeadm's GetDNSImage).
		if name == "coredns" && repository != defaultImageRepository {
			image = strings.TrimPrefix(image, "coredns/")
		}
		images = append(images, repository+"/"+image)
	}
	return images, nil
}
