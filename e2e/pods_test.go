package e2e

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodeimage/packer-plugin-nodeimage/e2e/cause"
	"github.com/nodeimage/packer-plugin-nodeimage/e2e/cluster"
)

func TestLabelProblems(t *testing.T) {
	t.Parallel()
	const uid = "7d1c2b0b-0d5b-4c1e-a4b5-1d6a9a1c6e8f"
	path := "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod" + strings.ReplaceAll(uid, "-", "_") + ".slice/cri-containerd-" + strings.Repeat("0", 64) + ".scope"
	process := func(comm, label string) cluster.Process {
		return cluster.Process{PID: 7, Comm: comm, Cgroup: path, AppArmor: label}
	}
	for name, tc := range map[string]struct {
		processes []cluster.Process
		want      string
	}{
		"confined":   {[]cluster.Process{process("pause", "unconfined"), process("perl", wantLabel)}, ""},
		"unconfined": {[]cluster.Process{process("perl", "unconfined")}, `is "unconfined", expected "cri-containerd.apparmor.d (enforce)"`},
		"complain":   {[]cluster.Process{process("perl", "cri-containerd.apparmor.d (complain)")}, `(complain)`},
		"off":        {[]cluster.Process{process("perl", "")}, `is ""`},
		"one of two": {[]cluster.Process{process("perl", wantLabel), process("sleep", "unconfined")}, "(sleep)"},
		"only pause": {[]cluster.Process{process("pause", "unconfined")}, "has no process on the node"},
	} {
		s := &suite{notes: newNotes("")}
		got := s.labelProblems(cluster.NodeState{Processes: tc.processes}, "trap", uid)
		if tc.want == "" && len(got) > 0 || tc.want != "" && (len(got) != 1 || !strings.Contains(got[0], tc.want)) {
			t.Errorf("%s: got %q, want %q", name, got, tc.want)
		}
		named := cause.Diagnose(cause.Catalogue(), s.notes.all())
		if wantCause := name == "unconfined" || name == "off" || name == "one of two"; wantCause != (len(named) == 1 && named[0].Cause.ID == "apparmor-not-confining") {
			t.Errorf("%s: causes %+v", name, named)
		}
	}
}

func TestPodReason(t *testing.T) {
	t.Parallel()
	status := func(s corev1.ContainerState) *corev1.Pod {
		return &corev1.Pod{Status: corev1.PodStatus{Phase: "Pending", ContainerStatuses: []corev1.ContainerStatus{{Name: "main", State: s}}}}
	}
	for _, tc := range []struct {
		pod  *corev1.Pod
		want string
	}{
		{status(corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ErrImageNeverPull", Message: "x"}}), " (main: ErrImageNeverPull x)"},
		{status(corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{Reason: "Error", ExitCode: 3}}), " (main: Error, exit code 3)"},
		{status(corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}), ""},
		{&corev1.Pod{Status: corev1.PodStatus{Phase: "Pending"}}, " (Pending, no container yet)"},
	} {
		if got := podReason(tc.pod); got != tc.want {
			t.Errorf("got %q, want %q", got, tc.want)
		}
	}
}

func TestTrimScheme(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{"containerd://abc": "abc", "abc": "abc", "": ""} {
		if got := trimScheme(in); got != want {
			t.Errorf("%q: got %q", in, got)
		}
	}
}

func TestEventLines(t *testing.T) {
	t.Parallel()
	at := metav1.NewTime(time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC))
	got := eventLines([]cluster.EventRecord{{Namespace: "kube-system", Name: "etcd", Reason: "SandboxChanged", Message: "m", Count: 3, Last: at.Time}})
	if len(got) != 1 || got[0] != "kube-system/etcd SandboxChanged: m (3 times, last at 12:00:00)" {
		t.Errorf("got %q", got)
	}
}
