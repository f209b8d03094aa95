package e2e

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nodeimage/packer-plugin-nodeimage/e2e/cause"
	"github.com/nodeimage/packer-plugin-nodeimage/e2e/cluster"
	"github.com/nodeimage/packer-plugin-nodeimage/e2e/machine"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
)

func TestJudgeTimes(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	end := func(gone, clean time.Duration, remains ...string) *outcome {
		o := &outcome{name: "trap", requested: start, remains: remains}
		if gone > 0 {
			o.gone = start.Add(gone)
		}
		if clean > 0 {
			o.clean = start.Add(clean)
		}
		return o
	}
	const grace, slack, nodeSlack = 5 * time.Second, 10 * time.Second, 20 * time.Second
	for _, tc := range []struct {
		name     string
		o        *outcome
		stubborn bool
		want     string // a part of the only problem; empty for none
	}{
		{"good", end(3*time.Second, 4*time.Second), false, ""},
		{"at the limit", end(15*time.Second, 16*time.Second), false, ""},
		{"late", end(16*time.Second, 17*time.Second), false, "was gone after 16.0s"},
		{"never", end(0, 0), false, "is still there"},
		{"stubborn", end(6*time.Second, 7*time.Second), true, ""},
		{"stubborn but gone early", end(2*time.Second, 3*time.Second), true, "something killed it before its grace period"},
		{"left behind", end(3*time.Second, 0, "cgroup /kubepods.slice/x"), false, "left on the node: cgroup /kubepods.slice/x"},
		{"not looked at", end(3*time.Second, 0), false, "the node was not looked at"},
		{"cleaned late", end(3*time.Second, 30*time.Second), false, "left the node 27.0s after"},
		{"cleaned before the API knew", end(6*time.Second, 5*time.Second), false, ""},
	} {
		got := judgeTimes(tc.o, start, grace, slack, nodeSlack, tc.stubborn)
		if tc.want == "" && len(got) > 0 || tc.want != "" && (len(got) != 1 || !strings.Contains(got[0], tc.want)) {
			t.Errorf("%s: got %q, want %q", tc.name, got, tc.want)
		}
	}
}

// What was left for long, but was not looked for, does not count.
func TestJudgeTimesFromTheFirstLook(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	o := &outcome{name: "trap", requested: start, gone: start.Add(3 * time.Second), clean: start.Add(50 * time.Second)}
	for looked, want := range map[time.Duration]int{0: 1, 40 * time.Second: 0, 20 * time.Second: 1} {
		if got := judgeTimes(o, start.Add(looked), 5*time.Second, 10*time.Second, 20*time.Second, false); len(got) != want {
			t.Errorf("looked at after %s: %q", looked, got)
		}
	}
}

func TestOnlyLate(t *testing.T) {
	t.Parallel()
	const late = `failed to "KillContainer" for "main" with KillContainerError: "rpc error: code = DeadlineExceeded desc = context deadline exceeded"`
	const reset = `failed to "KillContainer" for "main" with KillContainerError: "rpc error: code = DeadlineExceeded desc = stream terminated by RST_STREAM with error code: CANCEL"`
	const cancelled = `failed to "KillContainer" for "main" with KillContainerError: "rpc error: code = Canceled desc = stream terminated by RST_STREAM with error code: CANCEL"`
	const denied = `failed to "KillContainer" for "main" with KillContainerError: "rpc error: code = Unknown desc = failed to kill container: unknown error after kill: runc did not terminate successfully: exit status 1: unable to signal init: permission denied"`
	for message, want := range map[string]bool{
		"error killing pod: " + late:                              true,
		"error killing pod: [" + late + ", " + late + "]":         true,
		"error killing pod: [" + reset + ", " + late + "]":        true,
		"error killing pod: " + cancelled:                         false,
		"error killing pod: " + denied:                            false,
		"error killing pod: [" + late + ", " + denied + "]":       false,
		"error killing pod: failed to remove the pod's directory": false,
		"": false,
	} {
		if got := onlyLate(message); got != want {
			t.Errorf("%q: %t", message, got)
		}
	}
}

