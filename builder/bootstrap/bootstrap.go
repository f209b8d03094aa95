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
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/debstore"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/fetch"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/manifest"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/memory"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/run"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/signature"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/store"
	"github.com/nodeimage/packer-plugin-nodeimage/profiles"
	"github.com/nodeimage/packer-plugin-nodeimage/profiles/lock"
)

const (
	tarName    = "rootfs.tar"
	recordName = "packages.json"
)

// baseFormat changes when the same arguments give another base.
const baseFormat = "bootstrap/2"

// Base is a bootstrapped root file system in the store.
type Base struct {
	Key    string // of the store entry; changes with anything it is made from
	Tar    string // path of the tar on this host
	Cached bool   // it was there already
	// Image is the path, in the store, of the cloud image that it was made from;
	// "" for a base that was bootstrapped.
	Image string
	// Epoch is when the archive was last signed: no package is younger, and
	// nothing in the base is.
	Epoch time.Time
	// Packages are the .debs it was made from, with the digests that the
	// archive's signed index lists, and those that came in the image.
	Packages []manifest.Package
	Record   Record
}

// Record is what a lock says about a base.
type Record struct {
	Packages []lock.Package `json:"packages"`
	Releases []lock.Release `json:"releases"`
	// Kernels are the kernels below /boot; their packages are not known here.
	Kernels []lock.Kernel `json:"kernels"`
	// Base is the image that it was made from, if it is one.
	Base lock.Base `json:"base,omitzero"`
}

// Maker makes bases.
type Maker struct {
	Host  run.Runner
	Store *store.Store
	// Lock, when it is not nil, is all that may be installed. The archive is not
	// asked then.
	Lock *lock.Lock
	// Fetch gets a locked .deb that is not in the store into a file. Nil is for a
	// host without a network: what is missing is an error.
	Fetch debstore.Fetch
	// Client gets a profile's cloud image, and the signed sum of it. Its mirrors
	// are asked for the archive, too. Nil is for a host without a network.
	Client *fetch.Client
	// Progress is told what goes on, a line at a time.
	Progress func(line string)
	// Begin, when it is not nil, is called when a base is made that was not in
	// the store.
	Begin func()
	// sleep replaces the pauses between attempts in tests.
	sleep func(context.Context, time.Duration) error
}

// Make returns the base of a profile. It is made anew when the archive, or
// anything in the profile that it is made from, has changed.
//
// Errors: a mirror that cannot be read, after three attempts within a minute,
// and a full disk are infrastructure failures; a package or suite that does not
// exist, and a signature that the keyring does not know, are bad input.
func (m Maker) Make(ctx context.Context, p *profiles.Profile) (Base, error) {
	keyrings, err := readKeyrings(p)
	if err != nil {
		return Base{}, exitcode.BadInput(err)
	}
	if p.FromCloudImage() {
		var base Base
		err = m.retry(ctx, func() (err error) {
			base, err = m.makeOnImage(ctx, p, keyrings)
			return err
		})
		return base, err
	}
	version := m.askVersion(ctx)
	defer func() { _, _ = version() }()
	var base Base
	err = m.retry(ctx, func() (err error) {
		base, err = m.make(ctx, p, version, keyrings)
		return err
	})
	return base, err
}

func (m Maker) begin() {
	if m.Begin != nil {
		m.Begin()
	}
}

// askVersion starts to ask mmdebstrap for its version, which takes as long as
// asking the archive what it has, and returns what waits for the answer.
func (m Maker) askVersion(ctx context.Context) func() (string, error) {
	ask := sync.OnceValues(func() (string, error) {
		version, err := m.Host.Run(ctx, run.Cmd{Argv: []string{"mmdebstrap", "--version"}})
		return strings.TrimSpace(version.Stdout), err
	})
	go func() { _, _ = ask() }()
	return ask
}

