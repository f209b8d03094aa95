package validate

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"time"

	"golang.org/x/mod/semver"
	"gopkg.in/yaml.v3"
)

//go:embed rules.yaml
var rulesYAML []byte

// Rules is what is known about versions, from rules.yaml.
type Rules struct {
	APIVersion      string               `yaml:"apiVersion"`
	Kind            string               `yaml:"kind"`
	Sources         map[string]Source    `yaml:"sources"`
	Faults          map[string]FaultRule `yaml:"faults"` // by check ID
	Vulnerabilities []Vulnerability      `yaml:"vulnerabilities"`
	Floors          map[string]Floor     `yaml:"floors"`
	Tested          []TestedPair         `yaml:"tested"`
}

// Source is where something was read, and when.
type Source struct {
	Title string `yaml:"title"`
	URL   string `yaml:"url"`
	Read  string `yaml:"read"` // a day
}

// FaultRule says which releases of a program have a fault.
type FaultRule struct {
	Program string      `yaml:"program"`
	Fixed   []string    `yaml:"fixed"` // see Vulnerability
	Kernel  KernelRange `yaml:"kernel"`
	Sources []string    `yaml:"sources"`
}

// KernelRange is where a fault shows; empty ends are open.
type KernelRange struct {
	From   string `yaml:"from"`
	Before string `yaml:"before"`
}

// Vulnerability is a hole and the releases that mended it.
type Vulnerability struct {
	ID         string `yaml:"id"`
	Program    string `yaml:"program"`
	Summary    string `yaml:"summary"`
	Low        bool   `yaml:"low"` // upstream rates it low, so it is a warning
	Introduced string `yaml:"introduced"`
	// Fixed is the first release of each branch with the fix, ascending. A
	// branch below the first never got it, one above the last always had it.
	Fixed    []string       `yaml:"fixed"`
	Packages []PackageState `yaml:"packages"`
	Sources  []string       `yaml:"sources"`
}

// PackageState is what was looked up about a distribution package.
type PackageState struct {
	Name    string `yaml:"name"`
	Version string `yaml:"version"` // the start of the package's version
	Fixed   bool   `yaml:"fixed"`
	Source  string `yaml:"source"`
}

// Floor is the lowest version that goes.
type Floor struct {
	Version string   `yaml:"version"`
	Sources []string `yaml:"sources"`
}

// TestedPair says that containerd, from this release of its branch on, was
// tested with that branch of runc.
type TestedPair struct {
	Containerd string   `yaml:"containerd"`
	Runc       string   `yaml:"runc"`
	Sources    []string `yaml:"sources"`
}

// testedRunc is the branch of runc that a containerd was tested with, branch
// if nothing is known of the release itself.
func (r *Rules) testedRunc(containerd, branch string) string {
	for _, t := range r.Tested { // ascending
		if branchOf(t.Containerd) == branchOf(containerd) && compare(containerd, t.Containerd) >= 0 {
			branch = t.Runc
		}
	}
	return branch
}

// LoadRules reads the built-in rules. An error means that this program was
// built with broken ones.
func LoadRules() (*Rules, error) { return parseRules(rulesYAML) }

func parseRules(data []byte) (*Rules, error) {
	r := &Rules{}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	dec.KnownFields(true)
	if err := dec.Decode(r); err != nil {
		return nil, fmt.Errorf("reading rules.yaml: %w", err)
	}
	if err := dec.Decode(new(any)); !errors.Is(err, io.EOF) {
		return nil, errors.New("reading rules.yaml: has a second document, want one")
	}
	c := rulesChecker{rules: r}
	c.check()
	if len(c.errs) > 0 {
		return nil, fmt.Errorf("reading rules.yaml: %w", errors.Join(c.errs...))
	}
	return r, nil
}

type rulesChecker struct {
	rules *Rules
	errs  []error
}

func (c *rulesChecker) bad(format string, args ...any) {
	c.errs = append(c.errs, fmt.Errorf(format, args...))
}

