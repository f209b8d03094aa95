package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/ginkgo/v2/formatter"
	"github.com/onsi/gomega"

	"github.com/nodeimage/packer-plugin-nodeimage/e2e/bundle"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/version"
)

// Files in Options.OutputDir.
const (
	JUnitFile   = "junit.xml"
	ReportFile  = "report.json"
	SummaryFile = "summary.json"
	// BundleFile is all of it in one archive, without secrets, if a spec failed.
	BundleFile = bundle.File
)

// ErrSecondRun says that this process has run the suite already; Ginkgo runs
// one suite a process and would end the process at the second.
var ErrSecondRun = errors.New("this process has run the suite already: start another one")

// testingT is all that Ginkgo wants of a test.
type testingT struct{}

func (testingT) Fail() {} // the verdict is read from the report

// Run judges an image. The error is nil when there is a verdict, which is the
// Result's. Else its exit code (package exitcode) is 2, the options or the
// host's programs are wrong, or 75, nothing could be told about the image. The
// Result is filled and its files are written whenever the suite began.
//
// Run can be called once a process.
func Run(ctx context.Context, o Options) (Result, error) { return RunTest(ctx, testingT{}, o) }

// once guards Ginkgo's rule of one suite a process, which Ginkgo itself
// enforces by ending the process.
var once atomic.Bool

// RunTest is Run for a caller that brings its own testing.T.
func RunTest(ctx context.Context, t ginkgo.GinkgoTestingT, o Options) (result Result, err error) {
	standIns := o.standIns()
	if err := o.validate(); err != nil {
		return Result{}, err
	}
	if o.Host == nil {
		if o.Arch, err = archOf(ctx, o.Arch, o.Image, o.Profile); err != nil {
			return Result{}, err
		}
	}
	o = o.withDefaults()
	if err := o.checkMachines(); err != nil {
		return Result{}, err
	}
	expected, err := expect(o.Image, o.Profile)
	if err != nil {
		return Result{}, err
	}
	// Before anything is touched: the results there may be the first run's.
	if once.Swap(true) {
		return Result{}, ErrSecondRun
	}
	if o.OutputDir, err = filepath.Abs(o.OutputDir); err != nil {
		return Result{}, exitcode.BadInput(fmt.Errorf("output directory: %w", err))
	}
	if err := os.MkdirAll(filepath.Join(o.OutputDir, evidenceDir), 0o755); err != nil {
		return Result{}, exitcode.BadInput(fmt.Errorf("making the output directory: %w", err))
	}
	// What an earlier run left must not be taken for this one's.
	for _, name := range []string{JUnitFile, ReportFile, SummaryFile, BundleFile} {
		if err := os.Remove(filepath.Join(o.OutputDir, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return Result{}, exitcode.BadInput(fmt.Errorf("removing an earlier result: %w", err))
		}
	}
	var host vm
	if o.Host != nil {
		to := o.Host.Attach
		to.Dir = o.hostEvidence()
		// Before anything runs: a host that cannot be judged is bad input.
		if host, err = o.attach(ctx, to); err != nil {
			return Result{}, err
		}
	}
	runCtx, cancel := context.WithCancel(ctx)
	s := newSuite(runCtx, o, expected)
	s.host = host
	result = Result{Schema: SummarySchema, Image: o.Image, Host: o.target(), Profile: expected.Profile, ProfileSHA256: expected.Digest,
		Tool: version.String(), StandIns: append(standIns, expected.StandIns...), LabelFilter: o.LabelFilter,
		Soak: o.Soak.String(), Started: time.Now().UTC()}
	defer func() {
		cancel()
		s.watchers.Wait() // one of them may just have booted a machine
		err = errors.Join(err, s.close())
		if host != nil {
			err = errors.Join(err, host.Kill()) // no spec may have asked for it
		}
	}()

	suiteConfig, reporterConfig := ginkgo.GinkgoConfiguration()
	suiteConfig.LabelFilter = o.LabelFilter
	suiteConfig.FocusStrings = o.focus()
	suiteConfig.FailFast = o.FailFast
	// Each spec and each stage has its own limit.
	suiteConfig.Timeout = 24 * time.Hour
	// A run whose filter selects nothing must not read as a pass.
	suiteConfig.FailOnEmpty = true
	suiteConfig.GracePeriod = evidenceLimit
	reporterConfig.JUnitReport = filepath.Join(o.OutputDir, JUnitFile)
	reporterConfig.JSONReport = filepath.Join(o.OutputDir, ReportFile)

	s.declare()
	s.learnSelection(ginkgo.PreviewSpecs(suiteName, suiteConfig))
	ginkgo.ReportAfterEach(func(report ginkgo.SpecReport) { s.tellSpec(report) })
	ginkgo.ReportAfterSuite("verdict", func(report ginkgo.Report) { result.add(report) })
	gomega.RegisterFailHandler(s.fail)

	// Ginkgo always writes to its own idea of standard output.
	defer func(out io.Writer) { formatter.ColorableStdOut = out }(formatter.ColorableStdOut)
	formatter.ColorableStdOut = o.Out
	ginkgo.RunSpecs(t, suiteName, suiteConfig, reporterConfig)

	result.Cleanup = s.resetHost()
	s.finish(&result)
	if writeErr := result.write(filepath.Join(o.OutputDir, SummaryFile)); writeErr != nil {
		return result, exitcode.Transient(writeErr)
	}
	if result.Verdict == Failed {
		// For whoever was not there: `nodeimage diagnose` reads it. A verdict
		// is one without it.
		if err := bundle.Pack(o.OutputDir, filepath.Join(o.OutputDir, BundleFile)); err != nil {
			s.progress.say("%v", err)
		}
	}
	return result, result.err(s.infra)
}

// finish completes the result with what the suite knows beyond its specs.
func (s *suite) finish(r *Result) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r.Seconds = roundSeconds(time.Since(r.Started))
	r.Measured = maps.Clone(s.measured)
	if !s.initReturned.IsZero() {
		r.Measured[InitReturned] = roundSeconds(s.initReturned.Sub(r.Started))
	}
	select {
	case <-s.notes.shown:
		r.Measured[Witnessed] = roundSeconds(s.notes.shownAt.Sub(r.Started))
	default:
	}
	r.SHA256 = s.before.value
	for _, m := range s.booted {
		r.Machines = append(r.Machines, m.Report())
	}
	for _, f := range s.causes {
		r.Causes = append(r.Causes, newCause(f))
	}
	if s.infra == nil && s.ctx.Err() != nil {
		s.infra = exitcode.Transient(fmt.Errorf("the run was cancelled: %w", context.Cause(s.ctx)))
	}
	// A spec that Ginkgo ended at its limit did not ask.
	if s.infra == nil && r.Counts.Failed > 0 {
		s.infra = s.starvedLocked()
	}
	r.judge(s.infra)
	if r.Verdict == Failed && !r.firstFailure.IsZero() {
		r.Measured[FirstFailure] = roundSeconds(r.firstFailure.Sub(r.Started))
	}
}
