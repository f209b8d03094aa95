package cause

import (
	"regexp"
	"strings"
	"testing"
)

// The texts below were recorded on real nodes and in the upstream issues that
// the catalogue refers to.
const (
	mismatchPath   = "/system.slice/kubepods-burstable-pod7d1c2b0b_0d5b_4c1e_a4b5_1d6a9a1c6e8f.slice:cri-containerd:0f3b9c2d7e1a4b5c6d7e8f9001122334455667788990aabbccddeeff00112233"
	cgroupfsPath   = "/kubepods/besteffort/pod7d1c2b0b-0d5b-4c1e-a4b5-1d6a9a1c6e8f/0f3b9c2d7e1a4b5c6d7e8f9001122334455667788990aabbccddeeff00112233"
	goodPath       = "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod7d1c2b0b_0d5b_4c1e_a4b5_1d6a9a1c6e8f.slice/cri-containerd-0f3b9c2d.scope"
	sandboxChanged = "kube-system/kube-proxy-abcde SandboxChanged: Pod sandbox changed, it will be killed and re-created."
	deniedRunc     = `audit: type=1400 audit(1722681443.231:255): apparmor="DENIED" operation="signal" class="signal" profile="cri-containerd.apparmor.d" pid=6528 comm="runc" requested_mask="receive" denied_mask="receive" signal=kill peer="runc"`
	deniedStacked  = `audit: type=1400 audit(1766681443.231:255): apparmor="DENIED" operation="signal" class="signal" profile="cri-containerd.apparmor.d" pid=77 comm="bao" requested_mask="send" denied_mask="send" signal=urg peer="cri-containerd.apparmor.d//&unconfined"`
	deniedUnix     = `audit: type=1400 audit(1766681443.231:256): apparmor="DENIED" operation="create" class="net" info="failed protocol match" error=-13 profile="cri-containerd.apparmor.d" pid=78 comm="x" family="unix" sock_type="stream"`
	failedKill     = `default/plain FailedKillPod: error killing pod: [failed to "KillContainer" for "nginx" with KillContainerError: "rpc error: code = Unknown desc = failed to kill container \"abc\": unknown error after kill: runc did not terminate successfully: exit status 1: unable to signal init: permission denied\n: unknown"]`
)

// A healthy node writes lines like these; none may name a cause.
var healthy = []Line{
	{Cgroup, goodPath},
	{Kernel, `audit: type=1400 audit(1.2:3): apparmor="STATUS" operation="profile_load" profile="unconfined" name="cri-containerd.apparmor.d" pid=5 comm="apparmor_parser"`},
	{Journal, `kubelet[812]: I1123 Using cgroup driver setting received from the CRI runtime" cgroupDriver="systemd"`},
	{Journal, `containerd[512]: time="2026-11-23T17:00:00Z" level=info msg="StartContainer for \"abc\" returns successfully"`},
	{Event, "kube-system/coredns-abc Pulled: Container image \"registry.k8s.io/coredns/coredns:v1.14.6\" already present on machine"},
	{Event, "e2e/trap Killing: Stopping container main"},
	{Config, `containerd handler "runc" (io.containerd.runc.v2): SystemdCgroup = true`},
	{Config, `kubelet cgroupDriver = "systemd"`},
	{Kubeadm, "[WARNING Hostname]: hostname \"node\" could not be reached"},
	{Kubeadm, "Your Kubernetes control-plane has initialized successfully!"},
	{Console, "[    7.700000] systemd[1]: Reached target multi-user.target - Multi-User System."},
	{Console, "[    0.000000] Linux version 6.12.57+deb13-amd64 (debian-kernel@lists.debian.org)"},
	{Fact, `AppArmor label of e2e/trap is "cri-containerd.apparmor.d (enforce)"`},
}

