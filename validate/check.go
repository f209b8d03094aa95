// Package validate looks into a node image, or the machine that one sits at,
// without booting, mounting or being root, and names what would break there:
// the file, the line, the key, what is in effect, what should be, how to mend
// it and the upstream thread.
//
//	t, err := target.Open(ctx, "debian-13.qcow2")
//	if err != nil { … }
//	defer t.Close()
//	report, err := validate.Run(ctx, t, profile, nil)
//
// A check never greps a file. It asks the models in the directories below for
// the effective configuration: what this containerd, this kubelet and this
// systemd make of all their files together.
package validate

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/nodeimage/packer-plugin-nodeimage/validate/source"
)

// Severity says what a broken check means for the verdict.
type Severity string

// The severities. A policy may change a check's severity.
const (
	Error   Severity = "error"   // the image fails
	Warning Severity = "warning" // reported; the image passes
	Ignore  Severity = "ignore"  // only from a policy: the check is not run
)

// Outcome is how one finding ended.
type Outcome string

// The outcomes. A check that found nothing wrong has one finding, a pass; one
// that was not run has one, a skip, whose Got says why.
const (
	Pass Outcome = "pass"
	Warn Outcome = "warn"
	Fail Outcome = "fail"
	Skip Outcome = "skip"
)

// Finding is one thing that a check has to say.
type Finding struct {
	ID       string   `json:"id"`
	Outcome  Outcome  `json:"outcome"`
	Severity Severity `json:"severity"`
	// File is the absolute path in the target, Line counts from 1 there (0:
	// the file as a whole), and Key is the setting as written in the file.
	File string   `json:"file"`
	Line int      `json:"line,omitempty"`
	Key  string   `json:"key"`
	Got  string   `json:"got"`
	Want string   `json:"want"`
	Fix  string   `json:"fix"` // a command, or a snippet for File
	See  []string `json:"see"` // URLs

	untold bool      // could not be told, so there is no verdict
	policy *Override // what gave it its severity
}

// at sets the place of a finding.
func (f Finding) at(p source.Position) Finding {
	f.File, f.Line = p.File, p.Line
	return f
}

// Check is one fault that can be seen in an image.
type Check struct {
	// ID is stable, kebab-case, and named after the fault.
	ID string
	// Title says in one line what is wrong when the check is red.
	Title string
	// Why says what happens on a node with the fault.
	Why string
	// Reads names what the check looks at.
	Reads string
	// Scope says in words which nodes the check is for; empty means every one.
	Scope string
	// Fix is the remedy in general; findings have one made to measure.
	Fix string
	// Severity of a finding that has none of its own.
	Severity Severity
	// References are issues (owner/repo#number) or URLs.
	References []string
	// AppliesTo returns the reason why the node has nothing to check, "" if
	// it has. A nil AppliesTo always applies.
	AppliesTo func(*Node) (reason string, err error)
	// Run returns what is wrong and nothing when all is well. An error means
	// that the check could not tell.
	Run func(context.Context, *Node) ([]Finding, error)
}

// URLs expands the references: owner/repo#number becomes GitHub's address.
func (c Check) URLs() []string {
	urls := make([]string, len(c.References))
	for i, r := range c.References {
		urls[i] = r
		if repo, number, ok := strings.Cut(r, "#"); ok && !strings.Contains(r, "://") {
			urls[i] = "https://github.com/" + repo + "/issues/" + number
		}
	}
	return urls
}

// problems checks that a catalogue is whole; the catalogue's test uses it.
func problems(catalogue []Check) []string {
	var found []string
	add := func(format string, args ...any) { found = append(found, fmt.Sprintf(format, args...)) }
	seen := map[string]bool{}
	for i, c := range catalogue {
		name := cmp.Or(c.ID, fmt.Sprintf("check %d", i+1))
		if seen[c.ID] {
			add("%s: listed twice", name)
		}
		seen[c.ID] = true
		if !isKebab(c.ID) {
			add("%s: id is not kebab-case", name)
		}
		for field, text := range map[string]string{"Title": c.Title, "Why": c.Why, "Reads": c.Reads, "Fix": c.Fix} {
			if strings.TrimSpace(text) == "" {
				add("%s: has no %s", name, field)
			}
		}
		if c.Severity != Error && c.Severity != Warning {
			add("%s: severity %q, want error or warning", name, c.Severity)
		}
		if len(c.References) == 0 {
			add("%s: has no reference", name)
		}
		for _, u := range c.URLs() {
			if !strings.HasPrefix(u, "https://") {
				add("%s: reference %q, want owner/repo#number or an https address", name, u)
			}
		}
		if (c.Scope == "") != (c.AppliesTo == nil) {
			add("%s: Scope and AppliesTo go together", name)
		}
		if c.Run == nil {
			add("%s: has no Run", name)
		}
	}
	slices.Sort(found)
	return found
}

func isKebab(id string) bool {
	for word := range strings.SplitSeq(id, "-") {
		if word == "" || strings.Trim(word, "abcdefghijklmnopqrstuvwxyz0123456789") != "" {
			return false
		}
	}
	return true
}
