package e2e

import (
	"context"
	"errors"
	"strings"

	"github.com/onsi/ginkgo/v2"

	"github.com/nodeimage/packer-plugin-nodeimage/e2e/cause"
	"github.com/nodeimage/packer-plugin-nodeimage/e2e/cluster"
	"github.com/nodeimage/packer-plugin-nodeimage/e2e/machine"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
)

// explained separates an assertion's message from the diagnosis.
const explained = "\n\ndiagnosis\n"

// fail ends the running spec with message and the diagnosis.
func (s *suite) fail(message string, callerSkip ...int) {
	skip := 1
	if len(callerSkip) > 0 {
		skip += callerSkip[0]
	}
	// What came of a broken host is not the image's failure. Of an error that
	// an assertion met, only the text is left.
	var met error
	if strings.Contains(message, machine.ErrConnection.Error()) {
		met = machine.ErrConnection
	}
	if reason := s.infrastructure(met); reason != nil {
		s.setInfra(reason)
		ginkgo.AbortSuite("no verdict: "+reason.Error(), skip)
	}
	explanation := s.explain()
	if reason := s.starved(); reason != nil {
		s.setInfra(reason)
		ginkgo.AbortSuite("no verdict: "+reason.Error(), skip)
	}
	ginkgo.Fail(message+explained+explanation, skip)
}

// starved returns why a failure is no verdict: this host did not let a machine
// run, and nothing that was seen is certain of another cause.
func (s *suite) starved() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.starvedLocked()
}

func (s *suite) starvedLocked() error {
	for _, f := range s.causes {
		if f.Confidence == cause.Certain {
			return nil
		}
	}
	for _, m := range s.booted {
		if text := m.Starved(); text != "" {
			return exitcode.Transient(errors.New(text))
		}
	}
	return nil
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
			s.notePodLogs(ctx, m)
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

// podLogsScript prints the end of each container's log of each pod, the latest
// runs only; each line names its pod and container.
const podLogsScript = `use strict; use warnings;
for my $dir (glob '/var/log/pods/*/*') {
    my ($pod, $container) = $dir =~ m{([^/_]*_[^/_]*)_[^/]*/([^/]*)$} or next;
    my @logs = sort { -M $b <=> -M $a } glob "$dir/*.log";
    for my $log (splice @logs, @logs > 2 ? -2 : 0) {
        open(my $fh, '<', $log) or next;
        seek($fh, -8192, 2);
        my @lines = <$fh>;
        print "$pod/$container: $_" for @lines > 40 ? @lines[-40..-1] : @lines;
    }
}
`

// notePodLogs notes what pods' containers last said. Where there are none, or
// the node does not answer, nothing is noted.
func (s *suite) notePodLogs(ctx context.Context, m vm) {
	if text, err := cluster.Perl(ctx, m, podLogsScript); err == nil {
		s.notes.add(cause.Pod, text)
	}
}

// list renders problems one a line.
func list(problems []string) string { return "  - " + strings.Join(problems, "\n  - ") }