func TestLeftSandboxes(t *testing.T) {
	t.Parallel()
	w := &wave{outcomes: map[string]*outcome{
		"trap": {name: "trap", uid: "u1", gone: time.Now()}, "stuck": {name: "stuck", uid: "u2"},
	}}
	got := leftSandboxes(w, []cluster.Sandbox{{ID: "s1", UID: "u1"}, {ID: "s2", UID: "u2"}, {ID: "s3", UID: "u3"}})
	if len(got) != 1 || !strings.Contains(got[0], "of pod trap") {
		t.Errorf("got %q", got)
	}
}

const factsText = "state\trunning\nefi\tyes\nsecure-boot\tyes\ncgroup\tcgroup2fs\napparmor\tY\nmachine-id\t0123456789abcdef0123456789abcdef\n" +
	"product-uuid\tabc\nroot\t1B-blocks\nroot\t15032385536\ncmdline\troot=LABEL=root ro\nkernel\t6.12.57+deb13-amd64\nos\tDebian GNU/Linux 13 (trixie)\nend\t\n"

func TestParseBootFacts(t *testing.T) {
	t.Parallel()
	got, err := parseBootFacts(factsText)
	want := bootFacts{
		EFI: true, SecureBoot: true, CgroupFS: "cgroup2fs", AppArmorEnabled: true, SystemState: "running", MachineID: "0123456789abcdef0123456789abcdef",
		ProductUUID: "abc", RootBytes: 15032385536, CommandLine: "root=LABEL=root ro", KernelRelease: "6.12.57+deb13-amd64", OSRelease: "Debian GNU/Linux 13 (trixie)",
	}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v (-want +got)\n%s", err, diff)
	}
	bad, err := parseBootFacts(strings.Replace(factsText, "state\trunning", "state\tdegraded\nfailed\t● b.service loaded failed failed B\nfailed\ta.mount loaded failed failed A\nswap\t/dev/sda2 partition 1 0 -2", 1))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"a.mount", "b.service"}, bad.FailedUnits); diff != "" || len(bad.Swap) != 1 {
		t.Errorf("failed units (-want +got)\n%s swap %q", diff, bad.Swap)
	}
	s := &suite{}
	if problems := s.unitProblems(got); problems != nil {
		t.Errorf("a good boot has problems: %q", problems)
	}
	if problems := s.unitProblems(bad); len(problems) != 3 {
		t.Errorf("a bad boot has problems %q", problems)
	}
	for name, text := range map[string]string{"cut off": strings.TrimSuffix(factsText, "end\t\n"), "no size": strings.Replace(factsText, "15032385536", "?", 1)} {
		if _, err := parseBootFacts(text); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// The script must be Perl that runs, and print the keys that are read.
func TestBootScriptOnThisHost(t *testing.T) {
	t.Parallel()
	cmd := exec.Command("perl", "-")
	cmd.Stdin = strings.NewReader(bootScript)
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	got, err := parseBootFacts(string(out))
	if err != nil {
		t.Fatalf("%v in\n%s", err, out)
	}
	release, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		t.Fatal(err)
	}
	if got.KernelRelease != strings.TrimSpace(string(release)) || got.RootBytes == 0 || got.CgroupFS == "" {
		t.Errorf("got %+v", got)
	}
}

const denialText = `audit: type=1400 audit(1.2:3): apparmor="DENIED" operation="signal" class="signal" profile="cri-containerd.apparmor.d" pid=6528 comm="runc" requested_mask="receive" denied_mask="receive" signal=kill peer="runc"`

