package e2e

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/onsi/ginkgo/v2"

	"github.com/nodeimage/packer-plugin-nodeimage/e2e/cause"
	"github.com/nodeimage/packer-plugin-nodeimage/e2e/machine"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/run"
)

// suite is one run: its machines, what they showed, and the verdict.
type suite struct {
	ctx      context.Context // of the whole run; machines and watchers end with it
	options  Options
	expected expectation
	notes    *notes
	progress *progress

	demands map[string]demand // by the text of the spec
	demand  demand            // of the specs that run

	before  *stage[string]    // the image's digest before anything ran
	host    vm                // attached before the specs; nil for an image
	leftOut map[string]string // why a spec does not run, by its text

	primary *stage[vm]
	facts   bootFacts // of the primary machine
	second  *stage[bootFacts]
	cluster *stage[*clusterState]
	config  *stage[containerdConfig]
	pods    *stage[*podsState]
	deleted *stage[*wave]

	mu     sync.Mutex
	booted []vm
	ended  map[vm]bool // machines that the suite itself ended
	infra  error
	// initReturned is when kubeadm init returned without an error.
	initReturned time.Time
	causes       map[string]cause.Finding
	measured     map[string]float64
	watchers     sync.WaitGroup
}

func newSuite(ctx context.Context, o Options, e expectation) *suite {
	s := &suite{
		ctx: ctx, options: o, expected: e, notes: newNotes(o.WitnessUntil), progress: newProgress(o.Progress),
		demands: map[string]demand{}, ended: map[vm]bool{}, leftOut: map[string]string{}, causes: map[string]cause.Finding{}, measured: map[string]float64{},
	}
	s.before = &stage[string]{name: "computing the image's digest", do: func(ctx context.Context) (string, error) {
		return machine.Digest(ctx, o.Image)
	}}
	s.primary = &stage[vm]{name: "booting the image under " + string(o.Firmware[0]), do: s.bootPrimary}
	if o.Host != nil {
		s.primary = &stage[vm]{name: "looking at the host", do: s.adopt}
	}
	if len(o.Firmware) > 1 {
		s.second = &stage[bootFacts]{name: "booting the image under " + string(o.Firmware[1]), do: s.bootSecond}
	}
	s.cluster = &stage[*clusterState]{name: "kubeadm init", do: s.startCluster}
	s.config = &stage[containerdConfig]{name: "reading containerd's effective configuration", do: s.readContainerdConfig}
	s.pods = &stage[*podsState]{name: "starting the test pods", do: s.startPods}
	s.deleted = &stage[*wave]{name: "deleting the test pods", do: s.deletePods}
	return s
}

// machines returns the machines that should be running.
func (s *suite) machines() []vm {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(s.booted), func(m vm) bool { return s.ended[m] })
}

// end kills a machine; its overlay is thrown away, so nothing needs a clean
// power-off, which takes an emulated machine half a minute.
func (s *suite) end(m vm) error {
	func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.ended[m] = true
	}()
	return m.Kill()
}

func (s *suite) setInfra(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.infra == nil {
		s.infra = err
	}
}

// measure records a figure for the report and the trend.
func (s *suite) measure(name string, value float64) {
	s.mu.Lock()
	s.measured[name] = value
	s.mu.Unlock()
	ginkgo.AddReportEntry(name, value, ginkgo.ReportEntryVisibilityNever)
}

func (s *suite) measureSince(name string, start time.Time) {
	s.measure(name+"-seconds", roundSeconds(time.Since(start)))
}

func roundSeconds(d time.Duration) float64 { return d.Round(100 * time.Millisecond).Seconds() }

func (s *suite) start(ctx context.Context, f machine.Firmware, memoryMiB int) (vm, error) {
	done := s.progress.step("booting under %s", f)
	m, err := s.options.boot(ctx, s.options.machine(f, memoryMiB))
	done(err)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	s.booted = append(s.booted, m)
	s.measured["boot-to-ssh-"+string(f)+"-seconds"] = roundSeconds(m.Report().BootToSSH)
	s.mu.Unlock()
	return m, nil
}

func (s *suite) bootPrimary(ctx context.Context) (vm, error) {
	m, err := s.start(ctx, s.options.Firmware[0], s.options.MemoryMiB)
	if err != nil {
		return nil, err
	}
	return m, s.settleIn(ctx, m)
}

// settleIn waits until the machine that the cluster runs on has booted, and
// begins to follow its logs.
func (s *suite) settleIn(ctx context.Context, m vm) error {
	// A cluster on a machine that is still booting would be slower than it
	// is, and "no failed unit" could not be told.
	done := s.progress.step("waiting for systemd to finish the boot")
	facts, err := readBootFacts(ctx, m)
	done(err)
	if err != nil {
		return err
	}
	s.facts = facts
	if err := machine.Quieten(ctx, m); err != nil {
		return err
	}
	s.watchers.Go(func() { s.follow(m, cause.Kernel, "_TRANSPORT=kernel", "_TRANSPORT=audit") })
	s.watchers.Go(func() { s.follow(m, cause.Journal, "--unit=containerd", "--unit=kubelet") })
	return nil
}

// secondMemoryMiB is enough to boot; no cluster runs there.
const secondMemoryMiB = 1536

// bootSecond boots the image under the second firmware. There is no cluster yet:
// beside one, two emulated processors were too few for both. The cluster lost
// its controller manager, or the boot took five times as long and systemd gave
// the disk up that it waited for.
func (s *suite) bootSecond(ctx context.Context) (bootFacts, error) {
	ctx, cancel := context.WithTimeout(ctx, bootLimit)
	defer cancel()
	m, err := s.start(ctx, s.options.Firmware[1], secondMemoryMiB)
	if err != nil {
		return bootFacts{}, err
	}
	facts, err := readBootFacts(ctx, m)
	s.collectJournal(m)
	return facts, errors.Join(err, s.end(m))
}

// follow notes what the journal has of some origin as it comes, over reboots,
// until the run or the machine ends.
func (s *suite) follow(m vm, source cause.Source, match ...string) {
	for s.ctx.Err() == nil && m.Err() == nil {
		// Its end is a reboot or the end of the run; both are handled here.
		_, _ = m.Run(s.ctx, run.Cmd{
			Argv:   append([]string{"journalctl", "--follow", "--boot", "--lines=all", "--output=short-monotonic", "--no-hostname"}, match...),
			Stdout: s.notes.writer(source),
		})
		select {
		case <-s.ctx.Done():
		case <-time.After(time.Second):
		}
	}
}

// close ends every machine that the suite booted. It is called at the end of the
// specs and again, for the case that they were cut short.
func (s *suite) close() error {
	var err error
	for _, m := range s.machines() {
		if m == s.host {
			continue // the cluster is still to be taken from it
		}
		err = errors.Join(err, s.end(m))
	}
	return err
}
