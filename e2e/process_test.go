package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/grpc"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/nodeimage/packer-plugin-nodeimage/e2e/bundle"
	"github.com/nodeimage/packer-plugin-nodeimage/e2e/machine"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/run"
)

// fakeVM answers from a table and knows no other command.
type fakeVM struct {
	dir     string
	console []machine.Finding
	answers map[string]func(run.Cmd) (run.Result, error)
	gone    error
	starved string
	report  machine.Report
}

func (m *fakeVM) Run(ctx context.Context, cmd run.Cmd) (run.Result, error) {
	line := strings.Join(cmd.Argv, " ")
	if cmd.Argv[len(cmd.Argv)-1] == "/run/containerd/containerd.sock" {
		return run.Result{}, serveFakeCRI(cmd)
	}
	if cmd.Stdin != nil {
		script, err := io.ReadAll(cmd.Stdin)
		if err != nil {
			return run.Result{}, err
		}
		switch {
		case string(script) == bootScript:
			line = "boot script"
		case strings.HasPrefix(string(script), "# Prints what runs in containers"):
			line = "probe script"
		case string(script) == podLogsScript:
			line = "pod logs script"
		case string(script) == hostScript:
			line = "host script"
		}
	}
	for prefix, answer := range m.answers {
		if strings.HasPrefix(line, prefix) {
			res, err := answer(cmd)
			if errors.Is(err, errEndless) {
				<-ctx.Done()
				err = context.Cause(ctx)
			}
			if err != nil {
				err = &run.Error{Where: "fake", Argv: cmd.Argv, Result: res, Err: err}
			}
			return res, err
		}
	}
	for _, endless := range []string{"journalctl --follow", "kubeadm init", "dpkg --print-architecture"} {
		if strings.HasPrefix(line, endless) {
			<-ctx.Done()
			return run.Result{}, &run.Error{Where: "fake", Argv: cmd.Argv, Err: context.Cause(ctx)}
		}
	}
	if line == "perl - "+machine.EmulatedTimerSlack {
		return run.Result{Stdout: "1\n"}, nil
	}
	fmt.Printf("UNEXPECTED COMMAND %s\n", line)
	return run.Result{ExitCode: 127}, &run.Error{Where: "fake", Argv: cmd.Argv, Err: errors.New("unexpected command")}
}

func (m *fakeVM) ReadFile(context.Context, string) ([]byte, error) { return nil, fs.ErrNotExist }
func (m *fakeVM) WriteFile(_ context.Context, _ string, _ fs.FileMode, content io.Reader) error {
	_, err := io.Copy(io.Discard, content)
	return err
}
func (m *fakeVM) Dial(context.Context, string, string) (net.Conn, error) {
	return nil, errors.New("unexpected dial")
}
func (m *fakeVM) BootID(context.Context) (string, error)           { return "boot", nil }
func (m *fakeVM) Reboot(context.Context) error                     { return errors.New("unexpected reboot") }
func (m *fakeVM) CollectJournal(context.Context) ([]string, error) { return nil, nil }
func (m *fakeVM) Report() machine.Report                           { return m.report }
func (m *fakeVM) Err() error                                       { return m.gone }
func (m *fakeVM) Dir() string                                      { return m.dir }
func (m *fakeVM) Starved() string                                  { return m.starved }
func (m *fakeVM) Kill() error                                      { return nil }
func (m *fakeVM) BootTimes(context.Context) (machine.BootTimes, error) {
	return machine.BootTimes{}, nil
}
func (m *fakeVM) ScanConsole(...machine.Allow) ([]machine.Finding, error) { return m.console, nil }

// serveFakeCRI is containerd behind the bridge: it serves one connection, the
// command's own streams.
func serveFakeCRI(cmd run.Cmd) error {
	server := grpc.NewServer()
	runtimeapi.RegisterImageServiceServer(server, fakeImageService{})
	conn := cmd.Stdin.(net.Conn) // the bridge is a pipe that is both
	listener := &oneConn{conn: make(chan net.Conn, 1), closed: make(chan struct{})}
	listener.conn <- conn
	return server.Serve(listener)
}

type fakeImageService struct {
	runtimeapi.UnimplementedImageServiceServer
}