func TestDiagnoseRecordedFaults(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name       string
		line       Line
		want       string
		confidence Confidence
	}{
		{"A by path", Line{Cgroup, mismatchPath}, "cgroup-driver-mismatch", Certain},
		{"A by event only", Line{Event, sandboxChanged}, "cgroup-driver-mismatch", Possible},
		{"A reversed", Line{Event, `kube-system/etcd FailedCreatePodSandBox: expected cgroupsPath to be of format "slice:prefix:name" for systemd cgroups, got "/kubepods/burstable/pod1/abc" instead`}, "cgroup-driver-mismatch-reversed", Certain},
		{"the kubelet's tree alone", Line{Cgroup, "/kubepods/burstable"}, "cgroup-driver-cgroupfs", Likely},
		{"A of containerd 2", Line{Cgroup, cgroupfsPath}, "cgroup-driver-cgroupfs", Certain},
		{"A of containerd 2 in the log", Line{Journal, `kubelet[812]: I1123 11:00:00.000000 812 server.go:1500] "Using cgroup driver setting received from the CRI runtime" cgroupDriver="cgroupfs"`}, "cgroup-driver-cgroupfs", Certain},
		{"handler without the key", Line{Config, `containerd handler "nvidia" (io.containerd.runc.v2): SystemdCgroup is absent`}, "containerd-handler-without-systemd-cgroup", Certain},
		{"handler with a string", Line{Config, `containerd handler "runc" (io.containerd.runc.v2): SystemdCgroup is "true"`}, "containerd-handler-without-systemd-cgroup", Certain},
		{"B by audit", Line{Kernel, deniedRunc}, "apparmor-runc-signal-denied", Certain},
		{"B by event", Line{Event, failedKill}, "apparmor-runc-signal-denied", Likely},
		{"exec label", Line{Kernel, deniedStacked}, "apparmor-exec-label-stacked", Certain},
		{"unix sockets", Line{Kernel, deniedUnix}, "apparmor-unix-socket-denied", Certain},
		{"unconfined", Line{Fact, `AppArmor label of e2e/trap is "unconfined"`}, "apparmor-not-confining", Certain},
		{"CRI off", Line{Journal, `validate CRI v1 runtime API for endpoint "unix:///run/containerd/containerd.sock": rpc error: code = Unimplemented desc = unknown service runtime.v1.RuntimeService`}, "containerd-cri-disabled", Certain},
		{"CRI off, asked for images", Line{Fact, "listing images: rpc error: code = Unimplemented desc = unknown service runtime.v1.ImageService"}, "containerd-cri-disabled", Certain},
		{"pause image not there", Line{Fact, "containerd's sandbox image registry.k8s.io/pause:3.8 is not in the runtime's store"}, "sandbox-image-mismatch", Certain},
		{"image not there", Line{Fact, "image registry.k8s.io/etcd:3.7.0-0 that kubeadm needs is not in the runtime's store"}, "image-not-preloaded", Certain},
		{"resolver loop in the pod's log", Line{Pod, "kube-system_coredns-7d/coredns: 2026-11-24T12:00:00Z stdout F [FATAL] plugin/loop: Loop (127.0.0.1:41000 -> :53) detected for zone"}, "coredns-resolver-loop", Certain},
		{"config version", Line{Journal, "expected containerd config version equal to or less than `3`, got `4`"}, "containerd-config-version", Certain},
		{"ignored key", Line{Journal, `level=warning msg="Ignoring unknown key in TOML for plugin" key=containerd plugin=io.containerd.grpc.v1.cri`}, "containerd-config-ignored", Likely},
		{"no seccomp", Line{Event, "kube-system/etcd Failed: unable to init seccomp: seccomp: config provided but seccomp not supported"}, "runc-without-seccomp", Certain},
		{"ip_forward", Line{Kubeadm, "[ERROR FileContent--proc-sys-net-ipv4-ip_forward]: /proc/sys/net/ipv4/ip_forward contents are not set to 1"}, "ip-forward-off", Certain},
		{"swap", Line{Journal, "kubelet: running with swap on is not supported, please disable swap or set --fail-swap-on flag to false"}, "swap-enabled", Certain},
		{"image not preloaded", Line{Journal, `kubelet[812]: E1123 pod_workers.go:1] "Error syncing pod, skipping" err="failed to \"StartContainer\" for \"etcd\" with ErrImageNeverPull: \"Container image \\\"registry.k8s.io/etcd:3.7.0-0\\\" is not present with pull policy of Never\""`}, "image-not-preloaded", Certain},
		{"root as in the image", Line{Fact, "the root file system did not grow: it has 8374976512 bytes, on a disk of 15032385536"}, "root-did-not-grow", Certain},
		{"resolver loop", Line{Journal, "[FATAL] plugin/loop: Loop (127.0.0.1:41000 -> :53) detected for zone"}, "coredns-resolver-loop", Certain},
		{"inotify", Line{Journal, "failed to create fsnotify watcher: too many open files"}, "inotify-limit", Likely},
		{"cgroup v1", Line{Journal, "kubelet is configured to not run on a host using cgroup v1. cgroup v1 support is unsupported"}, "kubelet-cgroup-v1", Certain},
		{"panic", Line{Console, "[    3.1] Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)"}, "kernel-panic", Certain},
		{"cycle", Line{Console, "systemd[1]: basic.target: Found ordering cycle on sockets.target/start"}, "ordering-cycle", Certain},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			got := Diagnose(Catalogue(), append([]Line{tc.line}, healthy...))
			if len(got) == 0 {
				t.Fatalf("no cause named for %q", tc.line.Text)
			}
			if got[0].Cause.ID != tc.want || got[0].Confidence != tc.confidence {
				t.Errorf("got %s (%s), want %s (%s)", got[0].Cause.ID, got[0].Confidence, tc.want, tc.confidence)
			}
			if got[0].Evidence != tc.line {
				t.Errorf("evidence is %+v, want %+v", got[0].Evidence, tc.line)
			}
		})
	}
}

