package e2e

import (
	"context"
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/onsi/ginkgo/v2"

	"github.com/nodeimage/packer-plugin-nodeimage/e2e/cluster"
	"github.com/nodeimage/packer-plugin-nodeimage/e2e/machine"
	"github.com/nodeimage/packer-plugin-nodeimage/e2e/workload"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/run"
)

// Host says which machine that is up already is judged, in the place of an
// image. kubeadm runs on it: it must be one that nobody needs.
type Host struct {
	// Attach says how to reach it. Its Dir is set by the suite.
	Attach machine.AttachOptions

	// AllowReboot lets the specs that need a reboot have it.
	AllowReboot bool

	// Keep leaves the cluster and the test's files on the machine. By default
	// they are removed at the end, whatever came out.
	Keep bool
}

// hostPlace names the machine where an image's are named by their firmware.
const hostPlace = "host"

// accelHost stands in a machine's report for what runs a host's instructions:
// something that the suite did not choose. A host that tells of QEMU without
// KVM is reported as emulated, since that makes it slow.
const accelHost machine.Accel = hostPlace

type attachFunc func(ctx context.Context, o machine.AttachOptions) (vm, error)

// attached is a host as the suite needs a machine. It is nobody's to kill, and
// has no console that the suite could read.
type attached struct {
	*machine.Guest
	report machine.Report
	dir    string
}

func (a *attached) Report() machine.Report { return a.report }
func (a *attached) Dir() string            { return a.dir }

// Err is nil: that the host does not answer is told when something fails, since
// it may answer again (see lost).
func (a *attached) Err() error { return nil }

// Kill ends the connections.
func (a *attached) Kill() error { return a.Close() }

// Starved knows nothing: how that machine's own host is, nobody can see from here.
func (a *attached) Starved() string { return "" }

// ScanConsole finds nothing. The specs about the console do not run on a host.
func (a *attached) ScanConsole(...machine.Allow) ([]machine.Finding, error) { return nil, nil }

// attachHost connects to a host and refuses one that the suite cannot judge or
// must not touch, before anything on it is changed.
func attachHost(ctx context.Context, o machine.AttachOptions) (vm, error) {
	begin := time.Now()
	guest, err := machine.Attach(ctx, o)
	if err != nil {
		return nil, err
	}
	a := &attached{Guest: guest, dir: o.Dir, report: machine.Report{SSH: o.Target, Started: begin.UTC()}}
	facts, err := readHostFacts(ctx, a)
	if err == nil {
		err = facts.refuse()
	}
	if err != nil {
		return nil, errors.Join(err, a.Close())
	}
	a.report.CPUs, a.report.MemoryMiB = facts.CPUs, facts.MemoryMiB
	a.report.Accel, a.report.AccelReason = accelHost, "found up; systemd-detect-virt says "+facts.Virtualization
	if facts.Virtualization == "qemu" { // what it calls QEMU without KVM
		a.report.Accel = machine.AccelTCG
	}
	return a, nil
}

// hostFacts is what is asked of a host before it is touched.
type hostFacts struct {
	CPUs, MemoryMiB int
	Virtualization  string   // as systemd-detect-virt has it
	Missing         []string // programs that the suite needs
	Leftovers       []string // files that a cluster left or is made of
}

// hostScript prints facts as "key<TAB>value". It changes nothing.
const hostScript = `use strict; use warnings;
sub fact { print join("\t", @_), "\n" }
my ($cpus, $kib) = (0, 0);
if (open(my $fh, '<', '/proc/cpuinfo')) { while (<$fh>) { $cpus++ if /^processor\s*:/ } }
if (open(my $fh, '<', '/proc/meminfo')) { while (<$fh>) { $kib = $1 if /^MemTotal:\s+(\d+)/ } }
fact('cpus', $cpus); fact('memory', int($kib / 1024));
my $virt = ` + "`systemd-detect-virt --vm 2>/dev/null`" + `; $virt = '' unless defined $virt; $virt =~ s/\s+$//; fact('virt', $virt);
for my $p (qw(kubeadm kubelet kubectl containerd ctr journalctl systemctl ip)) {
    fact('missing', $p) unless grep { -x "$_/$p" } split(/:/, $ENV{PATH}), qw(/usr/local/sbin /usr/local/bin /usr/sbin /usr/bin /sbin /bin);
}
for my $f (glob('/etc/kubernetes/*.conf /etc/kubernetes/manifests/*.yaml /etc/kubernetes/pki/*.key'), glob('/var/lib/etcd/member /var/lib/kubelet/pki/* /var/lib/nodeimage-e2e /run/nodeimage-e2e'),
    glob('/etc/cni/net.d/*.conf /etc/cni/net.d/*.conflist'), '/sys/class/net/cni0') { fact('left', $f) if -e $f }
print "end\t\n";
`