// make is one attempt, with the mmdebstrap of that version and keyrings of
// those sums. It starts from what the archive is now: a mirror that was updated in
// the middle of the attempt before has other packages.
func (m Maker) make(ctx context.Context, p *profiles.Profile, askedVersion func() (string, error), keyrings []string) (Base, error) {
	releases, err := m.lockedReleases()
	if m.Lock == nil {
		releases, err = FetchReleases(ctx, p.Archive, m.mirrors())
	}
	if err != nil {
		return Base{}, err
	}
	version, err := askedVersion()
	if err != nil {
		return Base{}, err
	}
	// The arguments stand for what this release of the project does with them.
	key, err := store.Key(baseFormat, version, releases, p.Archive.Effective(), keyrings, Argv(p, "", "", ""), environment("", time.Time{}), m.lockedPackages())
	if err != nil {
		return Base{}, err
	}
	_, cached := m.Store.Lookup(key)
	dir, err := m.Store.Do(ctx, key, func(ctx context.Context, dir string) error {
		m.begin()
		return m.fill(ctx, p, releases, dir)
	})
	if err != nil {
		return Base{}, err
	}
	base := Base{Key: key, Tar: filepath.Join(dir, tarName), Cached: cached, Epoch: newest(releases)}
	return base, base.readRecord(dir)
}

// readRecord reads what stands beside the tar.
func (b *Base) readRecord(dir string) error {
	text, err := os.ReadFile(filepath.Join(dir, recordName))
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, &b.Record); err != nil {
		return fmt.Errorf("reading the record of packages %s: %w", filepath.Join(dir, recordName), err)
	}
	for _, p := range b.Record.Packages {
		b.Packages = append(b.Packages, manifest.Package{Name: p.Name, Version: p.Version, Arch: p.Arch, SHA256: p.SHA256})
	}
	for _, p := range b.Record.Base.CloudImage.Packages {
		b.Packages = append(b.Packages, manifest.Package{Name: p.Name, Version: p.Version, Arch: p.Arch, Base: true})
	}
	return nil
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
		if err == nil {
			errs = append(errs, hasSigners(p, name, data))
		}
	}
	return sums, errors.Join(errs...)
}

// hasSigners makes sure that a keyring has the keys that sources name.
func hasSigners(p *profiles.Profile, name string, data []byte) error {
	var errs []error
	for i, s := range p.Archive.Effective() {
		if s.Signer == "" || s.Keyring != name {
			continue
		}
		trusted, err := signature.ReadKeyring(name, data)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if has := trusted.Fingerprints(); !slices.Contains(has, s.Signer) {
			errs = append(errs, fmt.Errorf("keyring %s of %s has no key %s, which archive.sources[%d].signer names: found %s: put the key there that the archive's publisher names", name, s.URI, s.Signer, i, strings.Join(has, ", ")))
		}
	}
	return errors.Join(errs...)
}

// mirrors are asked in the place of their hosts.
func (m Maker) mirrors() fetch.Mirrors {
	if m.Client == nil {
		return nil
	}
	return m.Client.Mirrors
}

