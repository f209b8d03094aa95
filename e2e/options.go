// Package e2e boots a finished node image in a throw-away virtual machine,
// runs kubeadm in it and judges what nodes are for: kube-proxy stays up, pods
// terminate cleanly, and everything else that a cluster needs from its node.
//
// Specs are declared by [Run], at run time, so that the command line and
// `go test` run the very same ones.
package e2e

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"time"

	"github.com/onsi/ginkgo/v2/types"

	"github.com/nodeimage/packer-plugin-nodeimage/e2e/machine"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/profiles"
)

// DefaultSoak is how long kube-proxy and the control plane are watched. The
// fault that this is for restarts a pod within 5 to 130 seconds, so the
// default sees it more than once.
const DefaultSoak = 5 * time.Minute

// FastFilter selects the specs that need neither a second boot, nor more pods
// than there are kinds, nor time to pass.
const FastFilter = "!slow"

// Options says which image is judged and how. Only Image, or Host in its
// place, and OutputDir have no default.
type Options struct {
	// Image is the image file, qcow2 or raw. It is only read.
	Image string

	// Host is a machine that is up already and is judged instead of an image.
	// What needs control of the machine is skipped, each spec with the reason.
	Host *Host

	// Profile is what the image was made from. When it is nil, the manifest
	// beside the image says what to expect; without one, the suite expects
	// what every node needs and no particular versions.
	Profile *profiles.Profile

	// OutputDir gets junit.xml, report.json, summary.json and the evidence.
	OutputDir string

	// Soak is how long the cluster is watched; DefaultSoak if zero.
	Soak time.Duration

	// Slack is what a pod may take beyond its grace period; zero takes the
	// measured value for the accelerator.
	Slack time.Duration

	// LabelFilter selects specs, in Ginkgo's language: "!soak && !reboot".
	LabelFilter string

	// Specs selects specs further: those whose name holds one of these texts.
	// All are selected if it is empty.
	Specs []string

	// Arch is what the image was made for. When it is empty, the image's own
	// programs tell, and where they cannot be read the profile.
	Arch machine.Arch

	// Accel, CPUs and MemoryMiB describe the virtual machine; zero values
	// take the machine package's defaults. A host has its own.
	Accel     machine.Accel
	CPUs      int
	MemoryMiB int

	// Firmware lists the firmwares to boot under: UEFI with Secure Boot, and
	// BIOS, by default; on arm64, which has no BIOS, UEFI without Secure Boot.
	// The cluster runs in the first one's machine.
	Firmware []machine.Firmware

	// Witness lets a proven fault go on and show itself, for the report. By
	// default the suite stops waiting as soon as it knows.
	Witness bool

	// WitnessUntil is a regular expression: a line of evidence that matches it
	// is all that Witness waits for. Empty waits to the end.
	WitnessUntil string

	// FailFast ends the run at the first failure. By default specs that do
	// not depend on what failed go on.
	FailFast bool

	// Progress gets a line for each thing that takes its time and for each
	// spec; nobody gets them if it is nil.
	Progress io.Writer

	// Out gets Ginkgo's own report; nobody gets it if it is nil.
	Out io.Writer

	boot   bootFunc   // test seam
	attach attachFunc // test seam
}

func (o Options) withDefaults() Options {
	if o.Soak == 0 {
		o.Soak = DefaultSoak
	}
	if len(o.Firmware) == 0 {
		o.Firmware = []machine.Firmware{machine.SecureBoot, machine.BIOS}
		if !slices.Contains(o.Arch.Firmwares(), machine.BIOS) {
			o.Firmware[1] = machine.UEFI
		}
	}
	if o.CPUs == 0 {
		o.CPUs = 2
	}
	if o.MemoryMiB == 0 {
		o.MemoryMiB = 4096
	}
	if o.Progress == nil {
		o.Progress = io.Discard
	}
	if o.Out == nil {
		o.Out = io.Discard
	}
	if o.boot == nil {
		o.boot = bootMachine
	}
	if o.attach == nil {
		o.attach = attachHost
	}
	return o
}

// standIns names what these options put in the place of the real thing.
func (o Options) standIns() []string {
	if o.boot != nil || o.attach != nil {
		return []string{"machine"}
	}
	return []string{}
}

// validate reports everything that is wrong with the options at once.
func (o Options) validate() error {
	var problems []error
	bad := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	if o.Host != nil {
		if o.Image != "" {
			bad("image %s and host %s: expected one of them", o.Image, o.Host.Attach.Target)
		}
		if o.Arch != "" || o.Accel != "" || o.CPUs != 0 || o.MemoryMiB != 0 || len(o.Firmware) != 0 {
			bad("architecture, accelerator, CPUs, memory or firmware: the host %s is up and has its own", o.Host.Attach.Target)
		}
	} else if o.Image == "" {
		bad("no image was named, and no host")
	} else if info, err := os.Stat(o.Image); err != nil {
		bad("image: %w", err)
	} else if !info.Mode().IsRegular() {
		bad("image %s is not a regular file", o.Image)
	}
	if o.OutputDir == "" {
		bad("no output directory was named")
	}
	if o.Soak < 0 || o.Slack < 0 {
		bad("soak %s and slack %s: expected positive durations", o.Soak, o.Slack)
	}
	if _, err := regexp.Compile(o.WitnessUntil); err != nil {
		bad("what to wait for: %w", err)
	} else if o.WitnessUntil != "" && !o.Witness {
		bad("what to wait for, %q, was given and not that a fault shall show itself", o.WitnessUntil)
	}
	if _, err := types.ParseLabelFilter(o.LabelFilter); err != nil {
		bad("label filter %q: %w", o.LabelFilter, err)
	}
	seen := []machine.Firmware{}
	for _, f := range o.Firmware {
		if !slices.Contains(machine.Firmwares(), f) || slices.Contains(seen, f) {
			bad("firmware %q: expected some of %q, each at most once", f, machine.Firmwares())
		}
		seen = append(seen, f)
	}
	return exitcode.BadInput(errors.Join(problems...))
}

// machine describes the machine that the image boots on under a firmware.
func (o Options) machine(f machine.Firmware, memoryMiB int) machine.Options {
	return machine.Options{
		Image:     o.Image,
		Dir:       filepath.Join(o.OutputDir, evidenceDir, string(f)),
		Arch:      o.Arch,
		Firmware:  f,
		Accel:     o.Accel,
		CPUs:      o.CPUs,
		MemoryMiB: memoryMiB,
		Hostname:  "node-" + string(f),
	}
}

// checkMachines refuses machines that no host could start, such as an arm64
// one with a BIOS, while there is nothing yet that could take it for a fault of
// the image.
func (o Options) checkMachines() error {
	if o.Host != nil {
		return nil
	}
	for _, f := range o.Firmware {
		if err := o.machine(f, o.MemoryMiB).Check(); err != nil {
			return err
		}
	}
	return nil
}

// focus is Specs as Ginkgo takes it, patterns for the whole name.
func (o Options) focus() []string {
	var patterns []string
	for _, s := range o.Specs {
		patterns = append(patterns, regexp.QuoteMeta(s))
	}
	return patterns
}