func (c *rulesChecker) check() {
	r := c.rules
	if r.APIVersion != PolicyAPIVersion || r.Kind != "ValidationRules" {
		c.bad("apiVersion %q and kind %q, want %s and ValidationRules", r.APIVersion, r.Kind, PolicyAPIVersion)
	}
	for id, s := range r.Sources {
		if s.Title == "" || !strings.HasPrefix(s.URL, "https://") {
			c.bad("sources.%s: want a title and an https url", id)
		}
		if _, err := time.Parse(time.DateOnly, s.Read); err != nil {
			c.bad("sources.%s.read: found %q, want a day", id, s.Read)
		}
	}
	for id, f := range r.Faults {
		at := "faults." + id
		c.program(at, f.Program)
		c.fixed(at, f.Fixed)
		c.cited(at, f.Sources)
		c.version(at+".kernel.from", f.Kernel.From)
		c.version(at+".kernel.before", f.Kernel.Before)
	}
	seen := map[string]bool{}
	for i, v := range r.Vulnerabilities {
		at := fmt.Sprintf("vulnerabilities[%d]", i)
		if !regexp.MustCompile(`^CVE-[0-9]{4}-[0-9]{4,7}$`).MatchString(v.ID) || seen[v.ID] {
			c.bad("%s.id: found %q, want a CVE that is not listed yet", at, v.ID)
		}
		seen[v.ID] = true
		c.program(at, v.Program)
		if v.Summary == "" {
			c.bad("%s.summary: missing", at)
		}
		c.version(at+".introduced", v.Introduced)
		if len(v.Fixed) == 0 {
			c.bad("%s.fixed: missing", at)
		}
		c.fixed(at, v.Fixed)
		c.cited(at, v.Sources)
		for _, p := range v.Packages {
			if p.Name == "" || p.Version == "" {
				c.bad("%s.packages: want name and version", at)
			}
			c.cited(at+".packages", []string{p.Source})
		}
	}
	for name, f := range r.Floors {
		c.version("floors."+name, f.Version)
		c.cited("floors."+name, f.Sources)
	}
	for i, t := range r.Tested {
		at := fmt.Sprintf("tested[%d]", i)
		if !semver.IsValid("v"+t.Containerd) || i > 0 && compare(t.Containerd, r.Tested[i-1].Containerd) <= 0 {
			c.bad("%s.containerd: found %q, want releases as 1.7.24, ascending", at, t.Containerd)
		}
		if t.Runc == "" || branchOf(t.Runc) != t.Runc {
			c.bad("%s.runc: found %q, want a branch as 1.2", at, t.Runc)
		}
		c.cited(at, t.Sources)
	}
}

func (c *rulesChecker) program(at, name string) {
	if !slices.Contains([]string{"containerd", "runc", "kubelet"}, name) {
		c.bad("%s.program: found %q, want containerd, runc or kubelet", at, name)
	}
}

func (c *rulesChecker) cited(at string, ids []string) {
	if len(ids) == 0 {
		c.bad("%s.sources: missing", at)
	}
	for _, id := range ids {
		if _, ok := c.rules.Sources[id]; !ok {
			c.bad("%s.sources: no source is called %q", at, id)
		}
	}
}

func (c *rulesChecker) version(at, v string) {
	if v != "" && !semver.IsValid("v"+v) {
		c.bad("%s: found %q, want a version as 1.7.31 or 2.0.0-rc.2", at, v)
	}
}

func (c *rulesChecker) fixed(at string, versions []string) {
	for i, v := range versions {
		if !semver.IsValid("v" + v) {
			c.bad("%s.fixed: found %q, want a version as 1.7.31 or 2.0.0-rc.2", at, v)
		} else if i > 0 && (compare(v, versions[i-1]) <= 0 || branchOf(v) == branchOf(versions[i-1])) {
			c.bad("%s.fixed: %s after %s, want one release a branch, ascending", at, v, versions[i-1])
		}
	}
}

// urls lists the addresses of sources.
func (r *Rules) urls(ids []string) []string {
	out := make([]string, len(ids))
	for i, id := range ids {
		out[i] = r.Sources[id].URL
	}
	return out
}

var versionStart = regexp.MustCompile(`^v?([0-9]+)\.([0-9]+)(?:\.([0-9]+))?((?:-|~)(?:alpha|beta|rc)[.0-9]*)?`)

// plain turns a version as programs and packages print it into one that can be
// compared: 1.7.24~ds1-6+deb13u1 is 1.7.24, 2.0.0~rc.2 is 2.0.0-rc.2, kernel
// 6.12.48+deb13-amd64 is 6.12.48. "" if it is none.
func plain(v string) string {
	m := versionStart.FindStringSubmatch(v)
	if m == nil {
		return ""
	}
	if m[3] == "" {
		m[3] = "0"
	}
	return m[1] + "." + m[2] + "." + m[3] + strings.Replace(strings.TrimRight(m[4], "."), "~", "-", 1)
}

// compare orders two versions. What is no version comes first.
func compare(a, b string) int { return semver.Compare("v"+plain(a), "v"+plain(b)) }

// branchOf is the first two numbers of a version.
func branchOf(v string) string { return strings.TrimPrefix(semver.MajorMinor("v"+plain(v)), "v") }

// has tells whether a release has a fix, by the first fixed release of each branch.
func has(fixed []string, version string) bool {
	if len(fixed) == 0 {
		return false
	}
	for _, f := range fixed {
		if branchOf(f) == branchOf(version) {
			return compare(version, f) >= 0
		}
	}
	return compare(branchOf(version), branchOf(fixed[len(fixed)-1])) > 0
}

// covers tells whether a kernel release lies in the range.
func (k KernelRange) covers(release string) bool {
	return (k.From == "" || compare(release, k.From) >= 0) && (k.Before == "" || compare(release, k.Before) < 0)
}
