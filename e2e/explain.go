package e2e

import (
	"context"
	"strings"

	"github.com/onsi/ginkgo/v2"

	"github.com/nodeimage/packer-plugin-nodeimage/e2e/cause"
)

// explained separates an assertion's message from the diagnosis.
const explained = "\n\ndiagnosis\n"

// fail ends the running spec with message and the diagnosis.
func (s *suite) fail(message string, callerSkip ...int) {
	skip := 1
	if len(callerSkip) > 0 {
		skip += callerSkip[0]
	}
	// What came of a broken host is not the image's failure.
	if reason := s.infrastructure(nil); reason != nil {
		s.setInfra(reason)
		ginkgo.AbortSuite("no verdict: "+reason.Error(), skip)
	}
	ginkgo.Fail(message+explained+s.explain(), skip)
}

// explain names the causes that everything noted so far points to.
func (s *suite) explain() string {
	ctx, cancel := context.WithTimeout(s.ctx, explainLimit)
	defer cancel()
	s.noteLogs(ctx)
	findings := cause.Diagnose(cause.Catalogue(), s.notes.all())
	s.mu.Lock()
	for _, f := range findings {
		if f.Confidence >= s.causes[f.Cause.ID].Confidence {
			s.causes[f.Cause.ID] = f
		}
	}
	s.mu.Unlock()
	return cause.Format(findings)
}

// noteLogs fetches what a diagnosis may need and the suite does not follow all
// the time. What cannot be had is left out: it runs when things are broken.
func (s *suite) noteLogs(ctx context.Context) {
	if s.primary.done && s.primary.err == nil {
		m := s.primary.value
		if m.Err() == nil {
			if text, err := unitLog(ctx, m, 2000, "containerd", "kubelet"); err == nil {
				s.notes.add(cause.Journal, text)
			}
		}
	}
	if s.cluster.done && s.cluster.err == nil {
		s.noteEvents(s.cluster.value)
	}
	for _, m := range s.machines() {
		findings, err := m.ScanConsole()
		if err != nil {
			continue
		}
		for _, f := range findings {
			s.notes.add(cause.Console, f.Text)
		}
	}
}

// list renders problems one a line.
func list(problems []string) string { return "  - " + strings.Join(problems, "\n  - ") }
