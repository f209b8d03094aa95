package bootstrap

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/manifest"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/rooted"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/run"
	"github.com/nodeimage/packer-plugin-nodeimage/profiles"
)

// aptWork is where the image's apt works while its packages are installed; it
// is gone from the base. The image's own lists and settings of sources stay out
// of it: it knows the profile's archive alone.
const aptWork = "/var/lib/nodeimage-apt"

// aptCommand is apt-get of the image, with that archive.
func aptCommand(args ...string) run.Cmd {
	argv := []string{"apt-get", "--quiet=1", "--yes"}
	for _, setting := range [][2]string{
		{"Dir::Etc::sourcelist", aptWork + "/nodeimage.sources"},
		{"Dir::Etc::sourceparts", "-"},
		{"Dir::State::lists", aptWork + "/lists"},
		{"Dir::Cache::archives", aptWork + "/archives"},
		{"Dir::Cache::pkgcache", ""},
		{"Dir::Cache::srcpkgcache", ""},
		{"Dir::Log", aptWork + "/log"}, // with the time in it
		{"APT::Sandbox::User", "root"},
		{"APT::Install-Recommends", "false"},
		{"APT::Keep-Downloaded-Packages", "true"},
		{"Acquire::Languages", "none"},
		{"Acquire::GzipIndexes", "false"}, // the lists are read afterwards
		{"Acquire::Retries", "3"},
		{"Acquire::http::Timeout", "60"},
		{"Acquire::https::Timeout", "60"},
		{"Dpkg::Use-Pty", "false"},
		{"Dpkg::Options::", "--force-confold"},
	} {
		argv = append(argv, "-o", setting[0]+"="+setting[1])
	}
	return run.Cmd{Argv: append(argv, args...), Env: []string{"DEBIAN_FRONTEND=noninteractive", "NEEDRESTART_SUSPEND=1", "LC_ALL=C.UTF-8"}}
}

// installOnImage installs what the profile names and the image lacks, or what
// the lock names and nothing else. What would change what boots is refused before
// anything is installed.
func (m Maker) installOnImage(ctx context.Context, p *profiles.Profile, root *rooted.Dir, before []manifest.Package, scratch string, epoch time.Time) error {
	wanted := m.wantedOnImage(p, before)
	if err := m.prepareApt(ctx, p, root); err != nil {
		return err
	}
	install := append([]string{"install", "--no-install-recommends"}, wanted...)
	if m.Lock == nil {
		// What is there already is there by another name: it is not exchanged.
		install = append([]string{"install", "--no-install-recommends", "--no-upgrade"}, wanted...)
	}
	return inImage(root, epoch, func(image run.Runner) error {
		m.say("running apt-get update")
		if _, err := image.Run(ctx, aptCommand("update", "--error-on=any")); err != nil {
			return explain(err, p.Archive, m.mirrors())
		}
		if len(wanted) > 0 {
			tried, err := image.Run(ctx, aptCommand(slices.Insert(slices.Clone(install), 0, "--simulate")...))
			if err != nil {
				return explain(err, p.Archive, m.mirrors())
			}
			if problems := bootProblems(tried.Stdout); len(problems) > 0 {
				return exitcode.BadInput(fmt.Errorf("installing the packages of the profile %s on the cloud image would change what is kept of it: %s: name a newer image in base.cloudImage, or leave out of packages.include what asks for it",
					p.Name, strings.Join(problems, "; ")))
			}
			// By their names and versions, as a lock has them: so that what was looked at
			// is what comes, and apt takes none of it for something that may go again.
			all := installs(tried.Stdout)
			m.say(fmt.Sprintf("installing %d packages", len(all)))
			if _, err := image.Run(ctx, aptCommand(append([]string{"install", "--no-install-recommends"}, all...)...)); err != nil {
				return explain(err, p.Archive, m.mirrors())
			}
		}
		return m.takeAptWork(ctx, root, scratch, p)
	})
}

// wantedOnImage are apt-get's names of what to install: those of the lock, each
// in its version, or those of the profile that are not there.
func (m Maker) wantedOnImage(p *profiles.Profile, before []manifest.Package) []string {
	var names []string
	if m.Lock != nil {
		for _, deb := range m.Lock.Packages {
			names = append(names, deb.Name+"="+deb.Version)
		}
		return names
	}
	for _, name := range p.PackageList() {
		if !slices.ContainsFunc(before, func(b manifest.Package) bool { return b.Name == name }) {
			names = append(names, name)
		}
	}
	return p.Pinned(names)
}

// prepareApt writes the sources, and what they are verified with, into the image.
func (m Maker) prepareApt(ctx context.Context, p *profiles.Profile, root *rooted.Dir) error {
	for _, dir := range []string{"lists/partial", "archives/partial", "log", "keyrings"} {
		if err := root.MkdirAll(aptWork+"/"+dir, 0o755); err != nil {
			return err
		}
	}
	if m.Lock != nil {
		text, err := m.localArchive(ctx, p, filepath.Join(root.Name(), aptWork, "archive"), aptWork+"/archive")
		if err != nil {
			return err
		}
		return root.WriteFile(aptWork+"/nodeimage.sources", []byte(text), 0o644)
	}
	sources := at(p.Archive.Effective(), m.mirrors())
	copied := map[string]string{}
	for i := range sources {
		ring := sources[i].Keyring
		if copied[ring] == "" {
			data, err := os.ReadFile(ring)
			if err != nil {
				return exitcode.BadInput(fmt.Errorf("keyring of a source of the archive: %w", err))
			}
			// apt tells by the end of the name how a keyring is written.
			copied[ring] = fmt.Sprintf("%s/keyrings/%d%s", aptWork, len(copied), filepath.Ext(ring))
			if err := root.WriteFile(copied[ring], data, 0o644); err != nil {
				return err
			}
		}
		sources[i].Keyring = copied[ring]
	}
	return root.WriteFile(aptWork+"/nodeimage.sources", []byte(Sources(sources, p.Archive.Snapshot != "")), 0o644)
}