func readHostFacts(ctx context.Context, m run.Runner) (hostFacts, error) {
	out, err := cluster.Perl(ctx, m, hostScript)
	switch {
	case err == nil:
	case errors.Is(err, machine.ErrConnection):
		return hostFacts{}, exitcode.Transient(fmt.Errorf("looking at the host: %w", err))
	default:
		return hostFacts{}, exitcode.BadInput(fmt.Errorf("looking at the host: %w: expected perl, and for a user other than root sudo without a password", err))
	}
	facts, err := parseHostFacts(out)
	if err != nil {
		return facts, exitcode.Transient(err)
	}
	return facts, nil
}

func parseHostFacts(out string) (hostFacts, error) {
	var f hostFacts
	whole := false
	for l := range strings.Lines(out) {
		key, value, _ := strings.Cut(strings.TrimRight(l, "\n"), "\t")
		switch key {
		case "cpus":
			f.CPUs, _ = strconv.Atoi(value) // none is refused below
		case "memory":
			f.MemoryMiB, _ = strconv.Atoi(value)
		case "virt":
			f.Virtualization = value
		case "missing":
			f.Missing = append(f.Missing, value)
		case "left":
			f.Leftovers = append(f.Leftovers, value)
		case "end":
			whole = true
		}
	}
	if !whole || f.CPUs < 1 || f.MemoryMiB < 1 {
		return f, fmt.Errorf("looking at the host: its answer is cut off: %q", out)
	}
	return f, nil
}

// refuse returns everything that keeps the suite from touching this host.
func (f hostFacts) refuse() error {
	var problems []error
	if len(f.Missing) > 0 {
		problems = append(problems, fmt.Errorf("the host lacks %s: expected a machine that the provisioners made a node of", strings.Join(f.Missing, ", ")))
	}
	if len(f.Leftovers) > 0 {
		problems = append(problems, fmt.Errorf("the host has or had a cluster, there is %s: expected a node on which kubeadm never ran; nothing on it was changed", strings.Join(f.Leftovers, ", ")))
	}
	return exitcode.BadInput(errors.Join(problems...))
}

// lost returns an error with its exit code when err, or what the host does
// now, says that it cannot be reached: then nothing can be told about it.
func (s *suite) lost(err error) error {
	m := s.primary.value
	if s.options.Host == nil || m == nil {
		return nil
	}
	if !errors.Is(err, machine.ErrConnection) {
		ctx, cancel := context.WithTimeout(s.ctx, commandLimit)
		defer cancel()
		if _, err = m.Run(ctx, run.Cmd{Argv: []string{"true"}}); !errors.Is(err, machine.ErrConnection) {
			return nil
		}
	}
	return exitcode.Transient(fmt.Errorf("the host does not answer, so nothing can be told about it: %w", err))
}

// notOnHost records why the spec with this text says nothing about a machine
// that was up before the suite came, and returns the text. Such a spec is
// reported as skipped, with the reason.
func (s *suite) notOnHost(why, text string) string {
	if s.options.Host != nil {
		s.leftOut[text] = "not on a host that is up already: " + why
	}
	return text
}

// needingReboot is notOnHost for specs that need a reboot.
func (s *suite) needingReboot(text string) string {
	if s.options.Host != nil && s.options.Host.AllowReboot {
		return text
	}
	return s.notOnHost("it needs a reboot, and that was not allowed", text)
}

// skipLeftOut ends the running spec if it was left out.
func (s *suite) skipLeftOut() {
	if why := s.leftOut[ginkgo.CurrentSpecReport().LeafNodeText]; why != "" {
		ginkgo.Skip(why)
	}
}

// adopt is what bootPrimary is for a host: the machine is there.
func (s *suite) adopt(ctx context.Context) (vm, error) {
	m := s.host
	s.mu.Lock()
	s.booted = append(s.booted, m)
	s.mu.Unlock()
	return m, s.settleIn(ctx, m)
}

// resetLimit bounds the removal; kubeadm stops every container first.
const resetLimit = 10 * time.Minute

// resetHost takes the cluster from the host again and returns, for the result,
// what became of it.
func (s *suite) resetHost() string {
	if s.options.Host == nil || !s.cluster.done {
		return ""
	}
	if s.options.Host.Keep {
		return "kept, as asked: the cluster and the test's files are on the host"
	}
	// An interrupt ends the run and not this.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(s.ctx), resetLimit)
	defer cancel()
	done := s.progress.step("removing the cluster from the host")
	left, err := reset(ctx, s.primary.value)
	done(err)
	switch {
	case err != nil:
		return "the cluster could not be removed from the host: " + err.Error()
	case len(left) > 0:
		return "after kubeadm reset there is still " + strings.Join(left, ", ")
	}
	return "the cluster and the test's files were removed"
}

func reset(ctx context.Context, m vm) (left []string, err error) {
	err = cluster.Reset(ctx, m, workload.Namespace, workload.ImageName, path.Dir(workload.MarkerRoot))
	if err != nil {
		return nil, err
	}
	facts, err := readHostFacts(ctx, m)
	return facts.Leftovers, err
}

// hostEvidence is the directory of the host's own evidence.
func (o Options) hostEvidence() string { return filepath.Join(o.OutputDir, evidenceDir, hostPlace) }

// target is the host's address, empty for an image.
func (o Options) target() string {
	if o.Host == nil {
		return ""
	}
	return o.Host.Attach.Target
}
