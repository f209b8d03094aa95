package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/onsi/ginkgo/v2"
	"golang.org/x/sync/errgroup"

	"github.com/nodeimage/packer-plugin-nodeimage/e2e/cluster"
)

const evidenceDir = "evidence"

// evidence writes a file for the report. Evidence that cannot be written is
// announced and does not change the verdict.
func (s *suite) evidence(name string, data []byte) {
	path := filepath.Join(s.options.OutputDir, evidenceDir, name)
	err := os.MkdirAll(filepath.Dir(path), 0o755)
	if err == nil {
		err = os.WriteFile(path, data, 0o644)
	}
	if err != nil {
		s.progress.say("evidence %s is lost: %v", name, err)
	}
}

// attach writes evidence and names it in the running spec's report; short
// evidence is shown there.
func (s *suite) attach(name string, data []byte) {
	s.evidence(name, data)
	const short = 4 << 10
	value := "see " + filepath.Join(evidenceDir, name)
	if len(data) <= short {
		value = string(data)
	}
	ginkgo.AddReportEntry(name, value, ginkgo.ReportEntryVisibilityFailureOrVerbose)
}

func (s *suite) attachText(name string, lines ...string) {
	s.attach(name, []byte(strings.Join(lines, "\n")+"\n"))
}

func (s *suite) attachJSON(name string, value any) {
	data, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		data = fmt.Appendf(nil, "%+v", value)
	}
	s.attach(name, append(data, '\n'))
}

func (s *suite) collectJournal(m vm) {
	ctx, cancel := context.WithTimeout(s.ctx, evidenceLimit)
	defer cancel()
	if m.Err() != nil {
		return // what it streamed until then is there
	}
	if _, err := m.CollectJournal(ctx); err != nil {
		s.progress.say("the journal of %s could not be collected whole: %v", m.Report().Firmware, err)
	}
}

// collect writes everything that may help somebody who was not there.
func (s *suite) collect() {
	if !s.primary.done || s.primary.err != nil {
		return
	}
	m := s.primary.value
	done := s.progress.step("collecting evidence")
	defer done(nil)
	if s.cluster.done && s.cluster.err == nil {
		c := s.cluster.value
		s.noteEvents(c)
		events, pods := c.recorder.Events(), c.recorder.Pods()
		s.writeJSON("events.json", events)
		s.writeJSON("pods.json", pods)
	}
	s.writeJSON("diagnosis-lines.json", s.notes.all())
	var group sync.WaitGroup
	group.Go(func() { s.collectJournal(m) })
	if m.Err() == nil {
		ctx, cancel := context.WithTimeout(s.ctx, evidenceLimit)
		defer cancel()
		s.collectNode(ctx, m)
	}
	group.Wait()
}

func (s *suite) writeJSON(name string, value any) {
	data, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		s.progress.say("evidence %s is lost: %v", name, err)
		return
	}
	s.evidence(name, append(data, '\n'))
}

// nodeEvidence maps evidence files to the commands that print them.
func nodeEvidence() map[string][]string {
	return map[string][]string{
		"node/containerd-config.toml":  {"containerd", "config", "dump"},
		"node/kubelet-config.yaml":     {"cat", "/var/lib/kubelet/config.yaml"},
		"node/kubeadm-flags.env":       {"cat", "/var/lib/kubelet/kubeadm-flags.env"},
		"node/units.txt":               {"systemctl", "cat", "containerd.service", "kubelet.service"},
		"node/unit-states.txt":         {"systemctl", "list-units", "--all", "--no-pager", "--plain"},
		"node/cgroups.txt":             {"systemd-cgls", "--no-pager", "--full"},
		"node/apparmor-profiles.txt":   {"cat", "/sys/kernel/security/apparmor/profiles"},
		"node/iptables.txt":            {"iptables-save"},
		"node/mounts.txt":              {"cat", "/proc/self/mountinfo"},
		"node/processes.txt":           {"ps", "-eo", "pid,ppid,label,cgroup,args"},
		"node/packages.txt":            {"dpkg-query", "--show"},
		"node/sysctl.txt":              {"sysctl", "--all"},
		"node/modules.txt":             {"cat", "/proc/modules"},
		"node/boot-times.txt":          {"systemd-analyze", "blame", "--no-pager"},
		"node/containerd-versions.txt": {"containerd", "--version"},
		"node/runc-version.txt":        {"runc", "--version"},
	}
}

// collectNode reads configuration and state from the node. A file or a command
// that a node does not have leaves its error in the evidence.
func (s *suite) collectNode(ctx context.Context, m vm) {
	if kubeconfig, err := m.ReadFile(ctx, cluster.AdminConfig); err == nil {
		if redacted, err := cluster.RedactKubeconfig(kubeconfig); err == nil {
			s.evidence("node/admin.conf", redacted)
		}
	}
	if out, err := cluster.Perl(ctx, m, podLogsScript); err == nil {
		s.evidence("node/pod-logs.txt", []byte(out))
	}
	var group errgroup.Group
	group.SetLimit(4)
	for name, argv := range nodeEvidence() {
		group.Go(func() error {
			out, err := cluster.Output(ctx, m, argv...)
			if err != nil {
				out += "\n" + err.Error() + "\n"
			}
			s.evidence(name, []byte(out))
			return nil
		})
	}
	_ = group.Wait() // none returns an error
}