func TestNotes(t *testing.T) {
	t.Parallel()
	n := newNotes("")
	w := n.writer(cause.Kernel)
	for _, chunk := range []string{"[ 1.0] one\n[ 2.0] t", "wo\n[ 3.0] " + denialText[:40], denialText[40:] + "\n"} {
		if _, err := w.Write([]byte(chunk)); err != nil {
			t.Fatal(err)
		}
	}
	n.add(cause.Kernel, "[ 2.0] two") // after a reconnect the log is read again
	n.add(cause.Kernel, "[ 3.1] type=1400 "+denialText[strings.Index(denialText, "audit("):])
	if got := len(n.all()); got != 4 {
		t.Errorf("%d lines, want 4: %+v", got, n.all())
	}
	if got := n.containerDenials(); len(got) != 1 {
		t.Errorf("one denial by two ways gives %q", got)
	}
	select {
	case <-n.denied:
	default:
		t.Error("the denial that proves failure B is not announced")
	}
	quiet := newNotes("")
	quiet.add(cause.Kernel, `apparmor="DENIED" operation="open" profile="/usr/sbin/chronyd" name="/x" comm="chronyd"`)
	if got := quiet.containerDenials(); got != nil {
		t.Errorf("a service's denial counts as a container's: %q", got)
	}
	select {
	case <-quiet.denied:
		t.Error("a denial of something else proves failure B")
	default:
	}
}

func TestProgress(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	p := newProgress(&b)
	p.step("a moment")(nil)
	if b.Len() != 0 {
		t.Errorf("a moment is announced: %q", b.String())
	}
	done := p.step("kubeadm init %s", "v1.37.2")
	time.Sleep(quiet + 200*time.Millisecond)
	done(errors.New("x"))
	if got := b.String(); !strings.Contains(got, "kubeadm init v1.37.2 …\n") || !strings.Contains(got, "failed after") {
		t.Errorf("got %q", got)
	}
}

func TestResultJudge(t *testing.T) {
	t.Parallel()
	// Run returns no error with a verdict; what the verdict is worth as an
	// exit code is the caller's to say.
	never := exitcode.Transient(machine.ErrNeverStarted)
	for _, tc := range []struct {
		name   string
		counts Counts
		infra  error
		want   Verdict
		code   int
	}{
		{"all passed", Counts{Passed: 3, Skipped: 1}, nil, Passed, exitcode.OK},
		{"one failed", Counts{Passed: 3, Failed: 1}, nil, Failed, exitcode.OK},
		{"only blocked", Counts{Passed: 3, Blocked: 1}, nil, Failed, exitcode.OK},
		{"nothing ran", Counts{Excluded: 9}, nil, None, exitcode.Usage},
		{"only skipped", Counts{Skipped: 2}, nil, None, exitcode.Usage},
		{"no machine", Counts{Failed: 1}, never, None, exitcode.Infrastructure},
		{"cut off after passes", Counts{Passed: 9}, never, None, exitcode.Infrastructure},
		{"QEMU is missing", Counts{Failed: 1}, exitcode.BadInput(machine.ErrNeverStarted), None, exitcode.Usage},
		{"an infrastructure error with a verdict's code", Counts{Failed: 1}, exitcode.With(exitcode.Failed, errors.New("x")), None, exitcode.Infrastructure},
	} {
		r := Result{Counts: tc.counts}
		r.judge(tc.infra)
		if got := exitcode.Of(r.err(tc.infra)); r.Verdict != tc.want || got != tc.code {
			t.Errorf("%s: verdict %s, exit code %d, want %s, %d", tc.name, r.Verdict, got, tc.want, tc.code)
		}
		if r.Passed() != (tc.want == Passed) {
			t.Errorf("%s: passed is %v", tc.name, r.Passed())
		}
	}
}

