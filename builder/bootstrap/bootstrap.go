// Package bootstrap makes the root file system that a profile's archive and
// packages describe, as a tar in the store, with a record of every package.
package bootstrap

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/manifest"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/run"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/store"
	"github.com/nodeimage/packer-plugin-nodeimage/profiles"
)

const (
	tarName    = "rootfs.tar"
	recordName = "packages.json"
)

// Base is a bootstrapped root file system in the store.
type Base struct {
	Key    string // of the store entry; changes with anything it is made from
	Tar    string // path of the tar on this host
	Cached bool   // it was there already
	// Packages are the .debs it was made from, with the digests that the
	// archive's signed index lists.
	Packages []manifest.Package
}

// Maker makes bases.
type Maker struct {
	Host  run.Runner
	Store *store.Store
	// Progress is told what goes on, a line at a time.
	Progress func(line string)
	// sleep replaces the pauses between attempts in tests.
	sleep func(context.Context, time.Duration) error
}

// Make returns the base of a profile. It is made anew when the archive, or
// anything in the profile that it is made from, has changed.
//
// Errors: a mirror that cannot be read, after three attempts within a minute,
// and a full disk are infrastructure failures; a package or suite that does not exist, and a signature that the
// keyring does not know, are bad input.
func (m Maker) Make(ctx context.Context, p *profiles.Profile) (Base, error) {
	keyrings, err := readKeyrings(p)
	if err != nil {
		return Base{}, exitcode.BadInput(err)
	}
	version, err := m.Host.Run(ctx, run.Cmd{Argv: []string{"mmdebstrap", "--version"}})
	if err != nil {
		return Base{}, err
	}
	var base Base
	err = m.retry(ctx, func() (err error) {
		base, err = m.make(ctx, p, strings.TrimSpace(version.Stdout), keyrings)
		return err
	})
	return base, err
}

// make is one attempt, with the mmdebstrap of that version and keyrings of
// those sums. It starts from what the archive is now: a mirror that was updated in
// the middle of the attempt before has other packages.
func (m Maker) make(ctx context.Context, p *profiles.Profile, version string, keyrings []string) (Base, error) {
	releases, err := FetchReleases(ctx, p.Archive)
	if err != nil {
		return Base{}, err
	}
	// The arguments stand for what this release of the project does with them.
	key, err := store.Key("bootstrap", version, releases, p.Archive.Effective(), keyrings, Argv(p, "", "", ""), environment(""))
	if err != nil {
		return Base{}, err
	}
	_, cached := m.Store.Lookup(key)
	dir, err := m.Store.Do(ctx, key, func(ctx context.Context, dir string) error {
		return m.fill(ctx, p, releases, dir)
	})
	if err != nil {
		return Base{}, err
	}
	base := Base{Key: key, Tar: filepath.Join(dir, tarName), Cached: cached}
	text, err := os.ReadFile(filepath.Join(dir, recordName))
	if err != nil {
		return Base{}, err
	}
	if err := json.Unmarshal(text, &base.Packages); err != nil {
		return Base{}, fmt.Errorf("reading the record of packages %s: %w", filepath.Join(dir, recordName), err)
	}
	return base, nil
}

// readKeyrings returns the sha256 of each keyring of the archive, and says of
// all that are not there where they come from.
func readKeyrings(p *profiles.Profile) ([]string, error) {
	var sums []string
	var errs []error
	for _, name := range p.Archive.Keyrings() {
		data, err := os.ReadFile(name)
		switch {
		case errors.Is(err, fs.ErrNotExist) && name == p.Archive.Keyring:
			errs = append(errs, fmt.Errorf("archive.keyring %s is not on this host: %s, or name another file", name, keyringRemedy(p.OS.Distribution)))
		case errors.Is(err, fs.ErrNotExist):
			errs = append(errs, fmt.Errorf("keyring %s of a source of the archive is not on this host: put the key there that its publisher names", name))
		case err != nil:
			errs = append(errs, fmt.Errorf("archive.keyring: %w", err))
		}
		sum := sha256.Sum256(data)
		sums = append(sums, hex.EncodeToString(sum[:]))
	}
	return sums, errors.Join(errs...)
}

// keyringRemedy says which package has a distribution's keyring.
func keyringRemedy(distribution string) string {
	if distribution == "ubuntu" {
		return "install the package ubuntu-keyring (Ubuntu, and Debian 13 or later)"
	}
	return "install the package " + distribution + "-archive-keyring"
}

// fill makes the tar and the record in dir.
func (m Maker) fill(ctx context.Context, p *profiles.Profile, releases []Release, dir string) (err error) {
	// What mmdebstrap leaves when it is killed lies in the scratch directory.
	scratch, release, err := m.Store.Scratch("bootstrap")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, release()) }()
	sources := filepath.Join(scratch, "nodeimage.sources")
	if err := os.WriteFile(sources, []byte(Sources(p.Archive.Effective(), p.Archive.Snapshot != "")), 0o644); err != nil {
		return err
	}
	tmp := filepath.Join(scratch, "tmp")
	// apt downloads as an unprivileged user, who must get there.
	if err := os.Mkdir(tmp, 0o755); err != nil {
		return err
	}
	argv := Argv(p, sources, filepath.Join(dir, tarName), scratch)
	// Without the file it works on the disk.
	if meminfo, _ := os.ReadFile("/proc/meminfo"); memoryFor(string(meminfo)) > 0 {
		argv = inMemory(tmp, memoryFor(string(meminfo)), argv)
	}
	lines := &lineWriter{emit: m.progress}
	_, err = m.Host.Run(ctx, run.Cmd{
		Argv:   run.Isolated(argv...),
		Env:    environment(tmp),
		Stderr: lines,
	})
	if err != nil {
		return explain(err, p.Archive)
	}
	return writeRecord(scratch, dir, releases)
}

// progress passes on the phases that mmdebstrap names, without its talk about
// hooks and temporary directories.
func (m Maker) progress(line string) {
	text, ok := strings.CutPrefix(line, "I: ")
	if !ok || m.Progress == nil {
		return
	}
	for _, phase := range phases {
		if strings.HasPrefix(text, phase) {
			m.Progress(text)
		}
	}
}

var phases = [...]string{"running apt-get update", "downloading", "extracting", "installing", "creating tarball"}

// writeRecord keeps which packages were installed, beside the tar.
func writeRecord(scratch, dir string, releases []Release) error {
	f, err := os.Open(filepath.Join(scratch, statusName))
	if err != nil {
		return err
	}
	defer f.Close()
	packages, err := Installed(f)
	if err != nil {
		return fmt.Errorf("reading dpkg's status: %w", err)
	}
	ix, err := readLists(filepath.Join(scratch, listsName), packages)
	if err != nil {
		return err
	}
	for _, r := range releases {
		if !ix.releases[r.SHA256] {
			return network(fmt.Errorf("suite %s of mirror %s changed while it was read: run the build again", r.Suite, r.URI))
		}
	}
	record, err := ix.record(packages)
	if err != nil {
		return err
	}
	text, err := json.MarshalIndent(record, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, recordName), append(text, '\n'), 0o644)
}