func TestDiagnoseHealthyNodeNamesNothing(t *testing.T) {
	t.Parallel()
	for _, f := range Diagnose(Catalogue(), healthy) {
		t.Errorf("%s named from %q", f.Cause.ID, f.Evidence.Text)
	}
}

func TestRootCauseComesBeforeConsequence(t *testing.T) {
	t.Parallel()
	got := Diagnose(Catalogue(), []Line{{Event, sandboxChanged}, {Event, sandboxChanged}, {Kernel, deniedRunc}, {Cgroup, mismatchPath}})
	if got[0].Cause.ID != "cgroup-driver-mismatch" || got[0].Count != 3 {
		t.Fatalf("first finding is %s with %d lines", got[0].Cause.ID, got[0].Count)
	}
	text := Format(got)
	for _, want := range []string{"cgroup-driver-mismatch (certain)", ".slice:cri-containerd:", "apparmor-runc-signal-denied (certain)", "SystemdCgroup = true", "kubernetes#110177"} {
		if !strings.Contains(text, want) {
			t.Errorf("report lacks %q:\n%s", want, text)
		}
	}
	if strings.Contains(text, "apparmor-denied (") {
		t.Errorf("a consequence is reported beside certain causes:\n%s", text)
	}
}

func TestDoubtSaysWhatTellsCausesApart(t *testing.T) {
	t.Parallel()
	text := Format(Diagnose(Catalogue(), []Line{{Event, sandboxChanged}}))
	if !strings.Contains(text, "(possible)") || !strings.Contains(text, "to be sure: ") {
		t.Errorf("doubt is not shown:\n%s", text)
	}
}

func TestFormatUnknown(t *testing.T) {
	t.Parallel()
	if got := Format(Diagnose(Catalogue(), healthy)); !strings.Contains(got, "none that is known") {
		t.Errorf("got %q", got)
	}
}

func TestCatalogueIsComplete(t *testing.T) {
	t.Parallel()
	kebab := regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)
	seen := map[string]bool{}
	for _, c := range Catalogue() {
		if !kebab.MatchString(c.ID) || seen[c.ID] {
			t.Errorf("ID %q is not kebab-case or not unique", c.ID)
		}
		seen[c.ID] = true
		if c.Title == "" || c.Fix == "" || len(c.Symptoms) == 0 {
			t.Errorf("%s lacks a title, a fix or symptoms", c.ID)
		}
	}
}

func TestLines(t *testing.T) {
	t.Parallel()
	got := Lines(Console, "one\r\n\n  \ntwo")
	if len(got) != 2 || got[0].Text != "one" || got[1].Text != "two" {
		t.Errorf("got %+v", got)
	}
}