func TestResultForPeople(t *testing.T) {
	t.Parallel()
	r := Result{
		Image: "debian-13.qcow2", SHA256: "abc", Counts: Counts{Passed: 1, Failed: 1, Blocked: 2},
		Specs: []Spec{
			{Name: "node image boot boots under UEFI", State: "passed"},
			{Name: "node image kubeadm init", State: "failed", Message: "one\ntwo"},
			{Name: "node image kubeadm node Ready", State: blocked, Message: "blocked: x"},
			{Name: "node image kubeadm version", State: "skipped", Message: "no manifest"},
		},
		Causes:   []Cause{{ID: "cgroup-driver-mismatch", Confidence: "certain"}, {ID: "disk-full", Confidence: "likely"}},
		Machines: []machine.Report{{Arch: machine.AMD64, Firmware: machine.UEFI, Accel: machine.AccelTCG, AccelReason: "KVM hangs", BootToSSH: 35 * time.Second}},
	}
	r.judge(nil)
	var b bytes.Buffer
	if err := r.WriteText(&b); err != nil {
		t.Fatal(err)
	}
	got := b.String()
	for _, want := range []string{"FAILED  kubeadm init\n          one\n          two\n", "amd64, uefi, tcg (KVM hangs)", "sha256:abc", "failed: 1 specs passed, 1 failed, 2 were blocked", "cause: cgroup-driver-mismatch, in"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is not in\n%s", want, got)
		}
	}
	for _, never := range []string{"FAILED  boot", "FAILED  kubeadm node", "FAILED  kubeadm version"} {
		if strings.Contains(got, never) {
			t.Errorf("%q is in\n%s", never, got)
		}
	}
}

// Once the cluster came up, no line leaves a run without hope: what a kubelet
// says while containerd restarts would.
func TestNotesGiveUpOnlyBeforeTheClusterIsUp(t *testing.T) {
	t.Parallel()
	lines := func(n *notes) {
		for _, at := range []string{"1", "2", "3"} {
			n.add(cause.Journal, "["+at+`] kubelet[7]: failed to find plugin "bridge" in path [/opt/cni/bin]`)
		}
	}
	n := newNotes("")
	lines(n)
	select {
	case <-n.hopeless:
		if n.proof.Cause.ID != "cni-plugin-missing" || n.proof.Count != 3 {
			t.Errorf("proof %+v", n.proof)
		}
	default:
		t.Error("three certain lines leave hope")
	}
	n = newNotes("")
	n.up()
	lines(n)
	select {
	case <-n.hopeless:
		t.Errorf("a cluster that came up is given up: %+v", n.proof)
	default:
	}
}

// A fault that is let go on is let go on until it shows itself, and no longer.
func TestWhileHopefulUntilShown(t *testing.T) {
	t.Parallel()
	s := &suite{notes: newNotes("Pod sandbox changed"), options: Options{Witness: true}}
	ctx, stop := s.whileHopeful(t.Context())
	defer stop()
	s.notes.add(cause.Event, "kube-system/etcd Started: container etcd")
	if ctx.Err() != nil {
		t.Error("ended by another line")
	}
	s.notes.add(cause.Event, "kube-system/etcd SandboxChanged: Pod sandbox changed, it will be killed and re-created.")
	<-ctx.Done()
	if err := context.Cause(ctx); !strings.Contains(err.Error(), "the fault showed itself, the event says: kube-system/etcd SandboxChanged") {
		t.Errorf("ended by %v", err)
	}
}

func TestWhileHopeful(t *testing.T) {
	t.Parallel()
	for _, witness := range []bool{false, true} {
		s := &suite{notes: newNotes(""), options: Options{Witness: witness}}
		ctx, stop := s.whileHopeful(t.Context())
		for _, at := range []string{"1", "2"} {
			s.notes.add(cause.Journal, "["+at+"] runc: seccomp: config provided but seccomp not supported")
		}
		if witness {
			if err := ctx.Err(); err != nil {
				t.Errorf("the fault shall show itself: %v", err)
			}
		} else {
			<-ctx.Done()
			var oracle *oracleError
			if !errors.As(context.Cause(ctx), &oracle) || !strings.Contains(oracle.Error(), "runc was built without seccomp") {
				t.Errorf("ended by %v", context.Cause(ctx))
			}
		}
		stop()
	}
}
