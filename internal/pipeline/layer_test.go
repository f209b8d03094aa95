package pipeline

import (
	"slices"
	"testing"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/store"
	"github.com/nodeimage/packer-plugin-nodeimage/provisioners/plan"
)

func TestCompare(t *testing.T) {
	before := map[string]byte{
		"etc": 'd', "etc/passwd": 'f', "etc/gone": 'd', "etc/gone/file": 'f', "etc/now-a-link": 'f', "usr": 'd', "usr/bin": 'd', "usr/bin/sh": 'f',
	}
	after := seen{
		files: map[string]byte{
			"etc": 'd', "etc/passwd": 'f', "etc/now-a-link": 'l', "usr": 'd', "usr/bin": 'd', "usr/bin/sh": 'f', "usr/bin/new\nline": 'f',
		},
		// A file that is written in place leaves its directories as they are.
		changed: []string{"etc", "etc/now-a-link", "usr/bin/sh", "usr/bin/new\nline"},
	}
	changed, removed := compare(before, after)
	if want := []string{"etc", "etc/now-a-link", "usr", "usr/bin", "usr/bin/new\nline", "usr/bin/sh"}; !slices.Equal(changed, want) {
		t.Errorf("changed: %q, want %q", changed, want)
	}
	if want := []string{"etc/gone", "etc/gone/file", "etc/now-a-link"}; !slices.Equal(removed, want) {
		t.Errorf("removed: %q, want %q", removed, want)
	}
	if got := string(nulTerminated([]string{"a\nb", "c"})); got != "a\nb\x00c\x00" {
		t.Errorf("terminated: %q", got)
	}
}

// A layer is another one when its base, or a plan that it stands for, is; a plan
// after those does not count.
func TestLayerKey(t *testing.T) {
	s, err := store.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	key := func(base string, content ...string) string {
		t.Helper()
		var plans []plan.Plan
		for _, c := range content {
			plans = append(plans, plan.Plan{Name: "p", Steps: []plan.Step{{Why: "it is asked for", File: &plan.File{Path: "/etc/f", Mode: 0o644, Content: c}}}})
		}
		l, err := newLayer(s, base, plans)
		if err != nil {
			t.Fatal(err)
		}
		return l.key
	}
	this := key("base", "host", "runtime", "kubernetes", "seal")
	for name, other := range map[string]string{
		"another base":    key("other", "host", "runtime", "kubernetes", "seal"),
		"another host":    key("base", "other", "runtime", "kubernetes", "seal"),
		"another runtime": key("base", "host", "other", "kubernetes", "seal"),
	} {
		if other == this {
			t.Errorf("%s has the same key", name)
		}
	}
	if key("base", "host", "runtime", "other", "seal") != this {
		t.Error("another Kubernetes has another key")
	}
}
