package component

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/fetch"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/manifest"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/run"
	"github.com/nodeimage/packer-plugin-nodeimage/profiles"
	"github.com/nodeimage/packer-plugin-nodeimage/profiles/lock"
)

// debs fetches packages and all they depend on from the profile's archive.
// Nothing is installed and no maintainer script runs: the files of the
// component are the .debs.
type debs struct {
	maker     *Maker
	name      string
	component profiles.Component
	packages  []lock.Package // after make
}

func (m *Maker) newDebs(name string, c profiles.Component) (source, error) {
	if len(c.Packages) == 0 {
		return nil, exitcode.BadInput(fmt.Errorf("component %s: source %q needs a list of packages", name, c.Source))
	}
	return &debs{maker: m, name: name, component: c}, nil
}

func (d *debs) keyParts(context.Context) ([]any, error) {
	parts := []any{"deb/3", d.component.Packages, d.maker.profile.Archive, d.maker.profile.OS.Arch}
	if names := d.pinned(); !slices.Equal(names, d.component.Packages) || len(d.component.SHA256) > 0 {
		parts = append(parts, names, d.component.SHA256)
	}
	return parts, nil
}

func (d *debs) make(ctx context.Context, dir string) (manifest.Component, error) {
	fail := func(err error) (manifest.Component, error) { return manifest.Component{}, err }
	d.maker.logf("%s: fetching %s", d.name, strings.Join(d.component.Packages, ", "))
	work := filepath.Join(dir, ".work")
	config, err := writeAptConfig(work, d.maker.profile, d.maker.fetch.Mirrors)
	if err != nil {
		return fail(err)
	}
	if err := d.apt(ctx, config, "update"); err != nil {
		return fail(err)
	}
	list, err := d.aptOutput(ctx, config, d.install("--print-uris")...)
	if err != nil {
		return fail(err)
	}
	if d.packages, err = parseURIs(d.maker.profile.Archive.Effective(), d.maker.fetch.Mirrors, list); err != nil {
		return fail(err)
	}
	if err := d.apt(ctx, config, d.install("--download-only")...); err != nil {
		return fail(err)
	}
	record := manifest.Component{Name: d.name, Version: d.component.Version, Source: string(profiles.SourceDeb)}
	found, err := filepath.Glob(filepath.Join(work, "archives", "*.deb"))
	if err != nil {
		return fail(err)
	}
	if len(found) == 0 {
		return fail(fmt.Errorf("apt-get downloaded nothing for %s", strings.Join(d.component.Packages, ", ")))
	}
	slices.Sort(found)
	blobs := map[string]string{}
	for _, deb := range found {
		// apt compared it with the signed index as it downloaded it.
		file, err := describe(deb)
		if err != nil {
			return fail(err)
		}
		file.Path = filepath.Base(deb)
		record.Files = append(record.Files, file)
		for i, p := range d.packages {
			if file.Path == p.Name+"_"+strings.ReplaceAll(p.Version, ":", "%3a")+"_"+p.Arch+".deb" {
				d.packages[i].SHA256 = file.SHA256
			}
		}
		blobs[file.SHA256] = filepath.Join(dir, filesDir, file.Path)
		if err := os.Rename(deb, filepath.Join(dir, filesDir, file.Path)); err != nil {
			return fail(err)
		}
	}
	if err := d.maker.store.AddBlobs(ctx, blobs); err != nil {
		return fail(err)
	}
	for _, p := range d.packages {
		if blobs[p.SHA256] == "" {
			return fail(exitcode.Transient(fmt.Errorf("package %s %s: apt-get said it would download it and did not: run the build again", p.Name, p.Version)))
		}
	}
	if err := d.checkSum(); err != nil {
		return fail(err)
	}
	record.Sum = sumOfFiles(record.Files)
	if record.Version == "" {
		record.Version = d.leadVersion(record.Files)
	}
	return record, os.RemoveAll(work)
}

// leadVersion is the version of the package that is named first, from the
// name_version_arch.deb that apt calls it; a colon is written as %3a there.
func (d *debs) leadVersion(files []manifest.File) string {
	for _, f := range files {
		if rest, ok := strings.CutPrefix(f.Path, d.component.Packages[0]+"_"); ok {
			version, _, _ := strings.Cut(rest, "_")
			return strings.ReplaceAll(version, "%3a", ":")
		}
	}
	return ""
}

func (d *debs) install(how string) []string {
	return append([]string{"install", "--yes", how, "--no-install-recommends", "--"}, d.pinned()...)
}

// pinned are apt's names of the packages: with the version that the profile pins,
// which is the one that is installed into the root file system.
func (d *debs) pinned() []string {
	return d.maker.profile.Pinned(d.component.Packages)
}

// checkSum compares the first package with the sum that the profile pins.
func (d *debs) checkSum() error {
	want := d.component.SHA256[d.maker.profile.OS.Arch]
	if want == "" {
		return nil
	}
	for _, p := range d.packages {
		if p.Name == d.component.Packages[0] && p.SHA256 != want {
			return exitcode.BadInput(fmt.Errorf("component %s: package %s %s has sha256 %s, expected %s, which the profile pins: compare it with what its publisher says", d.name, p.Name, p.Version, p.SHA256, want))
		}
	}
	return nil
}

