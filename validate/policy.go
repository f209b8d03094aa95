package validate

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
)

// The version and kind of a policy file.
const (
	PolicyAPIVersion = "nodeimage.dev/v1alpha1"
	PolicyKind       = "ValidationPolicy"
)

// maxPolicy bounds a policy file, in bytes.
const maxPolicy = 1 << 20

// Policy changes the severity of checks for a time. The nil Policy changes nothing.
type Policy struct {
	overrides map[string]*Override
}

// Override is what a policy says about one check.
type Override struct {
	ID       string
	Severity Severity
	Reason   string
	Expires  Date // the last day that the entry counts
}

// Date is a day.
type Date struct{ time.Time }

func (d Date) String() string { return d.Format(time.DateOnly) }

func (p *Policy) of(id string) *Override {
	if p == nil {
		return nil
	}
	return p.overrides[id]
}

// LoadPolicy reads a policy file:
//
//	apiVersion: nodeimage.dev/v1alpha1
//	kind: ValidationPolicy
//	checks:
//	  - id: containerd-end-of-life
//	    severity: ignore          # error, warning or ignore
//	    reason: replaced with the next base image, ticket 4711
//	    expires: 2026-12-31       # the last day that it counts
//
// Every problem of the file is reported at once, with its line, as bad input:
// unknown keys and checks, a missing reason, and entries whose day has passed
// on the day of now.
func LoadPolicy(path string, now time.Time) (*Policy, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, exitcode.BadInput(fmt.Errorf("reading the policy: %w", err))
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxPolicy+1))
	if err != nil {
		return nil, exitcode.BadInput(fmt.Errorf("reading the policy: %w", err))
	}
	if len(data) > maxPolicy {
		return nil, exitcode.BadInput(fmt.Errorf("reading the policy %s: more than %d bytes", path, maxPolicy))
	}
	p, err := parsePolicy(path, data, now)
	return p, exitcode.BadInput(err)
}

func parsePolicy(path string, data []byte, now time.Time) (*Policy, error) {
	var doc struct {
		APIVersion string      `yaml:"apiVersion"`
		Kind       string      `yaml:"kind"`
		Checks     []yaml.Node `yaml:"checks"`
	}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	dec.KnownFields(true)
	if err := dec.Decode(&doc); err != nil {
		if errors.Is(err, io.EOF) {
			err = errors.New("is empty")
		}
		return nil, fmt.Errorf("policy %s: %w", path, err)
	}
	if err := dec.Decode(new(any)); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("policy %s: has a second document, want one", path)
	}
	var errs []error
	bad := func(line int, format string, args ...any) {
		errs = append(errs, fmt.Errorf("policy %s:%d: %s", path, line, fmt.Sprintf(format, args...)))
	}
	if doc.APIVersion != PolicyAPIVersion || doc.Kind != PolicyKind {
		bad(1, "apiVersion %q and kind %q, want %s and %s", doc.APIVersion, doc.Kind, PolicyAPIVersion, PolicyKind)
	}
	known := map[string]bool{}
	for _, c := range Catalogue() {
		known[c.ID] = true
	}
	p := &Policy{overrides: map[string]*Override{}}
	for _, node := range doc.Checks {
		var entry struct {
			ID       string `yaml:"id"`
			Severity string `yaml:"severity"`
			Reason   string `yaml:"reason"`
			Expires  string `yaml:"expires"`
		}
		if err := strict(&node, &entry); err != nil {
			bad(node.Line, "%v", err)
			continue
		}
		if !known[entry.ID] {
			bad(node.Line, "id: no check is called %q; 'nodeimage explain' lists them", entry.ID)
		}
		if p.overrides[entry.ID] != nil {
			bad(node.Line, "id: %s has an entry already", entry.ID)
		}
		switch Severity(entry.Severity) {
		case Error, Warning, Ignore:
		default:
			bad(node.Line, "severity: found %q, want error, warning or ignore", entry.Severity)
		}
		if strings.TrimSpace(entry.Reason) == "" {
			bad(node.Line, "reason: missing, want why %s is judged differently here", entry.ID)
		}
		day, err := time.ParseInLocation(time.DateOnly, entry.Expires, now.Location())
		if err != nil {
			bad(node.Line, "expires: found %q, want a day as 2026-12-31", entry.Expires)
		} else if !now.Before(day.AddDate(0, 0, 1)) {
			bad(node.Line, "expires: the entry for %s ended on %s; mend the image or decide anew", entry.ID, entry.Expires)
		}
		p.overrides[entry.ID] = &Override{entry.ID, Severity(entry.Severity), strings.TrimSpace(entry.Reason), Date{day}}
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return p, nil
}

// strict decodes a mapping whose keys must all be known and scalar.
func strict(n *yaml.Node, into any) error {
	if n.Kind != yaml.MappingNode {
		return errors.New("want a mapping with id, severity, reason and expires")
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i].Value
		if !slices.Contains([]string{"id", "severity", "reason", "expires"}, key) {
			return fmt.Errorf("unknown key %q, want id, severity, reason and expires", key)
		}
	}
	return n.Decode(into)
}
