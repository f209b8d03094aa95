package e2e

import (
	"fmt"
	"slices"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/nodeimage/packer-plugin-nodeimage/e2e/cause"
	"github.com/nodeimage/packer-plugin-nodeimage/e2e/cluster"
	"github.com/nodeimage/packer-plugin-nodeimage/e2e/machine"
	"github.com/nodeimage/packer-plugin-nodeimage/e2e/workload"
)

// All pods are deleted at once and watched; the specs judge what was seen. So
// a dozen ways of ending cost the time of one.
func (s *suite) declareTermination() {
	plain := demand{pods: []string{workload.PlainName}}
	Context("pod termination", Label("termination"), func() {
		for _, v := range workload.Variants() {
			labels := Label("termination")
			if v.Name == workload.PlainName || v.Name == "ignore" {
				labels = Label("smoke")
			}
			It(s.needing(demand{pods: []string{v.Name}}, "ends a pod "+v.Title), labels, SpecTimeout(onCluster(podsLimit)), func(ctx SpecContext) {
				p := s.needPods(ctx)
				if v.Confined {
					Expect(s.labelProblems(p.state, v.Name, p.uids[v.Name])).To(BeEmpty(), "without this label the pod's end proves nothing")
				}
				w := s.needDeleted(ctx)
				s.judgeEnd(w, v, p.limits.slack, p.limits.nodeSlack)
				if v.Exec {
					s.judgeExec(ctx, w.outcomes[v.Name])
				}
			})
		}

		// On kernel 6.17 and newer what exec starts carries a stacked label
		// that the profile's rules do not match (containerd#12886).
		It(s.needing(demand{survivors: true}, "lets what exec starts signal its own children"), Label("apparmor"), SpecTimeout(onCluster(podsLimit)), func(ctx SpecContext) {
			p := s.needPods(ctx)
			Expect(s.labelProblems(p.state, workload.ClientName, p.uids[workload.ClientName])).To(BeEmpty(), "without this label the signal proves nothing")
			answer, err := p.exec(ctx, workload.ClientName, "signal-child")
			Expect(err).NotTo(HaveOccurred(), answer)
			Expect(answer).To(Equal("signalled"))
		})

		It(s.needing(demand{job: true}, "removes a finished Job and its pod"), SpecTimeout(onCluster(podsLimit)), func(ctx SpecContext) {
			p := s.needPods(ctx)
			w := s.needDeleted(ctx)
			name, _ := p.jobPod()
			Expect(w.outcomes).To(HaveKey(name))
			s.judgeEnd(w, workload.Variant{Name: name, Pod: workload.Survivors()[0]}, p.limits.slack, p.limits.nodeSlack)
			Expect(w.markers[workload.JobName]["main"]).To(Equal([]string{"DONE"}), "the marker of the Job's pod")
		})

		It(s.needing(demand{set: true}, "restarts a StatefulSet pod by pod"), SpecTimeout(onCluster(podsLimit)), func(ctx SpecContext) {
			s.needPods(ctx)
			w := s.needDeleted(ctx)
			s.measure("statefulset-restart-seconds", roundSeconds(w.rollTime))
			Expect(w.rolled).NotTo(HaveOccurred())
		})

		It(s.needing(wholeWave(), fmt.Sprintf("ends %d pods at once", workload.BatchSize)), Label("slow"), SpecTimeout(onCluster(podsLimit)), func(ctx SpecContext) {
			p := s.needPods(ctx)
			w := s.needDeleted(ctx)
			Expect(len(w.outcomes)).To(BeNumerically(">=", workload.BatchSize), "pods that were deleted at once")
			var problems []string
			var slowest time.Duration
			for _, v := range workload.Fillers() {
				problems = append(problems, s.labelProblems(p.state, v.Name, p.uids[v.Name])...)
				problems = append(problems, s.endProblems(w, v, p.limits.slack, p.limits.nodeSlack)...)
			}
			for _, o := range w.outcomes {
				slowest = max(slowest, o.took())
			}
			s.measure("batch-gone-seconds", roundSeconds(slowest))
			Expect(problems).To(BeEmpty(), s.early(w))
		})

		It(s.needing(plain, "never fails to kill a pod"), SpecTimeout(onCluster(podsLimit)), func(ctx SpecContext) {
			p := s.needPods(ctx)
			s.needDeleted(ctx)
			s.noteEvents(p.clusterState)
			var failed, late []string
			for _, e := range cluster.EventsFor(p.recorder.Events(), cluster.ReasonFailedKillPod, "") {
				if p.node.Report().Accel == machine.AccelTCG && onlyLate(e.Message) {
					late = append(late, e.String())
				} else {
					failed = append(failed, e.String())
				}
			}
			if len(late) > 0 {
				AddReportEntry("kills that emulation made run out of time and that were tried again", list(late))
			}
			Expect(failed).To(BeEmpty())
		})

		It(s.needing(plain, "never has AppArmor deny a container anything"), Label("apparmor"), SpecTimeout(onCluster(podsLimit)), func(ctx SpecContext) {
			s.needDeleted(ctx)
			Expect(s.notes.containerDenials()).To(BeEmpty())
		})
	})
}

