// Package kubelet says with which configuration the kubelet of an image runs:
// its configuration file, the drop-ins of --config-dir, and the flags that
// reach it through the unit, its drop-ins and its environment files, put
// together in the kubelet's own order.
package kubelet

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"sort"
	"strings"

	"github.com/nodeimage/packer-plugin-nodeimage/validate/source"
	"github.com/nodeimage/packer-plugin-nodeimage/validate/systemd"
)

// Setting is one effective value and where it comes from.
type Setting[T any] struct {
	Value T
	Key   string // YAML key or flag, empty for the built-in default
	Pos   source.Position
}

// Fault keeps the kubelet from starting.
type Fault struct {
	Text string // close to the kubelet's own words
	Key  string
	Pos  source.Position
}

// Ignored is a key of a configuration file that no kubelet of this kind reads.
type Ignored struct {
	Key string
	Pos source.Position
}

// Config is the effective configuration.
type Config struct {
	Version Version
	// Flags in the order of the command line.
	Flags []Flag
	// File is --config, and Present says that it is there: kubeadm writes it
	// at init or join, so a fresh image has none. DropInDir is --config-dir.
	File      Setting[string]
	Present   bool
	DropInDir Setting[string]
	// Files are those that were read, in the order they apply.
	Files  []string
	Faults []Fault
	// Ignored keys. An unknown key in the main file makes the kubelet decode
	// it leniently and say so in its log; in a drop-in it says nothing.
	Ignored []Ignored

	CgroupDriver          Setting[string] // cgroupfs by default; see Negotiate
	CgroupRoot            Setting[string]
	CgroupsPerQOS         Setting[bool]
	KubeletCgroups        Setting[string]
	SystemCgroups         Setting[string]
	FailSwapOn            Setting[bool]
	SwapBehavior          Setting[string]
	FailCgroupV1          Setting[bool]
	ResolvConf            Setting[string]
	StaticPodPath         Setting[string]
	RuntimeEndpoint       Setting[string]
	ImageEndpoint         Setting[string]
	ProtectKernelDefaults Setting[bool]
	RootDir               Setting[string]
	FeatureGates          map[string]Setting[bool]
	// Values are all keys of the merged files with their text, by dotted key.
	Values map[string]Setting[string]
}

// Load finds the kubelet's command line in its unit and reads what it names.
// unit is the service, kubelet.service on any node made by kubeadm.
func Load(root fs.FS, unit *systemd.Service, version string) (*Config, error) {
	if len(unit.ExecStart) == 0 {
		return Effective(root, nil, version)
	}
	// Of several lines (Type=oneshot) the last is the one that stays.
	cmd := unit.ExecStart[len(unit.ExecStart)-1]
	c, err := Effective(root, unit.Argv(cmd), version)
	if err != nil {
		return nil, err
	}
	for _, f := range unit.EnvironmentFiles {
		if f.Missing && !f.Optional {
			c.fault(fmt.Sprintf("failed to load environment files: %s: no such file or directory", f.Path), "EnvironmentFile", f.Pos)
		}
	}
	return c, nil
}

// Effective reads the files that the arguments name and applies the arguments.
// What stops the kubelet is in Faults; an error means that the image could not
// be read or that version is none.
func Effective(root fs.FS, args []systemd.Arg, version string) (*Config, error) {
	v, err := ParseVersion(version)
	if err != nil {
		return nil, err
	}
	c := &Config{Version: v, FeatureGates: map[string]Setting[bool]{}, Values: map[string]Setting[string]{}}
	c.parseFlags(args)
	merged := newMapping("", source.Position{})
	if f, ok := c.flag("config"); ok && f.Value != "" {
		c.File = Setting[string]{absolute(f.Value), "--config", f.Pos}
		doc, err := c.readFile(root, c.File.Value, c.File.Pos, true)
		if err != nil {
			return nil, err
		}
		if doc != nil {
			merged = doc
		}
	}
	if f, ok := c.flag("config-dir"); ok && f.Value != "" {
		c.DropInDir = Setting[string]{absolute(f.Value), "--config-dir", f.Pos}
		if merged, err = c.mergeDropIns(root, merged); err != nil {
			return nil, err
		}
	}
	c.fill(merged)
	c.applyFlags()
	if d := c.CgroupDriver; d.Value != "systemd" && d.Value != "cgroupfs" {
		c.fault(fmt.Sprintf("unsupported cgroup driver %q, want systemd or cgroupfs", d.Value), d.Key, d.Pos)
	}
	sort.SliceStable(c.Faults, func(i, j int) bool {
		a, b := c.Faults[i].Pos, c.Faults[j].Pos
		return a.File < b.File || a.File == b.File && a.Line < b.Line
	})
	return c, nil
}

func absolute(p string) string { return path.Join("/", p) } // services run in /

func (c *Config) fault(text, key string, pos source.Position) {
	c.Faults = append(c.Faults, Fault{text, key, pos})
}

// readFile reads one configuration file; nil without an error if there is none.
func (c *Config) readFile(root fs.FS, p string, from source.Position, main bool) (*value, error) {
	data, err := source.ReadFile(root, p, source.MaxFile)
	if errors.Is(err, fs.ErrNotExist) {
		if !main {
			return nil, nil
		}
		c.fault(fmt.Sprintf("failed to load kubelet config file, path: %s, error: no such file or directory", p), "--config", from)
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if main {
		c.Present = true
	}
	c.Files = append(c.Files, p)
	pos := source.Position{File: p}
	if len(data) == 0 {
		c.fault(fmt.Sprintf("kubelet config file %q was empty", p), "", pos)
		return nil, nil
	}
	doc, perr := parse(p, data)
	if perr != nil {
		c.fault(fmt.Sprintf("failed to decode %s: %s", p, perr.text), "", source.Position{File: p, Line: perr.line})
		return nil, nil
	}
	av, kind := doc.text("apiVersion"), doc.text("kind")
	if av != "kubelet.config.k8s.io/v1beta1" || kind != "KubeletConfiguration" {
		c.fault(fmt.Sprintf("failed to decode %s: no kind %q is registered for version %q, want KubeletConfiguration of kubelet.config.k8s.io/v1beta1", p, kind, av), "kind", pos)
		return nil, nil
	}
	return doc, nil
}

// mergeDropIns applies every *.conf file below --config-dir in lexical order
// of its path: a JSON merge patch each, so null deletes and lists are replaced.
func (c *Config) mergeDropIns(root fs.FS, merged *value) (*value, error) {
	dir := c.DropInDir.Value
	var files []string
	err := fs.WalkDir(root, source.Name(dir), func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if !d.IsDir() && strings.HasSuffix(d.Name(), ".conf") {
			if files = append(files, source.Path(p)); len(files) > source.MaxEntries {
				return fs.SkipAll
			}
		}
		return nil
	})
	if errors.Is(err, fs.ErrNotExist) {
		c.fault(fmt.Sprintf("failed to merge kubelet configs: failed to walk through kubelet dropin directory %q: no such file or directory", dir), "--config-dir", c.DropInDir.Pos)
		return merged, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", dir, err)
	}
	for _, f := range files {
		doc, err := c.readFile(root, f, c.DropInDir.Pos, false)
		if err != nil {
			return nil, err
		}
		if doc != nil {
			merged = patch(merged, doc)
		}
	}
	return merged, nil
}
