// Package host is the Packer provisioner nodeimage-host: what a machine needs
// to be a quiet and steady Kubernetes node, before any container software.
package host

import (
	"slices"
	"strings"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/manifest"
	"github.com/nodeimage/packer-plugin-nodeimage/profiles"
	"github.com/nodeimage/packer-plugin-nodeimage/provisioners/parts"
	"github.com/nodeimage/packer-plugin-nodeimage/provisioners/plan"
)

// Name is the plan's and the manifest fragment's.
const Name = "host"

// Components that the plan places: none, it is all settings.
func Components(*profiles.Profile) []string { return nil }

// Plan turns the profile into steps. It needs no network, no root and no
// components, so set may be nil.
func Plan(p *profiles.Profile, set *parts.Set) (plan.Plan, error) {
	steps := slices.Concat(
		kernelSteps(p),
		swapSteps(),
		resolverSteps(p),
		networkSteps(p),
		cloudInitSteps(p),
		growSteps(p),
		sshSteps(p),
		journalSteps(p),
		upgradeSteps(),
		holdSteps(p),
		snapSteps(p),
		identitySteps(p),
		iptablesSteps(p),
		unitSteps(p),
	)
	fragment := &manifest.Fragment{}
	if set == nil {
		fragment = nil
	}
	last, err := parts.Fragment(Name, fragment)
	if err != nil {
		return plan.Plan{}, err
	}
	made := plan.Plan{Name: Name, Steps: append(steps, last)}
	return made, made.Validate()
}

// conf is a step that writes a settings file.
func conf(why, path string, lines ...string) plan.Step {
	return plan.Step{Why: why, File: &plan.File{Path: path, Mode: 0o644, Content: strings.Join(lines, "\n") + "\n"}}
}

// unitSteps come last: they may name units that earlier steps wrote.
func unitSteps(p *profiles.Profile) []plan.Step {
	var steps []plan.Step
	add := func(why string, state plan.UnitState, names []string) {
		for _, name := range names {
			steps = append(steps, plan.Step{Why: why, Unit: &plan.Unit{Name: name, State: state}})
		}
	}
	add("the profile wants it at boot", plan.UnitEnabled, p.Host.EnableUnits)
	add("the profile does not want it at boot", plan.UnitDisabled, p.Host.DisableUnits)
	add("the profile forbids it", plan.UnitMasked, p.Host.MaskUnits)
	return steps
}

// hasPackage tells whether the profile installs the package by name.
func hasPackage(p *profiles.Profile, name string) bool {
	for _, group := range p.Packages.Include {
		if slices.Contains(group, name) {
			return true
		}
	}
	return false
}