func (fakeImageService) ListImages(context.Context, *runtimeapi.ListImagesRequest) (*runtimeapi.ListImagesResponse, error) {
	return &runtimeapi.ListImagesResponse{Images: []*runtimeapi.Image{{RepoTags: []string{fakeImage}}}}, nil
}

// fakeImage is the only one in the fake runtime's store.
const fakeImage = "registry.k8s.io/pause:3.10.2"

type oneConn struct {
	conn   chan net.Conn
	closed chan struct{}
}

func (l *oneConn) Accept() (net.Conn, error) {
	select {
	case c := <-l.conn:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}
func (l *oneConn) Close() error   { close(l.closed); return nil }
func (l *oneConn) Addr() net.Addr { return &net.UnixAddr{Name: "fake", Net: "unix"} }

func text(stdout string) func(run.Cmd) (run.Result, error) {
	return func(run.Cmd) (run.Result, error) { return run.Result{Stdout: stdout}, nil }
}

func fails(code int, stderr string) func(run.Cmd) (run.Result, error) {
	return func(run.Cmd) (run.Result, error) {
		return run.Result{ExitCode: code, Stderr: stderr}, fmt.Errorf("exit status %d", code)
	}
}

// follows prints lines and goes on until the run ends.
func follows(lines ...string) func(run.Cmd) (run.Result, error) {
	return func(cmd run.Cmd) (run.Result, error) {
		_, err := io.WriteString(cmd.Stdout, strings.Join(lines, "\n")+"\n")
		return run.Result{}, errors.Join(err, errEndless)
	}
}

// errEndless makes the fake machine wait for the end of the run.
var errEndless = errors.New("goes on")

// scenarios are whole runs against machines that do not exist.
func scenarios() map[string]Options {
	good := map[string]func(run.Cmd) (run.Result, error){
		"boot script":                   text(factsText),
		"test -x /sbin/apparmor_parser": text(""),
		"journalctl --boot":             text("containerd started\n"),
		"systemctl show":                text("KillMode=process\nDelegate=yes\nOOMScoreAdjust=-999\n"),
		"kubeadm config images list":    text(fakeImage + "\n"),
		"pod logs script":               text("kube-system_etcd/etcd: ready\n"),
	}
	for _, argv := range nodeEvidence() {
		good[strings.Join(argv, " ")] = text("")
	}
	with := func(key string, answer func(run.Cmd) (run.Result, error)) map[string]func(run.Cmd) (run.Result, error) {
		answers := map[string]func(run.Cmd) (run.Result, error){key: answer}
		for k, v := range good {
			if _, ok := answers[k]; !ok {
				answers[k] = v
			}
		}
		return answers
	}
	boots := func(m *fakeVM) bootFunc {
		m.report = machine.Report{Accel: machine.AccelTCG, CPUs: 2, MemoryMiB: 4096}
		return func(context.Context, machine.Options) (vm, error) { return m, nil }
	}
	// As after a cluster was removed.
	host := func(more map[string]func(run.Cmd) (run.Result, error), gone error) Options {
		more["host script"], more["perl - unix:///run/containerd/containerd.sock nodeimage-e2e localhost/nodeimage-e2e-workload:v1 /run/nodeimage-e2e"] = text(hostText), text("")
		more["true"] = func(run.Cmd) (run.Result, error) { return run.Result{}, gone }
		m := &fakeVM{answers: more, report: machine.Report{Accel: accelHost, AccelReason: "found up", CPUs: 2, MemoryMiB: 4096}}
		return Options{LabelFilter: "boot || kubeadm && smoke", Host: &Host{Attach: machine.AttachOptions{Target: "admin@node"}},
			attach: func(context.Context, machine.AttachOptions) (vm, error) { return m, nil }}
	}
	const bootOnly = "uefi && boot"
	return map[string]Options{
		"good": {LabelFilter: "uefi && boot && !image", boot: boots(&fakeVM{answers: good})},
		"cgroup v1": {LabelFilter: bootOnly, boot: boots(&fakeVM{
			answers: with("boot script", text(strings.Replace(factsText, "cgroup2fs", "tmpfs", 1)))})},
		"panic on the console": {LabelFilter: bootOnly, boot: boots(&fakeVM{answers: good,
			console: []machine.Finding{{ID: "kernel-panic", Line: 7, Text: "Kernel panic - not syncing: VFS: Unable to mount root fs"}}})},
		"never started": {LabelFilter: bootOnly, boot: func(context.Context, machine.Options) (vm, error) {
			return nil, exitcode.Transient(&machine.StateError{State: machine.ErrNeverStarted, Cause: "no accelerator"})
		}},
		"guest died": {LabelFilter: bootOnly, boot: func(context.Context, machine.Options) (vm, error) {
			return nil, exitcode.With(exitcode.Failed, &machine.StateError{State: machine.ErrGuestDied, Cause: "it panicked"})
		}},
		"kubeadm fails": {LabelFilter: "kubeadm && smoke", boot: boots(&fakeVM{
			answers: with("kubeadm version", fails(1, "kubeadm: cannot execute binary file"))})},
		// kubeadm init would go on for ever; the first look at the cgroups ends it.
		"failure A": {LabelFilter: "kubeadm && smoke", boot: boots(&fakeVM{
			answers: merged(with("kubeadm version", text("v1.34.3\n")), "probe script", text(mismatchProbe))})},
		// kubeadm would wait ten minutes for a kubelet that exits each ten seconds.
		"kubelet exits": {LabelFilter: "kubeadm && smoke", boot: boots(&fakeVM{
			answers: merged(merged(with("kubeadm version", text("v1.34.3\n")), "probe script", text("B\tboot\t9000\n")),
				"journalctl --follow --boot --lines=all --output=short-monotonic --no-hostname --unit", follows(
					"[   61.0] kubelet[700]: Error: failed to parse kubelet flag: unknown flag: --pod-infra-container-image",
					"[   72.0] kubelet[712]: Error: failed to parse kubelet flag: unknown flag: --pod-infra-container-image"))})},
		"image missing": {LabelFilter: "kubeadm && smoke", boot: boots(&fakeVM{
			answers: merged(with("kubeadm version", text("v1.34.3\n")), "kubeadm config images list", text("registry.k8s.io/etcd:3.7.0-0\n"+fakeImage+"\n"))})},
		"QEMU killed under a spec": {LabelFilter: "kubeadm && smoke", boot: boots(&fakeVM{
			answers: with("kubeadm version", fails(255, "connection lost")),
			gone:    exitcode.Transient(&machine.StateError{State: machine.ErrGuestDied, Cause: "QEMU was killed by signal 9"})})},
		// What looks broken on a host that did not run the machine need not be.
		"starved": {LabelFilter: "kubeadm && smoke", boot: boots(&fakeVM{
			answers: with("kubeadm version", fails(1, "kubeadm: i/o timeout")), starved: "for 10m0s this host was too busy"})},
		"starved, with a certain cause": {LabelFilter: "kubeadm && smoke", boot: boots(&fakeVM{
			answers: merged(with("kubeadm version", text("v1.34.3\n")), "probe script", text(mismatchProbe)), starved: "for 10m0s this host was too busy"})},
		"starved and good": {LabelFilter: "uefi && boot && !image", boot: boots(&fakeVM{answers: good, starved: "for 10m0s this host was too busy"})},
		// A command that did not run says nothing about what it was to look for.
		"parser not looked for": {LabelFilter: bootOnly, boot: boots(&fakeVM{
			answers: with("test -x /sbin/apparmor_parser", func(run.Cmd) (run.Result, error) { return run.Result{ExitCode: -1}, machine.ErrConnection })})},
		"named specs": {Specs: []string{"runs cgroup v2", "has AppArmor (on)", "has AppArmor on"}, FailFast: true, boot: boots(&fakeVM{
			answers: with("boot script", text(strings.Replace(factsText, "cgroup2fs", "tmpfs", 1)))})},
		"host with failure A":    host(merged(with("kubeadm version", text("v1.34.3\n")), "probe script", text(mismatchProbe)), nil),
		"host lost under a spec": host(with("kubeadm version", fails(255, "connection lost")), fmt.Errorf("%w: admin@node", machine.ErrConnection)),
		"host that is not asked": func() Options { o := host(good, nil); o.LabelFilter = "reboot || image"; return o }(),
		"no such spec":           {Specs: []string{"runs on Mars"}, boot: boots(&fakeVM{answers: good})},
		"nothing selected":       {LabelFilter: "no-such-label", boot: boots(&fakeVM{answers: good})},
	}
}

func merged(answers map[string]func(run.Cmd) (run.Result, error), key string, answer func(run.Cmd) (run.Result, error)) map[string]func(run.Cmd) (run.Result, error) {
	answers[key] = answer
	return answers
}

const mismatchProbe = "B\tboot\t9000\nR\tcpuset cpu memory pids\n" +
	"P\t910\t900\t1001\t/system.slice/kubepods-burstable-podd41d8cd98f00b204e9800998ecf8427e.slice:cri-containerd:0f3b9c2d7e1a4b5c6d7e8f9001122334455667788990aabbccddeeff00112233\tunconfined\tnet:[1]\tpause\t/pause\n" +
	"C\t/kubepods.slice\tcpu memory\n"

const (
	scenarioVariable = "NODEIMAGE_E2E_SCENARIO"
	dirVariable      = "NODEIMAGE_E2E_DIR"
)

// TestScenario is the other side of TestVerdicts: one run in its own process.
func TestScenario(t *testing.T) {
	name := os.Getenv(scenarioVariable)
	if name == "" {
		t.Skip("only TestVerdicts starts this")
	}
	o := scenarios()[name]
	dir := os.Getenv(dirVariable)
	o.OutputDir, o.Progress = filepath.Join(dir, "out"), os.Stdout
	if o.Host == nil {
		o.Image = filepath.Join(dir, "image.qcow2")
	}
	result, err := Run(context.Background(), o)
	fmt.Printf("ERROR %v\n", err)
	code := exitcode.Of(err)
	if err == nil && !result.Passed() {
		code = exitcode.Failed
	}
	if _, again := Run(context.Background(), o); !errors.Is(again, ErrSecondRun) {
		fmt.Printf("SECOND RUN %v\n", again)
	}
	os.Exit(code)
}

// Each way that a run can go ends in its verdict and exit code, and an
// infrastructure failure in none.
func TestVerdicts(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]struct {
		code    int
		verdict Verdict
		says    []string // in the output or the summary
	}{
		"good":                          {exitcode.OK, Passed, []string{"ok      boot boots under UEFI"}},
		"cgroup v1":                     {exitcode.Failed, Failed, []string{"kubelet-cgroup-v1", "fix: drop systemd.unified_cgroup_hierarchy=0", "ok      boot has AppArmor on"}},
		"panic on the console":          {exitcode.Failed, Failed, []string{`"id": "kernel-panic"`, "console line 7"}},
		"never started":                 {exitcode.Infrastructure, None, []string{"no accelerator"}},
		"guest died":                    {exitcode.Failed, Failed, []string{"it panicked", "blocked boot runs cgroup v2"}},
		"kubeadm fails":                 {exitcode.Failed, Failed, []string{"cannot execute binary file", "blocked kubeadm gets a node that becomes Ready"}},
		"failure A":                     {exitcode.Failed, Failed, []string{"cgroup-driver-mismatch (certain)", "slice:cri-containerd:", "cause: cgroup-driver-mismatch", "blocked kubeadm gets a node"}},
		"kubelet exits":                 {exitcode.Failed, Failed, []string{"kubelet-unknown-flag (certain)", "stopped early", "for the second time: [   72.0]", "blocked kubeadm gets a node"}},
		"image missing":                 {exitcode.Failed, Failed, []string{"image-not-preloaded (certain)", "image registry.k8s.io/etcd:3.7.0-0 that kubeadm needs is not", "blocked kubeadm gets a node"}},
		"QEMU killed under a spec":      {exitcode.Infrastructure, None, []string{"QEMU was killed by signal 9"}},
		"starved":                       {exitcode.Infrastructure, None, []string{"no verdict: for 10m0s this host was too busy"}},
		"starved, with a certain cause": {exitcode.Failed, Failed, []string{"cause: cgroup-driver-mismatch"}},
		"starved and good":              {exitcode.OK, Passed, []string{"ok      boot boots under UEFI"}},
		"parser not looked for":         {exitcode.Failed, Failed, []string{"no connection to the node", "cause: none that is known"}},
		"named specs":                   {exitcode.Failed, Failed, []string{"FAILED  boot runs cgroup v2", `"passed": 0`, `"failed": 1`, "cause: kubelet-cgroup-v1"}},
		"host with failure A": {exitcode.Failed, Failed, []string{
			"cause: cgroup-driver-mismatch", `"host": "admin@node"`, `"image": ""`, `"sha256": ""`, `"standIns": [`, "ok      boot runs cgroup v2",
			"skipped boot boots under UEFI with Secure Boot: not on a host that is up already: its firmware", "skipped boot boots under BIOS: not on a host",
			"skipped boot is the image that its manifest describes: not on a host that is up already: there is no image",
			"skipped boot grew its root file system: not on a host", "skipped boot gives two machines different identities: not on a host",
			`"cleanup": "the cluster and the test's files were removed"`}},
		"host lost under a spec": {exitcode.Infrastructure, None, []string{"the host does not answer, so nothing can be told about it"}},
		"host that is not asked": {exitcode.Usage, None, []string{"skipped reboot brings the node, the control plane and every pod back: not on a host that is up already: it needs a reboot, and that was not allowed", "no spec ran"}},
		"no such spec":           {exitcode.Usage, None, []string{"no spec ran"}},
		"nothing selected":       {exitcode.Usage, None, []string{"no spec ran"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "image.qcow2"), []byte("image"), 0o600); err != nil {
				t.Fatal(err)
			}
			cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestScenario$")
			cmd.Env = append(os.Environ(), scenarioVariable+"="+name, dirVariable+"="+dir)
			out, err := cmd.CombinedOutput()
			if code := cmd.ProcessState.ExitCode(); code != want.code {
				t.Errorf("exit code %d (%v), want %d\n%s", code, err, want.code, out)
			}
			summary, err := os.ReadFile(filepath.Join(dir, "out", SummaryFile))
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			var result Result
			if err := json.Unmarshal(summary, &result); err != nil {
				t.Fatal(err)
			}
			if result.Verdict != want.verdict || result.Schema != SummarySchema {
				t.Errorf("verdict %q, want %q\n%s", result.Verdict, want.verdict, out)
			}
			for _, s := range want.says {
				if !strings.Contains(string(out)+string(summary), s) {
					t.Errorf("%q is not said in\n%s\n%s", s, out, summary)
				}
			}
			for _, never := range []string{"UNEXPECTED COMMAND", "SECOND RUN"} {
				if strings.Contains(string(out), never) {
					t.Errorf("%s in\n%s", never, out)
				}
			}
			checkReports(t, filepath.Join(dir, "out"), result)
		})
	}
}

