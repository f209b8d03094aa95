package cluster

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

func proxy(restarts int32) PodRecord {
	return PodRecord{Namespace: "kube-system", Name: "kube-proxy-x", UID: "api-uid", Last: &corev1.Pod{
		Status: corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{{Name: "kube-proxy", RestartCount: restarts}}},
	}}
}

func TestIdentify(t *testing.T) {
	t.Parallel()
	gone := proxy(0)
	gone.Name, gone.Gone = "old", time.Now()
	other := proxy(0)
	other.Namespace = "default"
	sandboxes := []Sandbox{
		{ID: "s0", Namespace: "kube-system", Pod: "kube-proxy-x", Ready: false},
		{ID: "s1", Namespace: "kube-system", Pod: "kube-proxy-x", Ready: true, Attempt: 1},
	}
	containers := []Container{
		{ID: "c0", Name: "kube-proxy", SandboxID: "s0", Running: false},
		{ID: "c1", Name: "kube-proxy", SandboxID: "s1", Running: true},
	}
	before, err := Identify("kube-system", []PodRecord{proxy(1), gone, other}, sandboxes, containers)
	if err != nil {
		t.Fatal(err)
	}
	key := "kube-system/kube-proxy-x kube-proxy"
	if len(before) != 1 || before[key] != (Identity{1, "c1", "s1", 1}) {
		t.Errorf("got %+v", before)
	}
	if changes := before.Changes(before); changes != nil {
		t.Errorf("nothing changed, got %q", changes)
	}
	for name, tc := range map[string]struct {
		after Identities
		want  string
	}{
		"restart":   {Identities{key: {2, "c1", "s1", 1}}, "restart count was 1 and is 2"},
		"container": {Identities{key: {1, "c2", "s1", 1}}, "container ID was c1 and is c2"},
		"sandbox":   {Identities{key: {1, "c1", "s2", 1}}, "sandbox ID was s1 and is s2"},
		"attempt":   {Identities{key: {1, "c1", "s1", 2}}, "sandbox attempt was 1 and is 2"},
		"gone":      {Identities{}, "is gone"},
		"new":       {Identities{key: before[key], "kube-system/other x": {}}, "kube-system/other x is new"},
	} {
		got := before.Changes(tc.after)
		if len(got) != 1 || !strings.HasSuffix(got[0], tc.want) {
			t.Errorf("%s: got %q", name, got)
		}
	}

	for name, tc := range map[string]struct {
		sandboxes  []Sandbox
		containers []Container
	}{
		"no ready sandbox":     {sandboxes[:1], containers},
		"two ready sandboxes":  {append(sandboxes, Sandbox{ID: "s2", Namespace: "kube-system", Pod: "kube-proxy-x", Ready: true}), containers},
		"no running container": {sandboxes, containers[:1]},
	} {
		if _, err := Identify("kube-system", []PodRecord{proxy(1)}, tc.sandboxes, tc.containers); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
