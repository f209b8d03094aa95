package bootstrap

import (
	"archive/tar"
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/fetch"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/manifest"
	"github.com/nodeimage/packer-plugin-nodeimage/profiles"
	"github.com/nodeimage/packer-plugin-nodeimage/profiles/lock"
)

// id names one .deb.
type id struct{ name, version, arch string }

// Installed reads a dpkg status file and returns the packages whose files are
// there, sorted by name and architecture, without digests.
func Installed(status io.Reader) ([]manifest.Package, error) {
	var list []manifest.Package
	err := stanzas(status, func(field map[string]string) error {
		// "install ok installed", also "hold ok installed"; half-installed is
		// something that an image must not ship unnoticed.
		words := strings.Fields(field["Status"])
		if len(words) != 3 {
			return fmt.Errorf("package %q: status %q: expected three words", field["Package"], field["Status"])
		}
		switch words[2] {
		case "installed":
			list = append(list, manifest.Package{Name: field["Package"], Version: field["Version"], Arch: field["Architecture"]})
		case "config-files", "not-installed":
		default:
			return fmt.Errorf("package %s is %s, not installed: its installation was cut short", field["Package"], words[2])
		}
		return nil
	})
	slices.SortFunc(list, func(a, b manifest.Package) int {
		return strings.Compare(a.Name+"\x00"+a.Arch, b.Name+"\x00"+b.Arch)
	})
	return list, err
}

// Resolve gives each package the digest that record holds for the same name,
// version and architecture, or says that it came in the image, and returns the
// names of those that record does not have.
func Resolve(packages, record []manifest.Package) (unknown []string) {
	known := make(map[id]manifest.Package, len(record))
	for _, p := range record {
		known[id{p.Name, p.Version, p.Arch}] = p
	}
	for i, p := range packages {
		found := known[id{p.Name, p.Version, p.Arch}]
		packages[i].SHA256, packages[i].Base = found.SHA256, found.Base
		if found.SHA256 == "" && !found.Base {
			unknown = append(unknown, p.Name+" "+p.Version)
		}
	}
	return unknown
}

// index is what apt's lists say about a set of packages.
type index struct {
	sources  []profiles.ArchiveSource
	debs     map[id]lock.Package
	releases map[string][]byte // InRelease files by their digest
}

// readLists reads a tar of /var/lib/apt/lists, whose files apt has verified,
// and looks up the packages that are wanted.
func readLists(tarFile string, sources []profiles.ArchiveSource, mirrors fetch.Mirrors, wanted []manifest.Package) (index, error) {
	f, err := os.Open(tarFile)
	if err != nil {
		return index{}, err
	}
	defer f.Close()
	ix := index{sources: sources, debs: map[id]lock.Package{}, releases: map[string][]byte{}}
	for _, p := range wanted {
		ix.debs[id{p.Name, p.Version, p.Arch}] = lock.Package{}
	}
	lists := tar.NewReader(f)
	for {
		header, err := lists.Next()
		if errors.Is(err, io.EOF) {
			return ix, nil
		}
		if err != nil {
			return index{}, fmt.Errorf("reading apt's lists: %w", err)
		}
		if header.Typeflag != tar.TypeReg || strings.Contains(header.Name, "/partial/") {
			continue
		}
		switch name := path.Base(header.Name); {
		case strings.HasSuffix(name, "_InRelease"):
			text, err := io.ReadAll(io.LimitReader(lists, maxInRelease))
			if err != nil {
				return index{}, fmt.Errorf("reading %s: %w", name, err)
			}
			sum := sha256.Sum256(text)
			ix.releases[hex.EncodeToString(sum[:])] = text
		case strings.HasSuffix(name, "_Packages"):
			if err := ix.addPackages(lists, sourceOf(sources, mirrors, name)); err != nil {
				return index{}, fmt.Errorf("reading %s: %w", name, err)
			}
		}
	}
}

