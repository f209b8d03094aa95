package workload

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/run"
)

func TestVariants(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, v := range Deleted() {
		if seen[v.Name] || v.Name != v.Pod.Name || v.Title == "" {
			t.Errorf("%q: the name is taken, not the pod's, or has no title", v.Name)
		}
		seen[v.Name] = true
		for _, c := range v.Pod.Spec.Containers {
			if c.ImagePullPolicy != corev1.PullNever || c.Image != ImageName {
				t.Errorf("%s/%s: image %s may be pulled", v.Name, c.Name, c.Image)
			}
			privileged := c.SecurityContext != nil && c.SecurityContext.Privileged != nil && *c.SecurityContext.Privileged
			if v.Confined && privileged {
				t.Errorf("%s: a privileged container is not confined", v.Name)
			}
		}
		for name := range v.Markers {
			found := false
			for _, c := range v.Pod.Spec.Containers {
				found = found || c.Name == name
			}
			if !found {
				t.Errorf("%s: a marker is expected of container %s, which it does not have", v.Name, name)
			}
		}
		if v.Stubborn && v.EffectiveGrace() != ShortGrace {
			t.Errorf("%s: a pod that only SIGKILL ends must not take %s", v.Name, v.EffectiveGrace())
		}
	}
	for _, v := range Variants() {
		if v.Name == "force" && v.EffectiveGrace() != 0 {
			t.Errorf("force is deleted with %s", v.EffectiveGrace())
		}
		if v.Name == "trap" && v.EffectiveGrace() != LongGrace {
			t.Errorf("trap is deleted with %s", v.EffectiveGrace())
		}
	}
	if got := len(Deleted()) + 1; got != BatchSize || len(Fillers()) < 5 {
		t.Errorf("%d pods are deleted at once, %d of them alike", got, len(Fillers()))
	}
}

func TestMarkersJudge(t *testing.T) {
	t.Parallel()
	var trapped, stubborn, crash Variant
	for _, v := range Variants() {
		switch v.Name {
		case "trap":
			trapped = v
		case "ignore":
			stubborn = v
		case "crash":
			crash = v
		}
	}
	good := parseMarkers(MarkerRoot + "/trap/main:100 START\n" + MarkerRoot + "/trap/main:105 TERM\n" + MarkerRoot + "/trap/main:105 EXIT\n" +
		MarkerRoot + "/ignore/main:100 START\n" + MarkerRoot + "/ignore/main:105 TERM\n")
	want := Markers{"trap": {"main": {"START", "TERM", "EXIT"}}, "ignore": {"main": {"START", "TERM"}}}
	if diff := cmp.Diff(want, good); diff != "" {
		t.Fatalf("(-want +got)\n%s", diff)
	}
	for _, v := range []Variant{trapped, stubborn, crash} {
		if got := good.Judge(v); got != nil {
			t.Errorf("%s: %q", v.Name, got)
		}
	}
	killed := parseMarkers(MarkerRoot + "/trap/main:100 START\n")
	if got := killed.Judge(trapped); len(got) != 1 || !strings.Contains(got[0], "SIGTERM did not arrive") {
		t.Errorf("SIGKILL in place of SIGTERM is not noticed: %q", got)
	}
	if got := parseMarkers("").Judge(trapped); len(got) != 1 {
		t.Errorf("a missing marker is not noticed: %q", got)
	}
	twice := parseMarkers(MarkerRoot + "/trap/main:1 START\n" + MarkerRoot + "/trap/main:2 START\n" + MarkerRoot + "/trap/main:3 TERM\n" + MarkerRoot + "/trap/main:3 EXIT\n")
	if got := twice.Judge(trapped); len(got) != 1 {
		t.Errorf("a restart before the end is not noticed: %q", got)
	}
}

type grepNode struct {
	t      *testing.T
	result run.Result
	err    error
}

func (n grepNode) Run(_ context.Context, cmd run.Cmd) (run.Result, error) {
	if cmd.Argv[0] != "grep" || cmd.Argv[len(cmd.Argv)-1] != MarkerRoot {
		n.t.Errorf("unexpected command %q", cmd.Argv)
	}
	return n.result, n.err
}

func TestReadMarkers(t *testing.T) {
	t.Parallel()
	got, err := ReadMarkers(t.Context(), grepNode{t, run.Result{Stdout: MarkerRoot + "/trap/main:1 START\n"}, nil})
	if err != nil || len(got["trap"]["main"]) != 1 {
		t.Errorf("%v, %v", got, err)
	}
	if got, err := ReadMarkers(t.Context(), grepNode{t, run.Result{ExitCode: 1}, errors.New("exit status 1")}); err != nil || len(got) != 0 {
		t.Errorf("no marker at all: %v, %v", got, err)
	}
	if _, err := ReadMarkers(t.Context(), grepNode{t, run.Result{ExitCode: -1}, errors.New("connection lost")}); err == nil {
		t.Error("a lost connection is taken for no markers")
	}
}