// at is sources with the addresses that they are asked at.
func at(sources []profiles.ArchiveSource, mirrors fetch.Mirrors) []profiles.ArchiveSource {
	sources = slices.Clone(sources)
	for i := range sources {
		sources[i].URI = mirrors.At(sources[i].URI)
	}
	return sources
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
	text := Sources(at(p.Archive.Effective(), m.mirrors()), p.Archive.Snapshot != "")
	if m.Lock != nil {
		if text, err = m.localArchive(ctx, p, filepath.Join(scratch, "archive"), filepath.Join(scratch, "archive")); err != nil {
			return err
		}
	}
	if err := os.WriteFile(sources, []byte(text), 0o644); err != nil {
		return err
	}
	tmp := filepath.Join(scratch, "tmp")
	// Nobody else gets there, so that apt downloads as root wherever the store
	// is. It would give its directories to its own user, by the number that this
	// host knows that user by, and only where that user gets there.
	if err := os.Mkdir(tmp, 0o700); err != nil {
		return err
	}
	plain := Argv(p, sources, filepath.Join(dir, tarName), scratch)
	argv := plain
	if room := memory.Room(); room > 0 {
		argv = inMemory(tmp, room, argv)
	}
	lines := &lineWriter{emit: m.progress}
	_, err = m.Host.Run(ctx, run.Cmd{
		Argv:   run.Isolated(alone(environment(tmp, newest(releases)), argv)...),
		Stderr: lines,
	})
	var failed *run.Error
	if errors.As(err, &failed) {
		// Without what is around it: a proxy's address may have a password.
		err = &run.Error{Where: failed.Where, Argv: plain, Result: failed.Result, Err: failed.Err}
	}
	if err != nil {
		return explain(err, p.Archive, m.mirrors())
	}
	if m.Lock != nil {
		return m.checkLocked(scratch, dir)
	}
	return m.writeRecord(ctx, p, scratch, dir, releases)
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

// writeRecord keeps which packages were installed, beside the tar, and their
// .debs in the store, so that a lock can be built without the archive.
func (m Maker) writeRecord(ctx context.Context, p *profiles.Profile, scratch, dir string, releases []Release) error {
	packages, err := installed(scratch)
	if err != nil {
		return err
	}
	record, err := newRecord(scratch, p, m.mirrors(), releases, packages)
	if err != nil {
		return err
	}
	if record.Kernels, err = readKernels(filepath.Join(scratch, kernelsName)); err != nil {
		return err
	}
	if err := m.keepDebs(ctx, filepath.Join(scratch, debsName), record.Packages); err != nil {
		return err
	}
	return record.write(dir)
}

// newRecord looks up in apt's lists where packages came from.
func newRecord(scratch string, p *profiles.Profile, mirrors fetch.Mirrors, releases []Release, packages []manifest.Package) (Record, error) {
	ix, err := readLists(filepath.Join(scratch, listsName), p.Archive.Effective(), mirrors, packages)
	if err != nil {
		return Record{}, err
	}
	var record Record
	for _, r := range releases {
		text, ok := ix.releases[r.SHA256]
		if !ok {
			return Record{}, network(fmt.Errorf("suite %s of mirror %s changed while it was read: run the build again", r.Suite, askedAt(r.URI, mirrors)))
		}
		record.Releases = append(record.Releases, describeRelease(r, text, p.Archive.Keyrings()))
	}
	if record.Packages, err = ix.record(packages); err != nil {
		return Record{}, err
	}
	return record, checkPins(p, record)
}

// checkPins compares what was installed with what the profile pins beside
// versions: who signs an archive, and the sums of packages. A keyring may have
// more keys than the one that is meant.
func checkPins(p *profiles.Profile, record Record) error {
	var errs []error
	for _, s := range p.Archive.Effective() {
		for _, r := range record.Releases {
			if s.Signer != "" && r.URI == s.URI && slices.Contains(s.Suites, r.Suite) && r.Signer != s.Signer {
				errs = append(errs, fmt.Errorf("suite %s of the archive %s is signed by %q, expected %s, which archive.sources names as its signer", r.Suite, r.URI, r.Signer, s.Signer))
			}
		}
	}
	sums := p.PackageSums()
	for _, deb := range record.Packages {
		if want := sums[deb.Name]; want != "" && deb.SHA256 != want {
			errs = append(errs, fmt.Errorf("package %s %s has sha256 %s in the archive %s, expected %s, which a component of the profile pins: compare it with what its publisher says", deb.Name, deb.Version, deb.SHA256, deb.URI, want))
		}
	}
	return exitcode.BadInput(errors.Join(errs...))
}

func (r Record) write(dir string) error {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, recordName), append(text, '\n'), 0o644)
}

// installed reads dpkg's status of what mmdebstrap made.
func installed(scratch string) ([]manifest.Package, error) {
	f, err := os.Open(filepath.Join(scratch, statusName))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	packages, err := Installed(f)
	if err != nil {
		return nil, fmt.Errorf("reading dpkg's status: %w", err)
	}
	return packages, nil
}

// keepDebs puts the .debs that were downloaded into the store. One that is not
// among them is fetched when a lock that names it is built.
func (m Maker) keepDebs(ctx context.Context, dir string, packages []lock.Package) error {
	files := map[string]string{}
	for _, p := range packages {
		// The name that apt gives it: an epoch's colon is written as %3a.
		name := filepath.Join(dir, p.Name+"_"+strings.ReplaceAll(p.Version, ":", "%3a")+"_"+p.Arch+".deb")
		if _, err := os.Stat(name); err == nil {
			files[p.SHA256] = name
		}
	}
	return m.Store.AddBlobs(ctx, files)
}