// onlyLate tells whether every error in a FailedKillPod event is the kubelet's
// own deadline of two minutes for a call to the runtime. Twenty pods that end
// at once keep an emulated machine that busy; whether each ended in the end is
// what the other specs judge. When the runtime's answer to the cancelled call wins
// the race, gRPC describes that, and the deadline is in the code alone.
func onlyLate(message string) bool {
	parts := strings.Split(message, "rpc error: ")[1:]
	return len(parts) > 0 && !slices.ContainsFunc(parts, func(part string) bool {
		return !strings.HasPrefix(part, "code = DeadlineExceeded ") && !strings.Contains(part, "context deadline exceeded")
	})
}

// judgeEnd fails the spec with everything that was wrong with a pod's end.
func (s *suite) judgeEnd(w *wave, v workload.Variant, slack, nodeSlack time.Duration) {
	GinkgoHelper()
	o := w.outcomes[v.Name]
	if !o.gone.IsZero() {
		s.measure("gone-"+v.Name+"-seconds", roundSeconds(o.took()))
	}
	s.attachJSON("termination-"+v.Name+".json", map[string]any{
		"requested": o.requested, "gone": o.gone, "seconds": roundSeconds(o.took()), "grace": v.EffectiveGrace().Seconds(),
		"slack": slack.Seconds(), "cleanOnNode": o.clean, "traces": o.traces, "remains": o.remains, "markers": w.markers[v.Name],
	})
	Expect(s.endProblems(w, v, slack, nodeSlack)).To(BeEmpty(), s.early(w))
}

// early explains why waiting ended before its time, if it did.
func (s *suite) early(w *wave) string {
	if w.stopped == nil {
		return ""
	}
	return w.stopped.Error()
}

// endProblems returns everything that was wrong with a pod's end.
func (s *suite) endProblems(w *wave, v workload.Variant, slack, nodeSlack time.Duration) []string {
	o := w.outcomes[v.Name]
	grace := v.EffectiveGrace()
	problems := judgeTimes(o, w.looked, grace, slack, nodeSlack, v.Stubborn)
	if o.gone.IsZero() {
		s.notes.add(cause.Fact, problems[0])
		return problems
	}
	return append(problems, w.markers.Judge(v)...)
}

// judgeTimes judges when a pod left the API and the node. The node is looked at
// once all pods have left the API, so nothing counts before that.
func judgeTimes(o *outcome, looked time.Time, grace, slack, nodeSlack time.Duration, stubborn bool) []string {
	if o.gone.IsZero() {
		return []string{fmt.Sprintf("pod %s is still there, its grace period of %s and the slack of %s notwithstanding", o.name, grace, slack)}
	}
	var problems []string
	if took := o.took(); took > grace+slack {
		problems = append(problems, fmt.Sprintf("pod %s was gone after %.1fs: expected at most its grace period of %s and %s of slack", o.name, took.Seconds(), grace, slack))
	} else if stubborn && took < grace-stubbornTolerance {
		problems = append(problems, fmt.Sprintf("pod %s was gone after %.1fs: it ignores SIGTERM, so something killed it before its grace period of %s was over", o.name, took.Seconds(), grace))
	}
	switch {
	case o.clean.IsZero():
		remains := slices.Clone(o.remains)
		if len(remains) == 0 {
			remains = []string{"the node was not looked at"}
		}
		problems = append(problems, fmt.Sprintf("pod %s left on the node: %s", o.name, strings.Join(remains, "; ")))
	case o.clean.Sub(laterOf(o.gone, looked)) > nodeSlack:
		problems = append(problems, fmt.Sprintf("the last trace of pod %s left the node %.1fs after it left the API: expected at most %s", o.name, o.clean.Sub(laterOf(o.gone, looked)).Seconds(), nodeSlack))
	}
	return problems
}

func laterOf(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// judgeExec sees that the command in the pod ended with the pod.
func (s *suite) judgeExec(ctx SpecContext, o *outcome) {
	GinkgoHelper()
	Expect(o.exec).NotTo(BeNil())
	Eventually(o.exec.ended).WithContext(ctx).WithTimeout(commandLimit).Should(BeClosed(), "the exec must end with its pod")
	Expect(o.exec.err).To(HaveOccurred(), "an exec that its pod's end cut off cannot have succeeded")
}
