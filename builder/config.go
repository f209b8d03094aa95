//go:generate go tool packer-sdc mapstructure-to-hcl2 -type Config

package builder

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/packer-plugin-sdk/common"
	"github.com/hashicorp/packer-plugin-sdk/template/config"
	"github.com/hashicorp/packer-plugin-sdk/template/interpolate"

	"github.com/nodeimage/packer-plugin-nodeimage/builder/disk"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/store"
	"github.com/nodeimage/packer-plugin-nodeimage/profiles"
	"github.com/nodeimage/packer-plugin-nodeimage/profiles/lock"
)

// Config is the configuration of the builder in a template.
type Config struct {
	common.PackerConfig `mapstructure:",squash"`

	// The profile to build: the name of a built-in one, such as `debian-13`,
	// or the path of a YAML file. It says everything the image is made from.
	Profile string `mapstructure:"profile" required:"true"`
	// Where the image and its manifest appear, as `<profile>.qcow2`,
	// `<profile>.raw` and `<profile>.manifest.json`. The directory is made when
	// it is missing. Files of an earlier build are replaced once the new ones
	// are whole; with `-force` they are removed before the build starts.
	// Defaults to `output-<profile>`.
	OutputDirectory string `mapstructure:"output_directory" required:"false"`
	// Where bootstrapped systems and components are kept between builds, and
	// where a build does its work. It needs 4 GiB of free space. Defaults to
	// `$NODEIMAGE_CACHE`, or else `nodeimage` in the user's cache directory.
	CacheDirectory string `mapstructure:"cache_directory" required:"false"`
	// The disk image formats to write: `ova`, `qcow2`, `raw`, `vhd`, `vmdk`.
	// Defaults to those of the profile.
	Formats []string `mapstructure:"formats" required:"false"`
	// The virtual size of the disk, such as `16GiB`: a whole number of MiB.
	// Defaults to the profile's.
	DiskSize string `mapstructure:"disk_size" required:"false"`
	// How provisioners reach the image. `chroot`, the default, runs their
	// commands in the root file system on this host. With `none` they get no
	// communicator, and the image is what bootstrapping made.
	Communicator string `mapstructure:"communicator" required:"false"`

	ctx interpolate.Context

	profile  *profiles.Profile
	lock     *lock.Lock // nil for none
	offline  bool
	mirrors  []string
	firmware disk.Firmware
	size     int64
	espSize  int64
}

// The communicators that a template can ask for.
const (
	communicatorChroot = "chroot"
	communicatorNone   = "none"
)

// prepare decodes and checks the configuration. It reads the profile and
// nothing else, and reports all problems at once.
func (c *Config) prepare(raws ...any) error {
	err := config.Decode(c, &config.DecodeOpts{
		PluginType:         BuilderID,
		Interpolate:        true,
		InterpolateContext: &c.ctx,
	}, raws...)
	if err != nil {
		return fmt.Errorf("reading the builder's configuration: %w", err)
	}
	var problems []error
	problem := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }

	switch c.Communicator {
	case "":
		c.Communicator = communicatorChroot
	case communicatorChroot, communicatorNone:
	default:
		problem("communicator %q: expected chroot or none", c.Communicator)
	}
	if c.CacheDirectory == "" {
		if c.CacheDirectory, err = store.DefaultDir(); err != nil {
			problem("cache_directory: %w", err)
		}
	}
	if c.DiskSize != "" {
		if c.size, err = profiles.ParseSize(c.DiskSize); err != nil {
			problem("disk_size: %w", err)
		}
	}
	for _, format := range c.Formats {
		if !slices.Contains(disk.Formats(), format) {
			problem("formats: %q: expected one of %s", format, strings.Join(disk.Formats(), ", "))
		}
	}
	if c.Profile == "" {
		problem("profile: missing: name a built-in profile (%s) or a YAML file", strings.Join(profiles.Names(), ", "))
		return errors.Join(problems...)
	}
	if c.profile, err = profiles.Load(c.Profile); err != nil {
		problem("profile: %w", err)
		return errors.Join(problems...)
	}
	if c.lock, err = lock.Find("", c.Profile); err != nil {
		problem("%w", err)
	} else if c.lock != nil {
		if err := c.lock.For(c.profile); err != nil {
			problem("%w", err)
		}
	}
	c.fromProfile(problem)
	return errors.Join(problems...)
}

// fromProfile fills in what the template leaves to the profile and checks the
// two against each other.
func (c *Config) fromProfile(problem func(string, ...any)) {
	p := c.profile
	var err error
	if c.OutputDirectory == "" {
		c.OutputDirectory = "output-" + p.Name
	}
	if c.OutputDirectory, err = filepath.Abs(c.OutputDirectory); err != nil {
		problem("output_directory: %w", err)
	}
	if c.CacheDirectory, err = filepath.Abs(c.CacheDirectory); err != nil {
		problem("cache_directory: %w", err)
	}
	if len(c.Formats) == 0 {
		c.Formats = p.Disk.Formats
	}
	c.Formats = slices.Compact(slices.Sorted(slices.Values(c.Formats)))
	if c.DiskSize == "" {
		if c.size, err = profiles.ParseSize(p.Disk.Size); err != nil {
			problem("profile %s: disk.size: %w", p.Name, err)
		}
	}
	if c.espSize, err = profiles.ParseSize(p.Disk.ESPSize); err != nil {
		problem("profile %s: disk.espSize: %w", p.Name, err)
	}
	if c.firmware, err = disk.FirmwareOf(p.OS.Arch); err != nil {
		problem("profile %s: os.arch: %w", p.Name, err)
		return
	}
	if slices.Contains(c.Formats, "ova") && p.OS.Arch != "amd64" {
		problem("formats: hypervisors take OVA packages of amd64 machines only: write vmdk, qcow2 or raw for %s", p.OS.Arch)
	}
	if c.size == 0 || c.espSize == 0 || p.FromCloudImage() {
		return // a cloud image has its own partitions
	}
	if _, err := disk.NewLayout(c.firmware, c.size, c.espSize, p.Disk.RootLabel, p.Name, time.Time{}); err != nil {
		problem("profile %s: disk: %w", p.Name, err)
	}
}
