package ubuntutest

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/signature/signaturetest"
)

// components of every pocket. The last two are there and empty, as on Ubuntu
// for most machines.
var components = []string{"main", "universe", "restricted", "multiverse"}

// replaced are Debian's packages that Ubuntu has its own of.
var replaced = []string{"base-files", "ubuntu-keyring", "ubuntu-archive-keyring"}

// universe are packages of a node that Ubuntu keeps there.
var universe = []string{"ebtables", "libnss-myhostname", "socat", "conntrack", "ipset", "initramfs-tools"}

// sections are those that a node's packages are in; the rest of Debian would
// only make the indices large.
var sections = []string{"admin", "base", "kernel", "libs", "misc", "net", "utils", "python", "perl", "shells", "text", "interpreters", "oldlibs", "otherosfs", "editors", "web", "metapackages", "localization"}

// fields are what apt needs of a stanza.
var fields = []string{"Package", "Source", "Version", "Architecture", "Essential", "Important", "Protected", "Priority", "Section", "Multi-Arch", "Installed-Size",
	"Pre-Depends", "Depends", "Recommends", "Provides", "Conflicts", "Breaks", "Replaces", "Filename", "Size", "SHA256"}

// index makes the signed indices: lists are Debian's by pocket, own are the
// stanzas of what is Ubuntu's.
func (a *Archive) index(lists map[string][]byte, own string) error {
	now := time.Now().UTC()
	for _, pocket := range a.pockets() {
		texts := map[string]*bytes.Buffer{}
		for _, c := range components {
			texts[c] = &bytes.Buffer{}
		}
		if pocket.pocket == "" {
			texts["main"].WriteString(own)
		}
		for _, stanza := range strings.Split(string(lists[pocket.pocket]), "\n\n") {
			component, text, ok := a.adopt(pocket, stanza)
			if ok {
				texts[component].WriteString(text)
			}
		}
		made, err := suite{Origin: "Ubuntu", Suite: a.o.Codename + pocket.pocket, Version: a.o.Version, Codename: a.o.Codename, Arch: a.o.Arch}.index(a.key, texts, now)
		if err != nil {
			return err
		}
		maps.Copy(a.files, made)
	}
	for name := range a.o.Needs {
		if !a.needed[name] {
			return fmt.Errorf("no package %s with dependencies, which further ones were to be added to", name)
		}
	}
	return nil
}

// adopt takes over a stanza of Debian's index, and remembers where the package
// is.
func (a *Archive) adopt(from pocket, stanza string) (component, text string, ok bool) {
	var b strings.Builder
	value := map[string]string{}
	keep := false
	for line := range strings.Lines(stanza) {
		if line[0] != ' ' && line[0] != '\t' {
			name, rest, _ := strings.Cut(line, ":")
			if keep = slices.Contains(fields, name); keep {
				value[name] = strings.TrimSpace(rest)
			}
		}
		if keep && !strings.HasPrefix(line, "Filename:") {
			line = strings.TrimRight(line, "\n")
			if more := a.o.Needs[value["Package"]]; more != "" && strings.HasPrefix(line, "Depends:") {
				line += ", " + more
				a.needed[value["Package"]] = true
			}
			b.WriteString(line + "\n")
		}
	}
	name := value["Package"]
	if name == "" || slices.Contains(replaced, name) || !slices.Contains(sections, value["Section"]) {
		return "", "", false
	}
	component = "main"
	if slices.Contains(universe, name) {
		component = "universe"
	}
	// Below a directory of its own: main and security have files of one name.
	at := "pool/" + component + from.pocket + strings.TrimPrefix(value["Filename"], "pool")
	a.origin[at] = from.mirror + "/" + value["Filename"]
	fmt.Fprintf(&b, "Filename: %s\n\n", at)
	return component, b.String(), true
}

// suite is what an InRelease says of itself.
type suite struct {
	Origin, Suite, Codename, Arch string
	Version                       string // may be empty
}

// index makes the files of a suite from its components' stanzas, by path below
// the archive's address: the lists and, signed, the InRelease with their sums.
func (s suite) index(key *signaturetest.Key, texts map[string]*bytes.Buffer, now time.Time) (map[string][]byte, error) {
	files := map[string][]byte{}
	names := slices.Sorted(maps.Keys(texts))
	var sums strings.Builder
	for _, c := range names {
		plain := texts[c].Bytes()
		var packed bytes.Buffer
		z, err := gzip.NewWriterLevel(&packed, gzip.BestSpeed)
		if err != nil {
			return nil, err
		}
		if _, err := z.Write(plain); err != nil {
			return nil, err
		}
		if err := z.Close(); err != nil {
			return nil, err
		}
		for end, data := range map[string][]byte{"": plain, ".gz": packed.Bytes()} {
			name := c + "/binary-" + s.Arch + "/Packages" + end
			sum := sha256.Sum256(data)
			fmt.Fprintf(&sums, " %s %d %s\n", hex.EncodeToString(sum[:]), len(data), name)
			if end != "" { // the plain one is listed and not there, as usual
				files["dists/"+s.Suite+"/"+name] = data
			}
		}
	}
	version := ""
	if s.Version != "" {
		version = "Version: " + s.Version + "\n"
	}
	release := fmt.Sprintf("Origin: %s\nLabel: %[1]s\nSuite: %s\n%sCodename: %s\nDate: %s\nArchitectures: %s\nComponents: %s\nDescription: stand-in\nSHA256:\n%s",
		s.Origin, s.Suite, version, s.Codename, now.Format("Mon, 02 Jan 2006 15:04:05 MST"), s.Arch, strings.Join(names, " "), sums.String())
	signed, err := key.Clearsign([]byte(release), now.Add(-time.Minute))
	if err != nil {
		return nil, err
	}
	files["dists/"+s.Suite+"/InRelease"] = signed
	return files, nil
}
