// Package cause turns symptoms that a node shows into a named cause with the
// line that gives it away, what to change, and where upstream talks about it.
//
// A red spec that only says "expected 0 restarts, got 3" costs its reader an
// afternoon. The same texts nearly always come from the same few faults, so
// they are kept here as data: symptom, confidence, cause, fix.
package cause

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Source says where a line of evidence was read.
type Source string

// The sources that symptoms are tied to: a text means one thing in the kernel
// log and may mean nothing in an event.
const (
	Console Source = "console" // serial console of the machine
	Kernel  Source = "kernel"  // kernel log and audit records
	Journal Source = "journal" // units' logs: containerd, kubelet, …
	Pod     Source = "pod"     // logs of pods' containers
	Event   Source = "event"   // Kubernetes events, "namespace/pod Reason: message"
	Cgroup  Source = "cgroup"  // cgroup paths of containers, relative to /sys/fs/cgroup
	Config  Source = "config"  // effective configuration, "key = value"
	Kubeadm Source = "kubeadm" // kubeadm's output
	Fact    Source = "fact"    // something the suite established itself, in its own words
)

// Confidence says how much a symptom proves.
type Confidence int

// The degrees of confidence.
const (
	Possible Confidence = iota + 1 // fits, and so do others
	Likely                         // rarely anything else
	Certain                        // nothing else writes this line
)

func (c Confidence) String() string {
	switch c {
	case Certain:
		return "certain"
	case Likely:
		return "likely"
	default:
		return "possible"
	}
}

// Symptom is a text that a cause produces.
type Symptom struct {
	Source     Source
	Pattern    *regexp.Regexp
	Confidence Confidence
}

// Cause is one named fault.
type Cause struct {
	ID    string // stable, kebab-case
	Title string // one sentence: what is wrong
	Fix   string // what to change, as concretely as can be known
	See   []string
	// TellApart says what would separate this cause from others that show
	// the same symptoms; printed only while there is doubt.
	TellApart string
	// Fatal is how many lines that are certain of this cause prove that no
	// cluster comes up on the node, so that waiting longer is pointless: one
	// line may be a moment's bad luck, a restart loop is not. 0: never.
	Fatal    int
	Symptoms []Symptom
}

// confidence is how surely a line points to the cause, 0 if it does not.
func (c Cause) confidence(line Line) Confidence {
	best := Confidence(0)
	for _, s := range c.Symptoms {
		if s.Source == line.Source && s.Confidence > best && s.Pattern.MatchString(line.Text) {
			best = s.Confidence
		}
	}
	return best
}

// Line is one line of evidence.
type Line struct {
	Source Source `json:"source"`
	Text   string `json:"text"`
}

// Finding is a cause together with the strongest line that points to it.
type Finding struct {
	Cause      Cause
	Confidence Confidence
	Evidence   Line
	Count      int // lines that point to this cause
}

// Diagnose returns the causes that lines point to, the strongest first; causes
// of equal confidence keep the catalogue's order, which lists root causes
// before their consequences. It returns nil when nothing is recognised.
func Diagnose(catalogue []Cause, lines []Line) []Finding {
	var findings []Finding
	for _, c := range catalogue {
		f := Finding{Cause: c}
		for _, line := range lines {
			best := c.confidence(line)
			if best == 0 {
				continue
			}
			f.Count++
			if best > f.Confidence {
				f.Confidence, f.Evidence = best, line
			}
		}
		if f.Count > 0 {
			findings = append(findings, f)
		}
	}
	slices.SortStableFunc(findings, func(a, b Finding) int { return int(b.Confidence - a.Confidence) })
	return findings
}

// Lines splits text into lines of evidence from one source, without empty ones.
func Lines(source Source, text string) []Line {
	var lines []Line
	for l := range strings.Lines(text) {
		if l = strings.TrimRight(l, "\r\n"); strings.TrimSpace(l) != "" {
			lines = append(lines, Line{source, l})
		}
	}
	return lines
}

// maxEvidence bounds a printed line of evidence, in bytes.
const maxEvidence = 600

// Format renders findings for people. While the first one is certain, weaker
// ones are left out: they are its consequences. Otherwise all candidates are
// shown with what tells them apart.
func Format(findings []Finding) string {
	if len(findings) == 0 {
		return "cause: none that is known; the evidence folder holds console, journals, events, configuration and the cgroup tree\n"
	}
	certain := findings[0].Confidence == Certain
	var b strings.Builder
	for _, f := range findings {
		if certain && f.Confidence != Certain {
			break
		}
		fmt.Fprintf(&b, "cause: %s (%s): %s\n", f.Cause.ID, f.Confidence, f.Cause.Title)
		text := f.Evidence.Text
		if len(text) > maxEvidence {
			text = text[:maxEvidence] + "…"
		}
		fmt.Fprintf(&b, "  evidence: [%s] %s", f.Evidence.Source, text)
		if f.Count > 1 {
			fmt.Fprintf(&b, " (and %d more like it)", f.Count-1)
		}
		fmt.Fprintf(&b, "\n  fix: %s\n", f.Cause.Fix)
		if len(f.Cause.See) > 0 {
			fmt.Fprintf(&b, "  see: %s\n", strings.Join(f.Cause.See, ", "))
		}
		if !certain && f.Cause.TellApart != "" {
			fmt.Fprintf(&b, "  to be sure: %s\n", f.Cause.TellApart)
		}
	}
	return b.String()
}
