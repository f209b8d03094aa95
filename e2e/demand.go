package e2e

import (
	"slices"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/ginkgo/v2/types"
	corev1 "k8s.io/api/core/v1"

	"github.com/nodeimage/packer-plugin-nodeimage/e2e/workload"
)

// demand is what specs want started before they can judge anything: under
// emulation each pod costs seconds of both CPUs, so a run that asks one
// question does not pay for all.
type demand struct {
	pods      []string // by name; those that are deleted
	job       bool
	set       bool
	survivors bool
}

func (d demand) empty() bool { return len(d.pods) == 0 && !d.job && !d.set && !d.survivors }

func (d demand) and(o demand) demand {
	pods := slices.Concat(d.pods, o.pods)
	slices.Sort(pods)
	return demand{slices.Compact(pods), d.job || o.job, d.set || o.set, d.survivors || o.survivors}
}

// variants returns the pods to delete at once, in the workload's order.
func (d demand) variants() []workload.Variant {
	return slices.DeleteFunc(workload.Deleted(), func(v workload.Variant) bool { return !slices.Contains(d.pods, v.Name) })
}

// plain returns the pods that nothing else makes: those to delete and the
// survivors.
func (d demand) plain() []*corev1.Pod {
	var all []*corev1.Pod
	if d.survivors {
		all = workload.Survivors()
	}
	for _, v := range d.variants() {
		all = append(all, v.Pod)
	}
	return all
}

// wholeWave are all pods that end at once.
func wholeWave() demand {
	d := demand{job: true}
	for _, v := range workload.Deleted() {
		d.pods = append(d.pods, v.Name)
	}
	return d
}

// needing records what the spec with this text needs started, and returns the
// text.
func (s *suite) needing(d demand, text string) string {
	s.demands[text] = s.demands[text].and(d)
	return text
}

// learnSelection learns which specs Ginkgo is going to run, and sums up what
// they need.
func (s *suite) learnSelection(preview ginkgo.Report) {
	for _, r := range preview.SpecReports {
		// In a preview every spec that would run has passed.
		if r.State.Is(types.SpecStatePassed) && s.leftOut[r.LeafNodeText] == "" {
			s.demand = s.demand.and(s.demands[r.LeafNodeText])
		}
	}
}
