package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/ginkgo/v2/types"

	"github.com/nodeimage/packer-plugin-nodeimage/e2e/workload"
)

// selections are what a run may ask for, by label filter and names.
func selections() map[string]Options {
	fault := Options{Specs: []string{"ends a pod that handles SIGTERM"}}
	return map[string]Options{
		"everything":      {},
		"one fault":       fault,
		"nothing of pods": {LabelFilter: "boot"},
		"fast":            {LabelFilter: FastFilter},
		"service":         {LabelFilter: "kube-proxy && !soak"},
	}
}

const selectionVariable = "NODEIMAGE_E2E_SELECTION"

// TestSelectionProcess is the other side of TestDemand, in its own process
// because Ginkgo has one tree of specs a process.
func TestSelectionProcess(t *testing.T) {
	name := os.Getenv(selectionVariable)
	if name == "" {
		t.Skip("only TestDemand starts this")
	}
	o := selections()[name].withDefaults()
	s := newSuite(context.Background(), o, expectation{})
	s.declare()
	suiteConfig, _ := ginkgo.GinkgoConfiguration()
	suiteConfig.LabelFilter, suiteConfig.FocusStrings = o.LabelFilter, o.focus()
	preview := ginkgo.PreviewSpecs(suiteName, suiteConfig)
	s.learnSelection(preview)
	var specs []string
	for _, r := range preview.SpecReports {
		if r.State.Is(types.SpecStatePassed) {
			specs = append(specs, strings.TrimPrefix(r.FullText(), suiteName+" "))
		}
	}
	var pods []string
	for _, p := range s.demand.plain() {
		pods = append(pods, p.Name)
	}
	data, err := json.Marshal(told{pods, s.demand.job, s.demand.set, specs})
	if err != nil {
		t.Fatal(err)
	}
	fmt.Printf("\nDEMAND %s\n", data)
}

type told struct {
	Pods     []string
	Job, Set bool
	Specs    []string
}

// A run starts the pods that its specs judge, and no others.
func TestDemand(t *testing.T) {
	t.Parallel()
	got := map[string]told{}
	for name := range selections() {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestSelectionProcess$")
		cmd.Env = append(os.Environ(), selectionVariable+"="+name)
		out, err := cmd.CombinedOutput()
		m := regexp.MustCompile(`(?m)^DEMAND (.*)$`).FindSubmatch(out)
		if err != nil || m == nil {
			t.Fatalf("%s: %v\n%s", name, err, out)
		}
		var one told
		if err := json.Unmarshal(m[1], &one); err != nil {
			t.Fatal(err)
		}
		got[name] = one
	}
	if d := got["one fault"]; cmp.Diff(d, told{Pods: []string{workload.PlainName}, Specs: []string{"pod termination " + selections()["one fault"].Specs[0]}}) != "" {
		t.Errorf("one fault starts %+v", d)
	}
	if d := got["nothing of pods"]; len(d.Pods) > 0 || d.Job || d.Set || len(d.Specs) < 8 {
		t.Errorf("specs of the boot start %+v", d)
	}
	if d := got["service"]; cmp.Diff(d.Pods, []string{workload.ServerName, workload.ClientName}) != "" {
		t.Errorf("the Service's specs start %+v", d)
	}
	const bootsBIOS = "boot boots under BIOS"
	whole, fast := got["everything"], got["fast"]
	// A machine that boots beside a cluster starves, or starves it.
	bios, cluster := slices.Index(whole.Specs, bootsBIOS), slices.IndexFunc(whole.Specs, func(s string) bool { return strings.HasPrefix(s, "kubeadm ") })
	if bios < 0 || cluster < bios {
		t.Errorf("the second boot is spec %d, the first of the cluster spec %d, of %q", bios, cluster, whole.Specs)
	}
	if len(whole.Pods) != len(workload.Deleted())+2 || !whole.Job || !whole.Set || len(whole.Specs) <= len(fast.Specs) {
		t.Errorf("everything starts %+v", whole)
	}
	if len(fast.Pods) != len(workload.Variants())+2 || !fast.Job || !fast.Set || slices.Contains(fast.Specs, bootsBIOS) || strings.Contains(strings.Join(fast.Pods, " "), "filler") {
		t.Errorf("the fast specs start %+v", fast)
	}
}