// sourceOf returns the address of the archive that a file of apt's lists is
// from, whose name has the address that was asked and the suite, and ends in
// _Packages.
func sourceOf(sources []profiles.ArchiveSource, mirrors fetch.Mirrors, name string) string {
	var found []string
	for _, source := range sources {
		for _, suite := range source.Suites {
			if strings.Contains(name, "_dists_"+strings.ReplaceAll(suite, "/", "_")+"_") && !slices.Contains(found, source.URI) {
				found = append(found, source.URI)
			}
		}
	}
	// Several archives may have a suite of one name; apt writes the address with
	// these characters escaped.
	escape := strings.NewReplacer("_", "%5f", "~", "%7e", "=", "%3d", "@", "%40", "/", "_")
	for _, uri := range found {
		_, address, _ := strings.Cut(strings.TrimRight(mirrors.At(uri), "/"), "://")
		if len(found) > 1 && strings.HasPrefix(name, escape.Replace(address)+"_dists_") {
			return uri
		}
	}
	if len(found) == 1 {
		return found[0]
	}
	return ""
}

func (ix *index) addPackages(r io.Reader, uri string) error {
	return stanzas(r, func(field map[string]string) error {
		key := id{field["Package"], field["Version"], field["Architecture"]}
		have, wanted := ix.debs[key]
		if !wanted {
			return nil
		}
		sum := field["SHA256"]
		if len(sum) != 64 {
			return fmt.Errorf("package %s: SHA256 %q: expected 64 hex digits", key.name, sum)
		}
		// Two sources that offer one version with two contents: which of them
		// was installed can no longer be told.
		if have.SHA256 != "" && have.SHA256 != sum {
			return fmt.Errorf("package %s %s has two digests in the archive, %s and %s: remove one of the sources", key.name, key.version, have.SHA256, sum)
		}
		if have.SHA256 != "" {
			return nil
		}
		size, err := strconv.Atoi(field["Size"])
		if err != nil {
			return fmt.Errorf("package %s: Size %q: expected a number of bytes", key.name, field["Size"])
		}
		priority := field["Priority"]
		if !slices.Contains([]string{"required", "important", "standard"}, priority) {
			priority = "" // decides nothing
		}
		ix.debs[key] = lock.Package{Name: key.name, Version: key.version, Arch: key.arch, SHA256: sum, Size: size, URI: uri, Path: field["Filename"], Priority: priority}
		return nil
	})
}

// record returns what the archive says about the installed packages. Every one
// of them must be known: they all came from the archive.
func (ix *index) record(packages []manifest.Package) ([]lock.Package, error) {
	out := make([]lock.Package, len(packages))
	var missing []string
	for i, p := range packages {
		out[i] = ix.debs[id{p.Name, p.Version, p.Arch}]
		if out[i].SHA256 == "" {
			missing = append(missing, p.Name+" "+p.Version)
		}
	}
	if len(missing) > 0 {
		return nil, fmt.Errorf("the archive's signed index does not list what was installed from it: %s", strings.Join(missing, ", "))
	}
	return out, nil
}

// wantedFields are all that stanzas keeps: the rest of an index is large.
var wantedFields = [...]string{"Package", "Version", "Architecture", "Status", "SHA256", "Size", "Filename", "Priority"}

// stanzas calls fn with each paragraph of a Debian control file.
func stanzas(r io.Reader, fn func(map[string]string) error) error {
	scanner := bufio.NewScanner(r)
	scanner.Buffer(make([]byte, 64<<10), 16<<20)
	field := map[string]string{}
	flush := func() error {
		if len(field) == 0 {
			return nil
		}
		if field["Package"] == "" {
			return errors.New("a paragraph has no Package field")
		}
		err := fn(field)
		clear(field)
		return err
	}
	for scanner.Scan() {
		line := scanner.Text()
		if strings.TrimSpace(line) == "" {
			if err := flush(); err != nil {
				return err
			}
			continue
		}
		if line[0] == ' ' || line[0] == '\t' {
			continue // goes on with a field, none of ours
		}
		name, value, ok := strings.Cut(line, ":")
		if ok && slices.Contains(wantedFields[:], name) {
			field[name] = strings.TrimSpace(value)
		}
	}
	if err := scanner.Err(); err != nil {
		return err
	}
	return flush()
}