// takeAptWork copies what apt downloaded to where a record is made from it.
func (m Maker) takeAptWork(ctx context.Context, root *rooted.Dir, scratch string, p *profiles.Profile) error {
	if m.Lock != nil {
		return nil
	}
	if err := pinned(root, p); err != nil {
		return err
	}
	work := filepath.Join(root.Name(), aptWork)
	if _, err := m.Host.Run(ctx, run.Cmd{Argv: []string{"tar", "--create", "--file=" + filepath.Join(scratch, listsName), "--directory=" + filepath.Join(work, "lists"), "."}}); err != nil {
		return err
	}
	debs := filepath.Join(scratch, debsName)
	if err := os.Mkdir(debs, 0o755); err != nil {
		return err
	}
	entries, err := root.ReadDir(aptWork + "/archives")
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Type().IsRegular() && filepath.Ext(e.Name()) == ".deb" {
			if err := os.Rename(filepath.Join(work, "archives", e.Name()), filepath.Join(debs, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// pinned makes sure that the packages of deb components have their versions, also
// where the image had them.
func pinned(root *rooted.Dir, p *profiles.Profile) error {
	packages, err := installedIn(root)
	if err != nil {
		return err
	}
	pins := p.PackagePins()
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(pins)) {
		for _, pkg := range packages {
			if pkg.Name == name && pkg.Version != pins[name] {
				errs = append(errs, fmt.Errorf("the cloud image has %s %s, expected %s, which a component of the profile pins: take an image without it", name, pkg.Version, pins[name]))
			}
		}
	}
	return exitcode.BadInput(errors.Join(errs...))
}

// leavings are what dpkg and its scripts write the time into, or the numbers of
// files: without them the same packages on the same image give the same base.
var leavings = []string{"/var/log/dpkg.log", "/var/log/alternatives.log", "/var/cache/ldconfig/aux-cache", "/var/cache/debconf/config.dat-old", "/var/cache/debconf/templates.dat-old", "/var/lib/dpkg/status-old", "/var/lib/dpkg/diversions-old", "/var/lib/dpkg/statoverride-old"}

func (m Maker) removeAptWork(root *rooted.Dir) error {
	var errs []error
	for _, name := range leavings {
		errs = append(errs, root.Remove(name))
	}
	// No link of the image's making is in it: it was not there before.
	return errors.Join(append(errs, os.RemoveAll(filepath.Join(root.Name(), aptWork)))...)
}

var (
	// simulated is what apt-get --simulate says of a package: what happens to it,
	// its name, the version that is there, if any, and the new one.
	simulated = regexp.MustCompile(`^(Inst|Remv) (\S+)(?: \[([^\]]+)\])?(?: \((\S+))?`)
	// bootPackages write into the boot loader's partitions, or are what boots.
	bootPackages = regexp.MustCompile(`^(grub|shim-|linux-image-|linux-modules-|systemd-boot|u-boot|flash-kernel)`)
	// onlyFiles are those of them that only bring files into the root.
	onlyFiles = regexp.MustCompile(`^(grub-common|grub2-common|grub-[a-z0-9-]+-bin|grub-[a-z0-9-]+-unsigned|shim-unsigned|shim-helpers-[a-z0-9-]+)$`)
)

// installs are the packages that apt would install, with their versions.
func installs(simulation string) []string {
	var names []string
	for line := range strings.Lines(simulation) {
		if f := simulated.FindStringSubmatch(line); f != nil && f[1] == "Inst" {
			names = append(names, f[2]+"="+f[4])
		}
	}
	slices.Sort(names)
	return names
}

// bootProblems says what in apt's simulation would change what is kept of the
// image, or take something away from it.
func bootProblems(simulation string) []string {
	var problems []string
	for line := range strings.Lines(simulation) {
		f := simulated.FindStringSubmatch(line)
		if f == nil {
			continue
		}
		name, was, is := f[2], f[3], f[4]
		switch {
		case f[1] == "Remv":
			problems = append(problems, fmt.Sprintf("%s %s would be removed", name, was))
		case was != "" && bootPackages.MatchString(name):
			problems = append(problems, fmt.Sprintf("%s would go from %s to %s, and what boots is kept as it is", name, was, is))
		case was == "" && bootPackages.MatchString(name) && !onlyFiles.MatchString(name):
			problems = append(problems, fmt.Sprintf("%s %s would be installed, and the boot loader and the kernel are the image's own", name, is))
		}
	}
	return problems
}

// BootChanges says which packages that boot the image are others than those of
// its base.
func BootChanges(base, now []manifest.Package) []string {
	versions := map[string]string{}
	for _, p := range base {
		versions[p.Name] = p.Version
	}
	var lines []string
	for _, p := range now {
		was, there := versions[p.Name]
		if !bootPackages.MatchString(p.Name) || there && was == p.Version || !there && onlyFiles.MatchString(p.Name) {
			continue
		}
		if !there {
			was = "none"
		}
		lines = append(lines, fmt.Sprintf("package %s: found %s, expected %s", p.Name, p.Version, was))
	}
	return lines
}
