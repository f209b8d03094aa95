package runtime

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2"

	"github.com/nodeimage/packer-plugin-nodeimage/profiles"
)

// ConfigPath is where containerd reads its configuration.
const ConfigPath = "/etc/containerd/config.toml"

// runcType is the only handler type that takes SystemdCgroup and BinaryName.
const runcType = "io.containerd.runc.v2"

// Effective is what containerd shall do, in words that do not depend on the
// version of its configuration file.
type Effective struct {
	Version        int // of the configuration file
	Handlers       map[string]Handler
	DefaultHandler string
	Sandbox        string   // the pause image
	CNIBinDirs     []string // in the order they are searched
	CNIConfDir     string
	Downloads      int
	StatsPeriod    string // between two looks at each container's CPU time; empty: containerd does not look by itself
}

// Handler is one CRI runtime handler.
type Handler struct {
	Type          string
	SystemdCgroup bool
	BinaryName    string
}

// statsPeriod is how often containerd asks every shim for CPU figures that only
// the CRI's own statistics use. From 2.3 on it asks each second unless told
// otherwise (containerd#12629); the kubelet, which looks through cAdvisor, does
// so every ten seconds. With twenty pods the question alone took a third of an
// emulated node.
const statsPeriod = "10s"

// Want reads from the profile what containerd shall do.
func Want(p *profiles.Profile) (Effective, error) {
	version, err := profiles.ConfigVersion(p.Components["containerd"].Version)
	if err != nil {
		return Effective{}, err
	}
	r := p.Runtime
	want := Effective{
		Version:        version,
		Handlers:       map[string]Handler{},
		DefaultHandler: r.DefaultHandler,
		Sandbox:        p.Kubernetes.ImageRepository + "/" + p.Components["pause"].Image,
		CNIBinDirs:     []string{r.CNIBinDir},
		CNIConfDir:     r.CNIConfDir,
		Downloads:      r.MaxConcurrentDownloads,
	}
	if atLeast(p.Components["containerd"].Version, 2, 3) {
		want.StatsPeriod = statsPeriod
	}
	for _, h := range r.Handlers {
		handler := Handler{Type: h.Type}
		if h.Type == runcType {
			handler.SystemdCgroup = r.CgroupDriver == "systemd"
			handler.BinaryName = r.RuncPath
		}
		want.Handlers[h.Name] = handler
	}
	return want, nil
}

// The types below are the parts of config.toml that this project sets; the
// rest is containerd's default. Their comments go into the file.

type runcOptions struct {
	BinaryName    string `toml:"BinaryName"`
	SystemdCgroup bool   `toml:"SystemdCgroup" comment:"One cgroup manager on the node: the kubelet uses systemd too (kubernetes#110177).\nEvery runc handler needs it: the kubelet asks only for one driver (KEP-4033)."`
}

type handlerTable struct {
	RuntimeType string       `toml:"runtime_type"`
	Options     *runcOptions `toml:"options,omitempty"`
}

type containerdTable struct {
	DefaultRuntimeName string                  `toml:"default_runtime_name"`
	Runtimes           map[string]handlerTable `toml:"runtimes"`
}

type cniTable struct {
	BinDir  string   `toml:"bin_dir,omitempty"`
	BinDirs []string `toml:"bin_dirs,omitempty"`
	ConfDir string   `toml:"conf_dir"`
}

// criV2 is the whole CRI plugin of containerd 1.x.
type criV2 struct {
	SandboxImage string          `toml:"sandbox_image" comment:"The pause image that kubeadm wants and that is in the store; any other would have to be pulled."`
	Downloads    int             `toml:"max_concurrent_downloads,omitempty"`
	Containerd   containerdTable `toml:"containerd"`
	CNI          cniTable        `toml:"cni"`
}

type fileV2 struct {
	Version int `toml:"version" comment:"The version that this containerd writes itself; another one is refused, or its keys are silently ignored."`
	Plugins struct {
		CRI criV2 `toml:"io.containerd.grpc.v1.cri"`
	} `toml:"plugins"`
}

