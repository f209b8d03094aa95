package cluster

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const (
	id1      = "0f3b9c2d7e1a4b5c6d7e8f9001122334455667788990aabbccddeeff00112233"
	id2      = "1f3b9c2d7e1a4b5c6d7e8f9001122334455667788990aabbccddeeff00112233"
	podUID   = "7d1c2b0b-0d5b-4c1e-a4b5-1d6a9a1c6e8f"
	podUIDu  = "7d1c2b0b_0d5b_4c1e_a4b5_1d6a9a1c6e8f"
	static   = "d41d8cd98f00b204e9800998ecf8427e"
	goodBE   = "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod" + podUIDu + ".slice"
	badPath  = "/system.slice/kubepods-besteffort-pod" + podUIDu + ".slice:cri-containerd:" + id1
	fsPath   = "/kubepods/besteffort/pod" + podUID + "/" + id1
	goodPath = goodBE + "/cri-containerd-" + id1 + ".scope"
)

func TestParseCgroup(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		path string
		want Placement
		ok   bool
	}{
		{goodPath, Placement{DriverSystemd, podUID, id1, goodPath}, true},
		{goodPath + "/init", Placement{DriverSystemd, podUID, id1, goodPath}, true},
		{"/kubepods.slice/kubepods-pod" + podUIDu + ".slice/cri-containerd-" + id1 + ".scope", Placement{DriverSystemd, podUID, id1, "/kubepods.slice/kubepods-pod" + podUIDu + ".slice/cri-containerd-" + id1 + ".scope"}, true},
		{"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" + static + ".slice/cri-containerd-" + id1 + ".scope", Placement{DriverSystemd, static, id1, "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" + static + ".slice/cri-containerd-" + id1 + ".scope"}, true},
		{fsPath, Placement{DriverCgroupfs, podUID, id1, fsPath}, true},
		{"/kubepods/pod" + podUID + "/" + id1, Placement{DriverCgroupfs, podUID, id1, "/kubepods/pod" + podUID + "/" + id1}, true},
		{badPath, Placement{DriverMismatch, podUID, id1, badPath}, true},
		{"/system.slice/containerd.service", Placement{}, false},
		{goodBE, Placement{}, false},
		{"/user.slice/user-0.slice/session-1.scope", Placement{}, false},
	} {
		got, ok := ParseCgroup(tc.path)
		if ok != tc.ok {
			t.Errorf("%s: recognised is %v, want %v", tc.path, ok, tc.ok)
		}
		if diff := cmp.Diff(tc.want, got); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", tc.path, diff)
		}
	}
}

func state(cgroups []string, processes ...string) NodeState {
	s := NodeState{BootID: "b", RootControllers: strings.Fields("cpuset cpu io memory pids")}
	for i, p := range processes {
		s.Processes = append(s.Processes, Process{PID: 100 + i, Start: 5, Cgroup: p, Comm: "pause"})
	}
	for _, c := range cgroups {
		s.Cgroups = append(s.Cgroups, Cgroup{c, strings.Fields("cpuset cpu io memory pids")})
	}
	return s
}

func TestJudgeCgroups(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name  string
		state NodeState
		ran   int
		want  []string // a part of each problem
	}{
		{"good", state([]string{"/kubepods.slice", goodBE, goodPath}, goodPath, goodPath), 1, nil},
		{"nothing ran", state(nil, "/system.slice/containerd.service"), 0, nil},
		{"mismatch", state([]string{"/kubepods.slice", goodBE, badPath}, badPath), 1, []string{badPath}},
		{"mismatch, process gone", state([]string{"/kubepods.slice", badPath}), 0, []string{"was not made by systemd"}},
		{"cgroupfs", state([]string{"/kubepods", fsPath}, fsPath), 1, []string{fsPath, "/sys/fs/cgroup/kubepods exists", "kubepods.slice does not exist"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			got, ran := JudgeCgroups(tc.state)
			if ran != tc.ran {
				t.Errorf("judged %d containers, want %d", ran, tc.ran)
			}
			if len(got) != len(tc.want) {
				t.Fatalf("got %q, want %d problems", got, len(tc.want))
			}
			for i := range tc.want {
				if !strings.Contains(got[i], tc.want[i]) {
					t.Errorf("problem %q lacks %q", got[i], tc.want[i])
				}
			}
		})
	}
}

func TestJudgeControllers(t *testing.T) {
	t.Parallel()
	s := state([]string{"/kubepods.slice", goodBE, goodPath})
	if got := JudgeControllers(s); got != nil {
		t.Errorf("a complete slice is called wrong: %q", got)
	}
	// hugetlb is not asked for, since the root of this node has none.
	s.Cgroups[1].Controllers = []string{"cpu", "memory", "pids"}
	got := JudgeControllers(s)
	if len(got) != 1 || !strings.HasSuffix(got[0], "lacks controllers cpuset") {
		t.Errorf("got %q", got)
	}
}
