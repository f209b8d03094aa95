package e2e

import (
	"strings"
	"testing"
	"time"

	"github.com/nodeimage/packer-plugin-nodeimage/e2e/cluster"
)

// One transient sandbox event must not fail an image: a check that did so was
// taken out elsewhere because it flaked. A pattern must.
func TestSandboxVerdicts(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	changed := func(pod string, count int32) cluster.EventRecord {
		at := start.Add(time.Minute)
		return cluster.EventRecord{Namespace: systemNamespace, Name: pod, Reason: cluster.ReasonSandboxChanged,
			Message: "Pod sandbox changed, it will be killed and re-created.", Count: count, First: at, Last: at}
	}
	proxy := func(attempt uint32, sandbox string) cluster.Identities {
		return cluster.Identities{
			"kube-system/kube-proxy-x kube-proxy": {Container: "c" + sandbox, Sandbox: sandbox, Attempt: attempt},
			"kube-system/etcd-node etcd":          {Container: "c2", Sandbox: "s2"},
		}
	}
	both := proxy(1, "s1")
	both["kube-system/etcd-node etcd"] = cluster.Identity{Container: "c2", Sandbox: "s2", Attempt: 1}
	type events = []cluster.EventRecord

	for name, tt := range map[string]struct {
		now    cluster.Identities
		events events
		red    bool
		note   bool
	}{
		"quiet":                          {proxy(0, "s1"), nil, false, false},
		"one event":                      {proxy(0, "s1"), events{changed("kube-proxy-x", 1)}, false, true},
		"one event and one new sandbox":  {proxy(1, "s1"), events{changed("kube-proxy-x", 1)}, false, true},
		"an event that came again":       {proxy(1, "s1"), events{changed("kube-proxy-x", 2)}, true, false},
		"events of two pods":             {proxy(0, "s1"), events{changed("kube-proxy-x", 1), changed("etcd-node", 1)}, true, false},
		"two attempts, events have gone": {proxy(2, "s1"), nil, true, false},
		"two pods in a second attempt":   {both, nil, true, false},
	} {
		problems, excused := sandboxProblems(tt.now, tt.events)
		if len(problems) > 0 != tt.red || len(excused) > 0 != tt.note {
			t.Errorf("%s: problems %q, excused %q", name, problems, excused)
		}
	}

	for name, tt := range map[string]struct {
		after  cluster.Identities
		events events
		want   string // part of a problem; none if empty
	}{
		"quiet":                            {proxy(0, "s1"), nil, ""},
		"one event and nothing changed":    {proxy(0, "s1"), events{changed("kube-proxy-x", 1)}, ""},
		"events again and nothing changed": {proxy(0, "s1"), events{changed("kube-proxy-x", 3)}, "Pod sandbox changed"},
		"kube-proxy did not stay up":       {proxy(1, "s9"), events{changed("kube-proxy-x", 1)}, "sandbox ID was s1 and is s9"},
	} {
		problems := soakProblems(proxy(0, "s1"), tt.after, tt.events, start)
		if tt.want == "" && len(problems) > 0 || !strings.Contains(strings.Join(problems, "\n"), tt.want) {
			t.Errorf("%s: %q, want %q", name, problems, tt.want)
		}
	}
}
