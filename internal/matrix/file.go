package matrix

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/onsi/ginkgo/v2/types"

	"github.com/nodeimage/packer-plugin-nodeimage/e2e/cause"
	"github.com/nodeimage/packer-plugin-nodeimage/e2e/machine"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/profiles"
	"github.com/nodeimage/packer-plugin-nodeimage/validate"
)

// Kind is the kind of a matrix file; its version is profiles.APIVersion.
const Kind = "Matrix"

// Document is matrix.yaml.
type Document struct {
	APIVersion string `yaml:"apiVersion"`
	Kind       string `yaml:"kind"`
	Name       string `yaml:"name"`

	// The axes; their product is planned. Profiles are built-in names, or
	// paths from the matrix's own folder. An axis of versions that is empty
	// has each profile's own version, one of architectures each profile's, and
	// one of firmwares Secure Boot. A profile is for one architecture, so that
	// axis chooses among them.
	Profiles   []string `yaml:"profiles"`
	Kubernetes []string `yaml:"kubernetes"`
	Containerd []string `yaml:"containerd"`
	Runc       []string `yaml:"runc"`
	Arch       []string `yaml:"arch"`
	Firmware   []string `yaml:"firmware"`

	// Pins say where versions come from that are not a profile's own: by axis
	// (kubernetes, containerd, runc), by version, by component. A version of a
	// component whose source is release needs none if its sums come with this
	// program.
	Pins map[string]map[string]map[string]profiles.Component `yaml:"pins"`

	// Include adds single cells, Exclude takes cells of the product away.
	Include []Include `yaml:"include"`
	Exclude []Exclude `yaml:"exclude"`
	// KnownBad lists cells that must be red, each with its cause.
	KnownBad []KnownBadEntry `yaml:"knownBad"`

	Suite SuiteFile `yaml:"suite"`
}

// Selector matches cells. What is empty matches any; a version is a release
// (1.37.2) or a branch (1.37).
type Selector struct {
	Profile    string `yaml:"profile"`
	Kubernetes string `yaml:"kubernetes"`
	Containerd string `yaml:"containerd"`
	Runc       string `yaml:"runc"`
	Arch       string `yaml:"arch"`
	Firmware   string `yaml:"firmware"`
}

// Include is one more cell. What is empty is the profile's own.
type Include struct {
	Profile    string `yaml:"profile"`
	Kubernetes string `yaml:"kubernetes"`
	Containerd string `yaml:"containerd"`
	Runc       string `yaml:"runc"`
	Firmware   string `yaml:"firmware"`
}

// Exclude takes cells away, and says why.
type Exclude struct {
	Match  Selector `yaml:"match"`
	Reason string   `yaml:"reason"`
}

// KnownBadEntry says which cells must be red, and why.
type KnownBadEntry struct {
	Match   Selector      `yaml:"match"`
	Cause   string        `yaml:"cause"`
	Stage   string        `yaml:"stage"`
	Tracker string        `yaml:"tracker"`
	Reason  string        `yaml:"reason"`
	Expires profiles.Date `yaml:"expires"`
}

// SuiteFile says how each cell is judged.
type SuiteFile struct {
	// Stages are validate, e2e or both; both by default.
	Stages      []string `yaml:"stages"`
	Soak        string   `yaml:"soak"`
	LabelFilter string   `yaml:"labelFilter"`
}

// Matrix is a matrix file that was read and found to be whole, with its
// profiles.
type Matrix struct {
	Document
	Dir    string // the file's folder
	Path   string // the file
	SHA256 string // of its text

	profiles map[string]*profiles.Profile // by how the file names them
}

