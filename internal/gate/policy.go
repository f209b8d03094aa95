// Package gate decides whether an image may be released: it passes only if
// signed, fresh statements about the very bytes at hand say that everything a
// policy asks for ran and passed.
package gate

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/attest"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/profiles"
)

// PolicyKind is the kind of a policy file; its version is profiles.APIVersion.
const PolicyKind = "GatePolicy"

// The statements besides test results that a policy may require.
const (
	provenanceName = "provenance"
	sbomName       = "sbom"
)

var predicateTypes = map[string]string{provenanceName: attest.TypeProvenance, sbomName: attest.TypeSBOM}

// Policy is a policy file that was read and found to be whole.
type Policy struct {
	PolicyFile

	maxAge, skew, soak time.Duration
	notBefore          time.Time
	expires            []time.Time // when each waiver has ended
	sha256             string      // of the file
}

// PolicyFile says what an image needs to be released.
type PolicyFile struct {
	APIVersion string `yaml:"apiVersion"`
	Kind       string `yaml:"kind"`
	Name       string `yaml:"name"`
	// Keys are those whose signatures count.
	Keys []Key `yaml:"keys"`
	// MaxAge is how long ago a suite may have ended and a statement may have
	// been signed.
	MaxAge string `yaml:"maxAge"`
	// ClockSkew is how far into the future a time may lie; none by default.
	ClockSkew string `yaml:"clockSkew"`
	// NotBefore is a day that has begun: a clock that says otherwise is wrong.
	NotBefore profiles.Date `yaml:"notBefore"`
	Require   Require       `yaml:"require"`
	Waivers   []Waiver      `yaml:"waivers"`
}

// Key is a key whose signatures count.
type Key struct {
	Name   string `yaml:"name"`
	SHA256 string `yaml:"sha256"` // attest.PublicKey's Fingerprint
}

// Require lists what must have run and passed.
type Require struct {
	Validate ValidateRequire `yaml:"validate"`
	E2E      E2ERequire      `yaml:"e2e"`
	// Statements are provenance and sbom.
	Statements []string `yaml:"statements"`
	// ProfileSHA256 is the effective profile's digest that the suites must
	// have judged the image against; any if empty.
	ProfileSHA256 string `yaml:"profileSHA256"`
}

// ValidateRequire lists checks by ID; a * stands for any text. Each must have
// at least one that passed, and none that did not.
type ValidateRequire struct {
	Checks []string `yaml:"checks"`
}

// E2ERequire lists specs by name; a * stands for any text.
type E2ERequire struct {
	Specs        []string `yaml:"specs"`
	Soak         string   `yaml:"soak"`         // at least
	Accelerators []string `yaml:"accelerators"` // kvm, tcg; any if empty
}

// Waiver accepts, for a time, that one spec or check did not pass.
type Waiver struct {
	Suite   string        `yaml:"suite"` // validate or e2e
	Test    string        `yaml:"test"`  // exact name
	Reason  string        `yaml:"reason"`
	Owner   string        `yaml:"owner"`
	Expires profiles.Date `yaml:"expires"` // the last day that it counts, in UTC
}

// LoadPolicy reads a policy file. Every problem is reported at once, with its
// line, as bad input. A policy that requires no test is one of them: nothing
// must pass by accident. Waivers that have ended are not: they are reasons to
// refuse an image.
func LoadPolicy(path string) (*Policy, error) {
	p := &Policy{}
	doc, err := profiles.ReadDocumentFile(path, "gate policy", &p.PolicyFile)
	if err != nil {
		return nil, exitcode.BadInput(err)
	}
	p.sha256 = doc.SHA256()
	p.check(doc)
	if err := doc.Err(); err != nil {
		return nil, exitcode.BadInput(err)
	}
	return p, nil
}