// checkReports sees that JUnit and JSON are there and agree with the summary.
func checkReports(t *testing.T, dir string, result Result) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, JUnitFile))
	if err != nil {
		t.Fatal(err)
	}
	var junit struct {
		Failures int `xml:"failures,attr"`
		Errors   int `xml:"errors,attr"`
	}
	if err := xml.Unmarshal(data, &junit); err != nil {
		t.Fatal(err)
	}
	if result.Verdict == Passed && junit.Failures+junit.Errors > 0 || result.Verdict == Failed && junit.Failures+junit.Errors == 0 {
		t.Errorf("the verdict is %s and JUnit has %d failures and %d errors", result.Verdict, junit.Failures, junit.Errors)
	}
	if _, known := result.Measured[FirstFailure]; known != (result.Verdict == Failed) {
		t.Errorf("the verdict is %s, and when it was known: %v", result.Verdict, result.Measured)
	}
	b, err := bundle.Read(t.Context(), filepath.Join(dir, BundleFile))
	switch {
	case result.Verdict != Failed && !errors.Is(err, fs.ErrNotExist):
		t.Errorf("there is a bundle of what did not fail: %v", err)
	case result.Verdict == Failed && (err != nil || !bytes.Contains(b.Summary, []byte(`"failed"`))):
		t.Errorf("the bundle: %v, summary %s", err, b.Summary)
	}
	data, err = os.ReadFile(filepath.Join(dir, ReportFile))
	if err != nil {
		t.Fatal(err)
	}
	if !json.Valid(data) {
		t.Error("report.json is no JSON")
	}
}