// parseURIs reads what apt-get --print-uris prints of packages:
// 'http://host/debian/pool/x.deb' x_1_all.deb 123 MD5Sum:…
func parseURIs(sources []profiles.ArchiveSource, mirrors fetch.Mirrors, list string) ([]lock.Package, error) {
	var packages []lock.Package
	for line := range strings.Lines(list) {
		fields := strings.Fields(line)
		if len(fields) == 0 || fields[0][0] != '\'' {
			continue
		}
		var p lock.Package
		// An archive without MD5 sums leaves the last one out.
		ok := len(fields) == 3 || len(fields) == 4
		if ok {
			parts := strings.Split(strings.TrimSuffix(fields[1], ".deb"), "_")
			size, err := strconv.Atoi(fields[2])
			// What stands there is an MD5 sum: the file's own is taken once it is there.
			if ok = err == nil && len(parts) == 3; ok {
				p.Name, p.Version, p.Arch, p.Size = parts[0], strings.ReplaceAll(parts[1], "%3a", ":"), parts[2], size
			}
		}
		address, inner := strings.Trim(fields[0], "'"), 0
		for _, source := range sources {
			base := strings.TrimRight(mirrors.At(source.URI), "/") + "/"
			// Of two archives of which one lies in the other, the inner one.
			if rest, below := strings.CutPrefix(address, base); below && len(base) > inner {
				inner = len(base)
				var err error
				if p.Path, err = url.PathUnescape(rest); err != nil {
					ok = false
				}
				p.URI = source.URI
			}
		}
		if !ok || p.Path == "" {
			return nil, fmt.Errorf("reading what apt-get would download: line %q: expected an address below the profile's archive, a file name and a size", strings.TrimSpace(line))
		}
		packages = append(packages, p)
	}
	return packages, nil
}

func (d *debs) apt(ctx context.Context, config string, args ...string) error {
	_, err := d.aptOutput(ctx, config, args...)
	return err
}

func (d *debs) aptOutput(ctx context.Context, config string, args ...string) (string, error) {
	argv := append([]string{"apt-get", "--quiet=2"}, args...)
	result, err := d.maker.runner.Run(ctx, run.Cmd{Argv: argv, Env: []string{"APT_CONFIG=" + config, "DEBIAN_FRONTEND=noninteractive"}})
	var failed *run.Error
	switch {
	case err == nil:
		return result.Stdout, nil
	case !errors.As(err, &failed):
		return "", err
	case failed.Result.ExitCode == 127 || errors.Is(err, os.ErrNotExist):
		return "", exitcode.BadInput(fmt.Errorf("apt-get is needed to fetch packages and was not found: install apt: %w", err))
	case strings.Contains(failed.Result.Stderr, "is not signed"), strings.Contains(failed.Result.Stderr, "NO_PUBKEY"),
		strings.Contains(failed.Result.Stderr, "Unable to locate package"), strings.Contains(failed.Result.Stderr, "has no installation candidate"):
		return "", exitcode.BadInput(err)
	}
	return "", exitcode.Transient(err)
}

// writeAptConfig makes a private apt below work that knows no installed
// package and only the profile's archive, and returns its configuration file.
func writeAptConfig(work string, p *profiles.Profile, mirrors fetch.Mirrors) (string, error) {
	for _, sub := range []string{"lists/partial", "archives/partial", "etc/apt.conf.d", "etc/sources.list.d", "etc/preferences.d", "etc/trusted.gpg.d"} {
		if err := os.MkdirAll(filepath.Join(work, sub), 0o755); err != nil {
			return "", err
		}
	}
	var config strings.Builder
	for _, setting := range [][2]string{
		{"APT::Architecture", p.OS.Arch},
		{"APT::Architectures", p.OS.Arch},
		{"APT::Sandbox::User", "root"}, // the store may lie where _apt cannot go
		{"Acquire::Retries", "3"},
		{"Acquire::Languages", "none"},
		{"Dir::State", work},
		{"Dir::State::lists", filepath.Join(work, "lists")},
		{"Dir::State::status", filepath.Join(work, "status")},
		{"Dir::State::extended_states", filepath.Join(work, "extended_states")},
		{"Dir::Cache", work},
		{"Dir::Cache::archives", filepath.Join(work, "archives")},
		{"Dir::Log", work},
		{"Dir::Etc", filepath.Join(work, "etc")},
		{"Dir::Etc::sourceparts", filepath.Join(work, "etc/sources.list.d")},
		{"Dir::Etc::parts", filepath.Join(work, "etc/apt.conf.d")},
	} {
		fmt.Fprintf(&config, "%s %q;\n", setting[0], setting[1])
	}
	var sources strings.Builder
	for _, s := range p.Archive.Effective() {
		fmt.Fprintf(&sources, "Types: deb\nURIs: %s\nSuites: %s\nComponents: %s\nArchitectures: %s\nSigned-By: %s\n",
			mirrors.At(s.URI), strings.Join(s.Suites, " "), strings.Join(s.Components, " "), p.OS.Arch, s.Keyring)
		if p.Archive.Snapshot != "" {
			sources.WriteString("Check-Valid-Until: no\n")
		}
		sources.WriteString("\n")
	}
	path := filepath.Join(work, "apt.conf")
	return path, errors.Join(
		os.WriteFile(path, []byte(config.String()), 0o644),
		os.WriteFile(filepath.Join(work, "status"), nil, 0o644),
		os.WriteFile(filepath.Join(work, "etc/sources.list.d/profile.sources"), []byte(sources.String()), 0o644))
}
