package bootstrap

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/mail"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/debstore"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/run"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/signature"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/store"
	"github.com/nodeimage/packer-plugin-nodeimage/profiles"
	"github.com/nodeimage/packer-plugin-nodeimage/profiles/lock"
)

// lockedPackages stand for the lock in the key of a base.
func (m Maker) lockedPackages() []lock.Package {
	if m.Lock == nil {
		return nil
	}
	return m.Lock.Packages
}

// lockedReleases are those that the lock was made from: they say how young the
// locked packages can be.
func (m Maker) lockedReleases() ([]Release, error) {
	if m.Lock == nil {
		return nil, nil
	}
	var releases []Release
	for _, r := range m.Lock.Releases {
		date, err := time.Parse(time.RFC3339, r.Date)
		if err != nil {
			return nil, fmt.Errorf("the lock's release %s of %s: date: %w", r.Suite, r.URI, err)
		}
		releases = append(releases, Release{URI: r.URI, Suite: r.Suite, SHA256: r.SHA256, Date: date})
	}
	return releases, nil
}

// localArchive makes an archive in dir, which apt finds at the path seen, of
// exactly the locked packages, each of which it compares with its sum, and returns
// the source of it. apt needs no signature for what was compared with the lock a
// moment ago.
func (m Maker) localArchive(ctx context.Context, p *profiles.Profile, dir, seen string) (string, error) {
	pool, index := filepath.Join(dir, "pool"), filepath.Join(dir, "dists", p.OS.Codename, "main", "binary-"+p.OS.Arch)
	if err := errors.Join(os.MkdirAll(pool, 0o755), os.MkdirAll(index, 0o755)); err != nil {
		return "", err
	}
	if err := debstore.Gather(ctx, m.Store, m.Fetch, m.Lock.Packages); err != nil {
		return "", err
	}
	stanzas := make([]string, len(m.Lock.Packages))
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(runtime.NumCPU())
	for i, deb := range m.Lock.Packages {
		group.Go(func() (err error) {
			name := deb.SHA256 + ".deb"
			blob, ok := m.Store.Blob(deb.SHA256)
			if !ok {
				return exitcode.Transient(fmt.Errorf("package %s %s is no longer whole in the store: run the build again", deb.Name, deb.Version))
			}
			if err := store.CopyFile(blob, filepath.Join(pool, name)); err != nil {
				return err
			}
			stanzas[i], err = m.stanza(groupCtx, deb, filepath.Join(pool, name), "pool/"+name)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return "", err
	}
	packages := strings.Join(stanzas, "\n")
	sum := sha256.Sum256([]byte(packages))
	release := fmt.Sprintf("Suite: %[1]s\nCodename: %[1]s\nArchitectures: %[2]s\nComponents: main\nSHA256:\n %[3]s %[4]d main/binary-%[2]s/Packages\n",
		p.OS.Codename, p.OS.Arch, hex.EncodeToString(sum[:]), len(packages))
	err := errors.Join(
		os.WriteFile(filepath.Join(index, "Packages"), []byte(packages), 0o644),
		os.WriteFile(filepath.Join(dir, "dists", p.OS.Codename, "Release"), []byte(release), 0o644))
	return fmt.Sprintf("Types: deb\nURIs: copy://%s\nSuites: %s\nComponents: main\nTrusted: yes\n", seen, p.OS.Codename), err
}

// stanza is the package's own description with what only an archive knows.
func (m Maker) stanza(ctx context.Context, p lock.Package, file, name string) (string, error) {
	result, err := m.Host.Run(ctx, run.Cmd{Argv: []string{"dpkg-deb", "--field", file}})
	if err != nil {
		return "", fmt.Errorf("reading the package %s: %w", p.Name, err)
	}
	var out strings.Builder
	found := map[string]string{}
	drop := false
	for line := range strings.Lines(result.Stdout) {
		field, value, _ := strings.Cut(line, ":")
		if line[0] != ' ' && line[0] != '\t' {
			found[field] = strings.TrimSpace(value)
			drop = field == "Priority" || field == "Filename" || field == "Size" || field == "SHA256"
		}
		if strings.TrimSpace(line) != "" && !drop {
			out.WriteString(strings.TrimRight(line, "\n") + "\n")
		}
	}
	if found["Package"] != p.Name || found["Version"] != p.Version || found["Architecture"] != p.Arch {
		return "", exitcode.BadInput(fmt.Errorf("package %s of the lock: the .deb with sha256 %s is %s %s for %s, expected %s for %s: make the lock again",
			p.Name, p.SHA256, found["Package"], found["Version"], found["Architecture"], p.Version, p.Arch))
	}
	priority := p.Priority
	if priority == "" {
		priority = "optional"
	}
	fmt.Fprintf(&out, "Priority: %s\nFilename: %s\nSize: %d\nSHA256: %s\n", priority, name, p.Size, p.SHA256)
	return out.String(), nil
}

// checkLocked makes sure that what was installed is the lock, all of it and
// nothing else, and keeps the record.
func (m Maker) checkLocked(scratch, dir string) error {
	packages, err := installed(scratch)
	if err != nil {
		return err
	}
	if differences := m.Lock.DiffPackages(packages); len(differences) > 0 {
		return exitcode.BadInput(fmt.Errorf("the lock does not give a system of exactly its packages: %s: make the lock again with `nodeimage lock`", strings.Join(differences, "; ")))
	}
	kernels, err := readKernels(filepath.Join(scratch, kernelsName))
	if err != nil {
		return err
	}
	return Record{Packages: m.Lock.Packages, Releases: m.Lock.Releases, Kernels: kernels}.write(dir)
}

// readKernels reads sha256sum's output about /boot/vmlinuz-*.
func readKernels(file string) ([]lock.Kernel, error) {
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // no kernel package at all
	}
	if err != nil {
		return nil, err
	}
	var kernels []lock.Kernel
	for line := range strings.Lines(string(text)) {
		sum, path, ok := strings.Cut(strings.TrimSpace(line), "  ")
		if !ok {
			return nil, fmt.Errorf("reading the sums of kernels: line %q: expected a sum and a file", line)
		}
		kernels = append(kernels, lock.Kernel{Release: strings.TrimPrefix(filepath.Base(path), "vmlinuz-"), SHA256: sum})
	}
	slices.SortFunc(kernels, func(a, b lock.Kernel) int { return strings.Compare(a.Release, b.Release) })
	return kernels, nil
}

// describeRelease reads date and signer of an InRelease file that apt has
// verified. What cannot be read stays empty: a lock is not written with it.
func describeRelease(r Release, text []byte, keyrings []string) lock.Release {
	out := lock.Release{URI: r.URI, Suite: r.Suite, SHA256: r.SHA256}
	for _, file := range keyrings {
		keys, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		trusted, err := signature.ReadKeyring(file, keys)
		if err != nil {
			continue
		}
		plain, signer, err := trusted.VerifyClearsigned(text)
		if err != nil {
			continue
		}
		out.Signer = signer.Key
		for line := range bytes.Lines(plain) {
			if value, ok := bytes.CutPrefix(line, []byte("Date:")); ok {
				if at, err := mail.ParseDate(strings.TrimSpace(string(value))); err == nil {
					out.Date = at.UTC().Format(time.RFC3339)
				}
			}
		}
		return out
	}
	return out
}