// From containerd 2.0 on the CRI plugin is one for images and one for the rest.
type imagesV3 struct {
	Downloads int `toml:"max_concurrent_downloads,omitempty"`
	Pinned    struct {
		Sandbox string `toml:"sandbox" comment:"The pause image that kubeadm wants and that is in the store; any other would have to be pulled."`
	} `toml:"pinned_images"`
}

type runtimeV3 struct {
	StatsPeriod string          `toml:"stats_collect_period,omitempty" comment:"As often as the kubelet's own look (cAdvisor); containerd's default, each second, costs every shim CPU time for figures that nobody reads (containerd#12629)."`
	Containerd  containerdTable `toml:"containerd"`
	CNI         cniTable        `toml:"cni"`
}

type fileV3 struct {
	Version int      `toml:"version" comment:"The version that this containerd writes itself; another one is refused, or its keys are silently ignored."`
	Imports []string `toml:"imports,omitempty" comment:"containerd reads this directory only because it is named here; its files are merged into this one."`
	Plugins struct {
		Images  imagesV3  `toml:"io.containerd.cri.v1.images"`
		Runtime runtimeV3 `toml:"io.containerd.cri.v1.runtime"`
	} `toml:"plugins"`
}

// ConfigTOML renders config.toml for the profile's containerd.
func ConfigTOML(p *profiles.Profile) (string, error) {
	want, err := Want(p)
	if err != nil {
		return "", err
	}
	version := p.Components["containerd"].Version
	table := containerdTable{DefaultRuntimeName: want.DefaultHandler, Runtimes: map[string]handlerTable{}}
	for name, h := range want.Handlers {
		t := handlerTable{RuntimeType: h.Type}
		if h.Type == runcType {
			t.Options = &runcOptions{BinaryName: h.BinaryName, SystemdCgroup: h.SystemdCgroup}
		}
		table.Runtimes[name] = t
	}
	cni := cniTable{ConfDir: want.CNIConfDir}
	if atLeast(version, 2, 1) {
		cni.BinDirs = want.CNIBinDirs
	} else {
		cni.BinDir = want.CNIBinDirs[0]
	}
	var doc any
	if want.Version == 2 {
		// No imports: a drop-in of containerd 1.x replaces the whole CRI
		// section, SystemdCgroup with it (NVIDIA/nvidia-docker#1788).
		var f fileV2
		f.Version = want.Version
		f.Plugins.CRI = criV2{SandboxImage: want.Sandbox, Downloads: want.Downloads, Containerd: table, CNI: cni}
		doc = f
	} else {
		var f fileV3
		f.Version = want.Version
		if atLeast(version, 2, 2) {
			// What this containerd's own default configuration imports.
			f.Imports = []string{"/etc/containerd/conf.d/*.toml"}
		}
		f.Plugins.Images.Downloads = want.Downloads
		f.Plugins.Images.Pinned.Sandbox = want.Sandbox
		f.Plugins.Runtime = runtimeV3{StatsPeriod: want.StatsPeriod, Containerd: table, CNI: cni}
		doc = f
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "# Made by nodeimage for containerd %s. `containerd config dump` shows what counts.\n", version)
	enc := toml.NewEncoder(&b)
	enc.SetIndentTables(true)
	if err := enc.Encode(doc); err != nil {
		return "", fmt.Errorf("encoding %s: %w", ConfigPath, err)
	}
	return b.String(), nil
}

// atLeast compares the first two numbers of a version. The profile's loader
// has checked the version's form.
func atLeast(version string, major, minor int) bool {
	numbers := strings.SplitN(version, ".", 3)
	if len(numbers) < 2 {
		return false
	}
	a, errA := strconv.Atoi(numbers[0])
	b, errB := strconv.Atoi(numbers[1])
	return errA == nil && errB == nil && (a > major || a == major && b >= minor)
}
