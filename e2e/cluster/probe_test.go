package cluster

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestProbeScriptOnThisHost(t *testing.T) {
	t.Parallel()
	cmd := exec.Command("perl", "-")
	cmd.Stdin = strings.NewReader(probeScript)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("perl: %v", err)
	}
	got, err := parseProbe(string(out))
	if err != nil {
		t.Fatal(err)
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		t.Fatal(err)
	}
	if got.BootID != strings.TrimSpace(string(boot)) {
		t.Errorf("boot ID is %q, want %q", got.BootID, boot)
	}
	if got.Ticks == 0 {
		t.Error("no time since boot")
	}
}

const probeText = "B\tboot-1\t9000\nR\tcpuset cpu memory pids\n" +
	"P\t812\t1\t900\t/system.slice/containerd.service\tunconfined\tnet:[1]\tcontainerd\t/usr/bin/containerd\n" +
	"P\t900\t1\t1000\t/system.slice/containerd.service\tunconfined\tnet:[1]\tcontainerd-shim\t/usr/bin/containerd-shim-runc-v2 -namespace k8s.io -id " + id2 + " -address /run/containerd/containerd.sock\n" +
	"P\t910\t900\t1001\t" + goodBE + "/cri-containerd-" + id2 + ".scope\tunconfined\tnet:[4026532281]\tpause\t/pause\n" +
	"P\t920\t900\t1002\t" + goodPath + "\tcri-containerd.apparmor.d (enforce)\tnet:[4026532281]\tperl\tperl /workload.pl\n" +
	"C\t/kubepods.slice\tcpu memory\nC\t" + goodBE + "\tcpu memory\nC\t" + goodPath + "\tcpu memory\n" +
	"M\t/run/netns/cni-1\tnet:[4026532281]\tnsfs\n" +
	"M\t/run/netns/cni-2\tnet:[4026532282]\tnsfs\n" +
	"M\t/var/lib/kubelet/pods/" + podUID + "/volumes/kubernetes.io~projected/kube-api-access\t/\ttmpfs\n"

func TestTracesAndRemains(t *testing.T) {
	t.Parallel()
	before, err := parseProbe(probeText)
	if err != nil {
		t.Fatal(err)
	}
	traces := before.TracesOf(podUID)
	want := Traces{UID: podUID, IDs: []string{id1, id2}, NetNS: []string{"/run/netns/cni-1"}}
	if diff := cmp.Diff(want, traces); diff != "" {
		t.Fatalf("traces (-want +got)\n%s", diff)
	}
	left := before.Remains(traces)
	for _, part := range []string{"process 910 (pause)", "process 920 (perl)", "shim 900", "cgroup " + goodBE, "mount /run/netns/cni-1", "mount /var/lib/kubelet/pods/" + podUID} {
		if !strings.Contains(strings.Join(left, "\n"), part) {
			t.Errorf("remains lack %q:\n%s", part, strings.Join(left, "\n"))
		}
	}
	if strings.Contains(strings.Join(left, "\n"), "cni-2") {
		t.Errorf("another pod's network namespace is called a remain: %q", left)
	}

	// Another pod may get the freed inode number; only the mount counts.
	after, err := parseProbe("B\tboot-1\t9000\nR\tcpu\nC\t/kubepods.slice\tcpu\nM\t/run/netns/cni-3\tnet:[4026532281]\tnsfs\n")
	if err != nil {
		t.Fatal(err)
	}
	if left := after.Remains(traces); left != nil {
		t.Errorf("a pod that is gone leaves %q", left)
	}
}

func TestParseProbeRefusesNonsense(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"empty":          "",
		"cut off":        "R\tcpu\n",
		"unknown record": "B\tb\t1\nX\t1\n",
		"short record":   "B\tb\t1\nP\t1\t2\n",
		"no uptime":      "B\tb\tx\n",
		"no number":      "B\tb\t1\nP\tone\t1\t1\t/\t\t\tc\tc\n",
	} {
		if _, err := parseProbe(text); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestSurvivors(t *testing.T) {
	t.Parallel()
	before := state(nil, goodPath, "/system.slice/containerd.service")
	after := state(nil, goodPath)
	if lost := Survivors(before, after); lost != nil {
		t.Errorf("nothing was lost, got %q (only container processes count)", lost)
	}
	after.Processes[0].Start++ // the PID was used again
	if lost := Survivors(before, after); len(lost) != 1 {
		t.Errorf("a replaced process is not noticed: %q", lost)
	}
	after = state(nil)
	if lost := Survivors(before, after); len(lost) != 1 {
		t.Errorf("a container's first process that is gone is not noticed: %q", lost)
	}
	after.BootID = "other"
	if lost := Survivors(before, after); len(lost) != 1 || !strings.Contains(lost[0], "rebooted") {
		t.Errorf("a reboot is not named: %q", lost)
	}
}

// kube-proxy's ip6tables, caught in its two seconds, is no victim of a restart;
// a worker that had run for minutes is.
func TestSurvivorsByAge(t *testing.T) {
	t.Parallel()
	helper := Process{PID: 300, PPID: 100, Start: 100_000, Cgroup: goodPath, Comm: "ip6tables"}
	worker := Process{PID: 301, PPID: 100, Start: 6, Cgroup: goodPath, Comm: "worker"}
	before := state(nil, goodPath)
	before.Ticks = 100_200
	before.Processes = append(before.Processes, helper, worker)
	lost := Survivors(before, state(nil, goodPath))
	if len(lost) != 1 || !strings.Contains(lost[0], "process 301 (worker)") {
		t.Errorf("got %q, want the worker alone", lost)
	}
}

func TestParseDenial(t *testing.T) {
	t.Parallel()
	line := `audit: type=1400 audit(1722681443.231:255): apparmor="DENIED" operation="signal" class="signal" profile="cri-containerd.apparmor.d" pid=6528 comm="runc" requested_mask="receive" denied_mask="receive" signal=kill peer="runc"`
	got, ok := ParseDenial(line)
	want := Denial{Operation: "signal", Profile: "cri-containerd.apparmor.d", Comm: "runc", Peer: "runc", Signal: "kill", Requested: "receive", Line: line}
	if diff := cmp.Diff(want, got); !ok || diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if !got.OfContainer() || !got.BlocksTermination() {
		t.Error("the denial that blocks termination is not recognised")
	}
	for _, other := range []string{
		`audit: type=1400 apparmor="STATUS" operation="profile_load" name="cri-containerd.apparmor.d"`,
		"containerd started",
	} {
		if _, ok := ParseDenial(other); ok {
			t.Errorf("%q is called a denial", other)
		}
	}
	chrony, _ := ParseDenial(`apparmor="DENIED" operation="open" profile="/usr/sbin/chronyd" name="/x" comm="chronyd"`)
	if chrony.OfContainer() || chrony.BlocksTermination() {
		t.Error("a denial to a service of the node is counted as a container's")
	}
}