var (
	matrixName = regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$`)
	release    = regexp.MustCompile(`^[0-9]{1,4}\.[0-9]{1,4}\.[0-9]{1,4}$`)
	branch     = regexp.MustCompile(`^[0-9]{1,4}\.[0-9]{1,4}(\.[0-9]{1,4})?$`)
)

// Load reads a matrix file and the profiles that it names. All that is wrong
// with it comes back at once, as bad input.
func Load(path string) (*Matrix, error) {
	m := &Matrix{Path: path, Dir: filepath.Dir(path), profiles: map[string]*profiles.Profile{}}
	doc, err := profiles.ReadDocumentFile(path, "matrix", &m.Document)
	if err != nil {
		return nil, exitcode.BadInput(err)
	}
	m.SHA256 = doc.SHA256()
	problems := m.loadProfiles(doc)
	m.check(doc)
	if err := errors.Join(append(problems, doc.Err())...); err != nil {
		return nil, exitcode.BadInput(err)
	}
	return m, nil
}

// loadProfiles reads every profile that is named. A profile's own problems
// are returned; they have their own file and lines.
func (m *Matrix) loadProfiles(doc *profiles.Document) (problems []error) {
	called := map[string]string{}
	load := func(at, name string) {
		if _, done := m.profiles[name]; done || name == "" {
			return
		}
		path := name
		if strings.HasSuffix(name, ".yaml") && !filepath.IsAbs(name) {
			path = filepath.Join(m.Dir, name)
		}
		p, err := profiles.Load(path)
		if err != nil {
			var own profiles.Problems
			if errors.As(err, &own) {
				problems = append(problems, err)
				return
			}
			doc.Report(at, "%v", err)
			return
		}
		if other, taken := called[p.Name]; taken {
			doc.Report(at, "the profile is called %q, as %s is", p.Name, other)
		}
		called[p.Name] = name
		m.profiles[name] = p
	}
	for i, name := range m.Profiles {
		load(fmt.Sprintf("profiles[%d]", i), name)
	}
	for i, in := range m.Include {
		load(fmt.Sprintf("include[%d].profile", i), in.Profile)
	}
	return problems
}

func (m *Matrix) check(doc *profiles.Document) {
	oneOf := func(at, found string, allowed ...string) {
		if !slices.Contains(allowed, found) {
			doc.Report(at, "found %q, expected %s", found, strings.Join(allowed, " or "))
		}
	}
	oneOf("apiVersion", m.APIVersion, profiles.APIVersion)
	oneOf("kind", m.Kind, Kind)
	if !matrixName.MatchString(m.Name) {
		doc.Report("name", "found %q, expected lower-case letters, digits, dots and hyphens", m.Name)
	}
	if len(m.Profiles)+len(m.Include) == 0 {
		doc.Report("profiles", "missing: expected at least one profile, here or under include")
	}
	each := func(at string, list []string, check func(at, value string)) {
		for i, value := range list {
			here := fmt.Sprintf("%s[%d]", at, i)
			if slices.Contains(list[:i], value) {
				doc.Report(here, "%q is listed already", value)
			}
			if check != nil {
				check(here, value)
			}
		}
	}
	version := func(at, v string) {
		if !release.MatchString(v) {
			doc.Report(at, "found %q, expected a release such as 1.37.2", v)
		}
	}
	firmware := func(at, f string) { oneOf(at, f, firmwares()...) }
	each("profiles", m.Profiles, nil)
	each("kubernetes", m.Kubernetes, version)
	each("containerd", m.Containerd, version)
	each("runc", m.Runc, version)
	each("arch", m.Arch, func(at, a string) { oneOf(at, a, "amd64", "arm64") })
	each("firmware", m.Firmware, firmware)
	for i, in := range m.Include {
		at := fmt.Sprintf("include[%d]", i)
		if in.Profile == "" {
			doc.Report(at+".profile", "missing: expected a profile")
		}
		for key, v := range map[string]string{"kubernetes": in.Kubernetes, "containerd": in.Containerd, "runc": in.Runc} {
			if v != "" {
				version(at+"."+key, v)
			}
		}
		if in.Firmware != "" {
			firmware(at+".firmware", in.Firmware)
		}
	}
	for i, x := range m.Exclude {
		at := fmt.Sprintf("exclude[%d]", i)
		m.checkSelector(doc, at+".match", x.Match)
		if x.Reason == "" {
			doc.Report(at+".reason", "missing: expected why these cells are not run")
		}
	}
	for i, k := range m.KnownBad {
		m.checkKnownBad(doc, fmt.Sprintf("knownBad[%d]", i), k)
	}
	m.checkPins(doc)
	m.checkSuite(doc)
}

// Text is the file's text, if it still is what was read.
func (m *Matrix) Text() ([]byte, error) {
	text, err := os.ReadFile(m.Path)
	if err != nil {
		return nil, exitcode.BadInput(err)
	}
	if sum := sha256.Sum256(text); hex.EncodeToString(sum[:]) != m.SHA256 {
		return nil, exitcode.BadInput(fmt.Errorf("%s was changed while it was read", m.Path))
	}
	return text, nil
}

// Files returns the effective profiles that are files of their own, by path
// from the matrix's folder.
func (m *Matrix) Files() map[string]*profiles.Profile {
	files := map[string]*profiles.Profile{}
	for name, p := range m.profiles {
		if strings.HasSuffix(name, ".yaml") {
			files[name] = p
		}
	}
	return files
}

func firmwares() []string {
	var names []string
	for _, f := range machine.Firmwares() {
		names = append(names, string(f))
	}
	return names
}

func (m *Matrix) checkSelector(doc *profiles.Document, at string, s Selector) {
	if s == (Selector{}) {
		doc.Report(at, "matches every cell: expected at least one of profile, kubernetes, containerd, runc, arch and firmware")
	}
	for key, v := range map[string]string{"kubernetes": s.Kubernetes, "containerd": s.Containerd, "runc": s.Runc} {
		if v != "" && !branch.MatchString(v) {
			doc.Report(at+"."+key, "found %q, expected a release such as 1.37.2 or a branch such as 1.37", v)
		}
	}
}

func (m *Matrix) checkKnownBad(doc *profiles.Document, at string, k KnownBadEntry) {
	m.checkSelector(doc, at+".match", k.Match)
	switch Stage(k.Stage) {
	case StageValidate:
		if _, ok := validate.Find(k.Cause); !ok {
			doc.Report(at+".cause", "found %q, expected the ID of a check, as 'nodeimage explain' lists them", k.Cause)
		}
	case StageE2E:
		if !slices.ContainsFunc(cause.Catalogue(), func(c cause.Cause) bool { return c.ID == k.Cause }) {
			doc.Report(at+".cause", "found %q, expected the ID of a cause that the suite names, such as cgroup-driver-mismatch", k.Cause)
		}
	default:
		doc.Report(at+".stage", "found %q, expected %s or %s", k.Stage, StageValidate, StageE2E)
	}
	if !strings.HasPrefix(k.Tracker, "https://") {
		doc.Report(at+".tracker", "found %q, expected the https address of the issue where this is worked on", k.Tracker)
	}
	if _, err := time.Parse(time.DateOnly, string(k.Expires)); err != nil {
		doc.Report(at+".expires", "found %q, expected the last day that this counts, such as 2027-01-31", string(k.Expires))
	}
}

// pinned are the components that belong to an axis.
func pinned(axis string) []string {
	switch axis {
	case "kubernetes":
		return []string{"kubernetes", "etcd", "coredns", "pause", "control-plane", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy", "kube-proxy-base", "crictl"}
	case "containerd", "runc":
		return []string{axis}
	}
	return nil
}

func (m *Matrix) checkPins(doc *profiles.Document) {
	for axis, versions := range m.Pins {
		if pinned(axis) == nil {
			doc.Report("pins."+axis, "unknown axis; expected kubernetes, containerd or runc")
			continue
		}
		for version, components := range versions {
			at := fmt.Sprintf(`pins.%s["%s"]`, axis, version)
			if !release.MatchString(version) {
				doc.Report(at, "found %q, expected a release such as 1.37.2", version)
			}
			if got := components[axis].Version; got != version {
				doc.Report(at, "%s.version is %q, expected %q", axis, got, version)
			}
			for name := range components {
				if !slices.Contains(pinned(axis), name) {
					doc.Report(at+"."+name, "this component does not belong to the axis; expected some of %s", strings.Join(pinned(axis), ", "))
				}
			}
		}
	}
}

func (m *Matrix) checkSuite(doc *profiles.Document) {
	for i, s := range m.Suite.Stages {
		at := fmt.Sprintf("suite.stages[%d]", i)
		if s != string(StageValidate) && s != string(StageE2E) {
			doc.Report(at, "found %q, expected %s or %s", s, StageValidate, StageE2E)
		} else if slices.Contains(m.Suite.Stages[:i], s) {
			doc.Report(at, "%q is listed already", s)
		}
	}
	if len(m.Suite.Stages) > 0 && !slices.Contains(m.Suite.Stages, string(StageE2E)) && m.Suite.Soak+m.Suite.LabelFilter != "" {
		doc.Report("suite", "soak and labelFilter are for the stage e2e, which is not among the stages")
	}
	if d, err := time.ParseDuration(cmp.Or(m.Suite.Soak, "1s")); err != nil || d <= 0 {
		doc.Report("suite.soak", "found %q, expected a duration such as 5m", m.Suite.Soak)
	}
	if _, err := types.ParseLabelFilter(m.Suite.LabelFilter); err != nil {
		doc.Report("suite.labelFilter", "found %q: %v", m.Suite.LabelFilter, err)
	}
}

// suite is the file's with its defaults.
func (m *Matrix) suite() Suite {
	s := Suite{LabelFilter: m.Suite.LabelFilter}
	if m.Suite.Soak != "" {
		d, _ := time.ParseDuration(m.Suite.Soak) // checked
		s.Soak = d.String()
	}
	for _, stage := range []Stage{StageValidate, StageE2E} {
		if len(m.Suite.Stages) == 0 || slices.Contains(m.Suite.Stages, string(stage)) {
			s.Stages = append(s.Stages, stage)
		}
	}
	return s
}

// matches tells whether a cell is one of those that the selector means.
func (s Selector) matches(c Cell) bool {
	for _, pair := range [][2]string{{s.Profile, c.Profile}, {s.Arch, c.Arch}, {s.Firmware, c.Firmware}} {
		if pair[0] != "" && pair[0] != pair[1] {
			return false
		}
	}
	for _, pair := range [][2]string{{s.Kubernetes, c.Kubernetes}, {s.Containerd, c.Containerd}, {s.Runc, c.Runc}} {
		if pair[0] != "" && pair[0] != pair[1] && !strings.HasPrefix(pair[1], pair[0]+".") {
			return false
		}
	}
	return true
}
