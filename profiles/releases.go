package profiles

import (
	"fmt"
	"io/fs"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
	"sync"
)

// releasesFile lies in a directory of its own, so that it is not taken for a
// profile.
const releasesFile = "pins/releases.yaml"

// Releases are the sums of upstream's release files that come with this
// program, from pins/releases.yaml.
type Releases struct {
	APIVersion string               `yaml:"apiVersion" json:"apiVersion"`
	Kind       string               `yaml:"kind" json:"kind"`
	Sources    map[string]Reference `yaml:"sources" json:"sources"`
	Components map[string]Release   `yaml:"components" json:"components"`
}

// Release is what is known of one component's releases.
type Release struct {
	Sources   []string  `yaml:"sources" json:"sources"`
	Files     []Pinned  `yaml:"files" json:"files"`
	Signature Signature `yaml:"signature" json:"signature"`
	// Versions has, by version, a sum by architecture for each of Files.
	Versions map[string][]map[string]string `yaml:"versions" json:"versions"`
}

// Pinned is a file of every release of a component.
type Pinned struct {
	Name string `yaml:"name" json:"name,omitempty"` // of the program, when the file is one
	URL  string `yaml:"url" json:"url"`             // with {version} and {arch}
}

// The ways that an upstream signs its releases.
const (
	SignatureCosign  = "cosign"  // FILE.sig and FILE.cert lie beside each file
	SignatureOpenPGP = "openpgp" // a clear-signed list of sums
)

// Signature says who signs a component's releases, and how. The zero value is
// an upstream that does not.
type Signature struct {
	Kind string `yaml:"kind" json:"kind,omitempty"`
	// Subject and Issuer are what the certificate of a cosign signature must
	// name: who signed, and who vouched for them.
	Subject string `yaml:"subject" json:"subject,omitempty"`
	Issuer  string `yaml:"issuer" json:"issuer,omitempty"`
	// Checksums is the URL of the signed list, with {version}. Keyring names
	// the keys that may sign it, see package signature.
	Checksums string `yaml:"checksums" json:"checksums,omitempty"`
	Keyring   string `yaml:"keyring" json:"keyring,omitempty"`
}

// LoadReleases returns the built-in sums, which are the same for all callers
// and not to be changed. An error means that this program was built with a
// broken file.
func LoadReleases() (*Releases, error) { return builtinReleases() }

var builtinReleases = sync.OnceValues(func() (*Releases, error) { return readReleases(builtin) })

func readReleases(files fs.FS) (*Releases, error) {
	r := &Releases{}
	if err := readTable(files, releasesFile, "sums of releases", r, func(v *validator) { v.releases(r) }); err != nil {
		return nil, err
	}
	return r, nil
}

func (v *validator) releases(r *Releases) {
	v.oneOf("apiVersion", r.APIVersion, []string{APIVersion})
	v.oneOf("kind", r.Kind, []string{"Releases"})
	v.sources(r.Sources)
	for _, name := range sortedKeys(r.Components) {
		at, c := join("components", name), r.Components[name]
		v.filled(at+".sources", len(c.Sources), "source")
		v.list(at+".sources", c.Sources, func(at, id string) { v.oneOf(at, id, sortedKeys(r.Sources)) })
		v.filled(at+".files", len(c.Files), "file")
		for i, f := range c.Files {
			v.template(fmt.Sprintf("%s.files[%d].url", at, i), f.URL)
		}
		v.signature(at+".signature", c.Signature)
		for _, version := range sortedKeys(c.Versions) {
			at := join(at+".versions", version)
			v.match(at, version, upstreamVersion, "a version such as 1.37.2")
			if len(c.Versions[version]) != len(c.Files) {
				v.report(at, "found sums of %d files, expected %d", len(c.Versions[version]), len(c.Files))
			}
			for i, sums := range c.Versions[version] {
				for _, arch := range architecture {
					v.match(fmt.Sprintf("%s[%d].%s", at, i, arch), sums[arch], sha256Hex, "64 lower-case hexadecimal digits")
				}
			}
		}
	}
}

func (v *validator) signature(at string, s Signature) {
	switch s.Kind {
	case "":
	case SignatureCosign:
		v.required(at+".subject", s.Subject, "who signs")
		v.uri(at+".issuer", s.Issuer, "https")
	case SignatureOpenPGP:
		v.template(at+".checksums", s.Checksums)
		v.required(at+".keyring", s.Keyring, "the name of a keyring")
	default:
		v.oneOf(at+".kind", s.Kind, []string{SignatureCosign, SignatureOpenPGP})
	}
}

// Files returns the files of a component's release, or false when no sums of
// that version come with this program.
func (r *Releases) Files(component, version string) ([]ReleaseFile, bool) {
	c := r.Components[component]
	sums, ok := c.Versions[version]
	if !ok {
		return nil, false
	}
	files := make([]ReleaseFile, len(c.Files))
	for i, f := range c.Files {
		files[i] = ReleaseFile{Name: f.Name, URL: f.URL, SHA256: maps.Clone(sums[i])}
	}
	return files, true
}

// placeholder is what stands in braces in a URL or a path.
var placeholder = regexp.MustCompile(`\{[^{}]*\}`)

// Expand puts a component's version and an architecture into a URL or path.
func Expand(template, version, arch string) string {
	return strings.NewReplacer("{version}", version, "{arch}", arch).Replace(template)
}

// template wants a URL whose placeholders are known.
func (v *validator) template(at, url string) {
	v.uri(at, url, "https", "http")
	v.placeholders(at, url)
}

func (v *validator) placeholders(at, text string) {
	for _, found := range placeholder.FindAllString(text, -1) {
		if found != "{version}" && found != "{arch}" {
			v.report(at, "found the placeholder %s, expected {version} or {arch}", quote(found))
		}
	}
}

// archives are the ends of the names of files that hold programs.
var archives = []string{".tar.gz", ".tgz", ".tar.zst"}

// Fetch is one file to be got for a component, with nothing left open.
type Fetch struct {
	URL    string // empty for a file of the build host
	Path   string
	Name   string // of the program; empty for an archive
	SHA256 string // in hexadecimal
}

// From is where the file comes from: the URL or the path.
func (f Fetch) From() string { return f.URL + f.Path }

// Fetches returns the files of a `release` or `file` component for one
// architecture.
func (c Component) Fetches(arch string) []Fetch {
	var fetches []Fetch
	for _, f := range c.Files {
		out := Fetch{URL: Expand(f.URL, c.Version, arch), Path: Expand(f.Path, c.Version, arch), SHA256: f.SHA256[arch]}
		if !f.archive() {
			out.Name = f.Name
			if out.Name == "" {
				out.Name = path.Base(out.From())
			}
		}
		fetches = append(fetches, out)
	}
	return fetches
}

func (f ReleaseFile) archive() bool {
	return slices.ContainsFunc(archives, func(end string) bool { return strings.HasSuffix(f.URL+f.Path, end) })
}