var (
	fingerprint = regexp.MustCompile(`^[0-9a-f]{64}$`)
	policyName  = regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$`)
)

// check reports what is wrong with the values and works out the rest.
func (p *Policy) check(doc *profiles.Document) {
	oneOf := func(at, found string, allowed ...string) {
		if !slices.Contains(allowed, found) {
			doc.Report(at, "found %q, expected %s", found, strings.Join(allowed, " or "))
		}
	}
	oneOf("apiVersion", p.APIVersion, profiles.APIVersion)
	oneOf("kind", p.Kind, PolicyKind)
	if !policyName.MatchString(p.Name) {
		doc.Report("name", "found %q, expected lower-case letters, digits, dots and hyphens", p.Name)
	}
	if len(p.Keys) == 0 {
		doc.Report("keys", "missing: expected at least one key, by the fingerprint that 'nodeimage keygen' prints")
	}
	seen := map[string]bool{}
	for i, k := range p.Keys {
		at := fmt.Sprintf("keys[%d]", i)
		if k.Name == "" {
			doc.Report(at+".name", "missing: expected whose key it is")
		}
		switch {
		case !fingerprint.MatchString(k.SHA256):
			doc.Report(at+".sha256", "found %q, expected the sha256 of the public key (DER) in 64 hexadecimal digits", k.SHA256)
		case seen[k.SHA256]:
			doc.Report(at+".sha256", "this key is listed already")
		}
		seen[k.SHA256] = true
	}
	p.maxAge = duration(doc, "maxAge", p.MaxAge, true)
	p.skew = duration(doc, "clockSkew", p.ClockSkew, false)
	if p.skew > attest.MaxSkew {
		doc.Report("clockSkew", "found %s, expected at most %s", p.ClockSkew, attest.MaxSkew)
	}
	if p.NotBefore != "" {
		p.notBefore = day(doc, "notBefore", p.NotBefore)
	}
	p.checkRequire(doc)
	p.checkWaivers(doc)
}

func (p *Policy) checkRequire(doc *profiles.Document) {
	r := p.Require
	if len(r.Validate.Checks)+len(r.E2E.Specs) == 0 {
		doc.Report("require", "requires no check and no spec, so that anything would pass: list require.e2e.specs, require.validate.checks or both")
	}
	for _, list := range []struct {
		at    string
		names []string
	}{{"require.validate.checks", r.Validate.Checks}, {"require.e2e.specs", r.E2E.Specs}} {
		for i, name := range list.names {
			if strings.Trim(name, "* ") == "" && name != "*" {
				doc.Report(fmt.Sprintf("%s[%d]", list.at, i), "found %q, expected a name", name)
			}
			if slices.Contains(list.names[:i], name) {
				doc.Report(fmt.Sprintf("%s[%d]", list.at, i), "%q is listed already", name)
			}
		}
	}
	p.soak = duration(doc, "require.e2e.soak", r.E2E.Soak, false)
	if r.E2E.Soak != "" && len(r.E2E.Specs) == 0 {
		doc.Report("require.e2e.soak", "there are no require.e2e.specs that it could be of")
	}
	for i, a := range r.E2E.Accelerators {
		if a != "kvm" && a != "tcg" {
			doc.Report(fmt.Sprintf("require.e2e.accelerators[%d]", i), "found %q, expected kvm or tcg", a)
		}
	}
	for i, s := range r.Statements {
		if predicateTypes[s] == "" {
			doc.Report(fmt.Sprintf("require.statements[%d]", i), "found %q, expected %s or %s", s, provenanceName, sbomName)
		}
	}
	if r.ProfileSHA256 != "" && !fingerprint.MatchString(r.ProfileSHA256) {
		doc.Report("require.profileSHA256", "found %q, expected 64 hexadecimal digits, as 'nodeimage plan' prints them", r.ProfileSHA256)
	}
}

func (p *Policy) checkWaivers(doc *profiles.Document) {
	for i, w := range p.Waivers {
		at := fmt.Sprintf("waivers[%d]", i)
		if w.Suite != attest.SuiteValidate && w.Suite != attest.SuiteE2E {
			doc.Report(at+".suite", "found %q, expected %s or %s", w.Suite, attest.SuiteValidate, attest.SuiteE2E)
		}
		for key, value := range map[string]string{"test": w.Test, "reason": w.Reason, "owner": w.Owner} {
			if strings.TrimSpace(value) == "" {
				doc.Report(at+"."+key, "missing: a waiver needs suite, test, reason, owner and expires")
			}
		}
		if strings.Contains(w.Test, "*") {
			doc.Report(at+".test", "found %q: expected the exact name of one test", w.Test)
		}
		for _, other := range p.Waivers[:i] {
			if other.Suite == w.Suite && other.Test == w.Test {
				doc.Report(at+".test", "%q has a waiver already", w.Test)
			}
		}
		p.expires = append(p.expires, day(doc, at+".expires", w.Expires).AddDate(0, 0, 1))
	}
}

// duration reads a positive duration; an optional one may be missing.
func duration(doc *profiles.Document, at, text string, required bool) time.Duration {
	if text == "" && !required {
		return 0
	}
	d, err := time.ParseDuration(text)
	if err != nil || d <= 0 {
		doc.Report(at, "found %q, expected a duration as 168h or 5m", text)
	}
	return d
}

func day(doc *profiles.Document, at string, d profiles.Date) time.Time {
	t, err := time.ParseInLocation(time.DateOnly, string(d), time.UTC)
	if err != nil {
		doc.Report(at, "found %q, expected a day as 2026-12-31", string(d))
	}
	return t
}

// keyName tells how the policy calls a key.
func (p *Policy) keyName(fingerprint string) (string, bool) {
	for _, k := range p.Keys {
		if k.SHA256 == fingerprint {
			return k.Name, true
		}
	}
	return "", false
}

// matches tells whether a name fits a pattern in which * stands for any text.
func matches(pattern, name string) bool {
	parts := strings.Split(pattern, "*")
	if len(parts) == 1 {
		return pattern == name
	}
	first, last := parts[0], parts[len(parts)-1]
	if !strings.HasPrefix(name, first) {
		return false
	}
	name = name[len(first):]
	for _, part := range parts[1 : len(parts)-1] {
		_, rest, found := strings.Cut(name, part)
		if !found {
			return false
		}
		name = rest
	}
	return strings.HasSuffix(name, last)
}
