package host

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/run"
	"github.com/nodeimage/packer-plugin-nodeimage/profiles"
)

// bootGroup are the packages that put a boot loader on a disk of our own. A
// machine that another builder started has booted without them.
const bootGroup = "boot"

// machineScript prints what the machine runs, and below it one package a line,
// with those that it stands in for. It changes nothing.
const machineScript = `. /etc/os-release && printf '%s\n%s\n' "$ID" "${VERSION_ID:-}" && dpkg --print-architecture &&
exec dpkg-query --show --showformat '${db:Status-Status}\t${Package}\t${Provides}\n'`

// Suitable refuses a machine that the profile was not written for, before
// anything on it is changed: our own builder installs the profile's packages,
// another one's machine has what its maker put there. With install, packages
// that are missing are taken from the machine's own archives; else they are
// told with everything else.
func Suitable(ctx context.Context, machine run.Runner, p *profiles.Profile, install bool) error {
	var out strings.Builder // all of it, which may be more than a Result keeps
	if _, err := machine.Run(ctx, run.Cmd{Argv: []string{"sh", "-c", machineScript}, Stdout: &out}); err != nil {
		return fmt.Errorf("asking the machine what it runs, expected Debian or Ubuntu: %w", err)
	}
	lines := strings.Split(out.String(), "\n")
	if len(lines) < 4 {
		return exitcode.BadInput(fmt.Errorf("asking the machine what it runs: it answered %q", out.String()))
	}
	var problems []error
	if got, want := lines[0]+" "+lines[1], p.OS.Distribution+" "+p.OS.Version; got != want {
		problems = append(problems, fmt.Errorf("the machine runs %s: expected %s, which the profile %s is for", got, want, p.Name))
	}
	if lines[2] != p.OS.Arch {
		problems = append(problems, fmt.Errorf("the machine's architecture is %s: expected %s, which the profile's components are built for", lines[2], p.OS.Arch))
	}
	missing := missingPackages(lines[3:], p)
	if len(missing) > 0 && !install {
		problems = append(problems, fmt.Errorf("the machine lacks packages of the profile: %s: set install_packages, or install them before this provisioner", strings.Join(missing, " ")))
	}
	if err := errors.Join(problems...); err != nil {
		return exitcode.BadInput(err)
	}
	if len(missing) == 0 {
		return nil
	}
	return installPackages(ctx, machine, missing)
}

// installPackages lets apt, which checks the archive's signature, install them.
func installPackages(ctx context.Context, machine run.Runner, names []string) error {
	quiet := []string{"DEBIAN_FRONTEND=noninteractive", "NEEDRESTART_MODE=l"}
	for _, argv := range [][]string{
		{"apt-get", "--quiet", "-o", "DPkg::Lock::Timeout=300", "update"},
		append([]string{"apt-get", "--quiet", "-o", "DPkg::Lock::Timeout=300", "install", "--yes", "--no-install-recommends"}, names...),
	} {
		if _, err := machine.Run(ctx, run.Cmd{Argv: argv, Env: quiet}); err != nil {
			return exitcode.Transient(fmt.Errorf("installing the profile's packages on the machine: %w", err))
		}
	}
	return nil
}

// missingPackages returns the profile's packages that no line has, sorted.
func missingPackages(lines []string, p *profiles.Profile) []string {
	there := map[string]bool{}
	for _, l := range lines {
		status, names, _ := strings.Cut(l, "\t")
		if status != "installed" {
			continue
		}
		name, provides, _ := strings.Cut(names, "\t")
		there[name] = true
		for provided := range strings.SplitSeq(provides, ",") {
			name, _, _ := strings.Cut(strings.TrimSpace(provided), " ")
			there[name] = true
		}
	}
	return slices.DeleteFunc(MachinePackages(p), func(name string) bool { return there[name] })
}

// MachinePackages are the profile's packages that a machine of another builder
// needs, sorted.
func MachinePackages(p *profiles.Profile) []string {
	var names []string
	for _, group := range slices.Sorted(maps.Keys(p.Packages.Include)) {
		if group != bootGroup {
			names = append(names, p.Packages.Include[group]...)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}
