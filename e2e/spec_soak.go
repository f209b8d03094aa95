package e2e

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/nodeimage/packer-plugin-nodeimage/e2e/cluster"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/run"
)

func (s *suite) declareSoak() {
	Context("kube-proxy", Label("kube-proxy"), func() {
		It("stays up, and the control plane with it, over "+s.options.Soak.String(), Label("soak", "slow"),
			SpecTimeout(onCluster(podsLimit+s.options.Soak)), func(ctx SpecContext) {
				c := s.needCluster(ctx)
				Expect(s.settled(ctx, c)).To(Succeed())
				before, err := c.identities(ctx)
				Expect(err).NotTo(HaveOccurred())
				expectSystemPods(before)
				since, err := nodeClock(ctx, c.node)
				Expect(err).NotTo(HaveOccurred())
				s.attachJSON("soak-before.json", before)

				changes := func() ([]string, error) {
					after, err := c.identities(ctx)
					if err != nil {
						// A pod between two containers is a change as well.
						return []string{err.Error()}, nil
					}
					return soakProblems(before, after, c.recorder.Events(), since), nil
				}
				done := s.progress.step("watching kube-proxy and the control plane for %s", s.options.Soak)
				defer done(nil)
				half := s.options.Soak / 2
				Consistently(changes).WithContext(ctx).WithTimeout(half).WithPolling(soakInterval).Should(BeEmpty(), "before systemctl daemon-reload")
				_, err = c.node.Run(ctx, run.Cmd{Argv: []string{"systemctl", "daemon-reload"}})
				Expect(err).NotTo(HaveOccurred())
				Consistently(changes).WithContext(ctx).WithTimeout(half).WithPolling(soakInterval).Should(BeEmpty(), "after systemctl daemon-reload")

				after, err := c.identities(ctx)
				Expect(err).NotTo(HaveOccurred())
				s.attachJSON("soak-after.json", after)
				Expect(before.Changes(after)).To(BeEmpty())
				verdict, hits := cluster.JudgeSandboxes(c.recorder.Events(), since)
				if verdict == cluster.SandboxesTransient {
					// Nothing was made anew, as the identities show: one event
					// alone is worth a line, not a verdict.
					AddReportEntry("one SandboxChanged event, without a sandbox that changed", strings.Join(eventLines(hits), "\n"))
				}
				s.measure("soak-seconds", s.options.Soak.Seconds())
			})

		It("had no pod's sandbox made anew since kubeadm init", SpecTimeout(onCluster(podsLimit)), func(ctx SpecContext) {
			c := s.needCluster(ctx)
			s.noteEvents(c)
			identities, err := c.identities(ctx)
			Expect(err).NotTo(HaveOccurred())
			expectSystemPods(identities)
			problems, excused := sandboxProblems(identities, c.recorder.Events())
			if len(excused) > 0 {
				AddReportEntry("a sandbox was made anew once, which can happen", list(excused))
			}
			Expect(problems).To(BeEmpty())
		})

		It(s.needing(demand{survivors: true}, "serves its Service still"), SpecTimeout(onCluster(podsLimit)), func(ctx SpecContext) {
			p := s.needPods(ctx)
			Eventually(p.askByIP).WithContext(ctx).WithTimeout(commandLimit).WithPolling(time.Second).ShouldNot(BeEmpty())
		})
	})
}

// soakProblems returns what happened to the system's pods while they were
// watched. An event that says "sandbox changed" about a pod whose sandbox, as
// the runtime and the API have it, did not change is no problem when it comes
// once; when it comes again and again, the look just came between two changes.
func soakProblems(before, after cluster.Identities, events []cluster.EventRecord, since time.Time) []string {
	problems := before.Changes(after)
	if verdict, hits := cluster.JudgeSandboxes(events, since); verdict == cluster.SandboxesPattern {
		problems = append(problems, eventLines(hits)...)
	}
	return problems
}

// sandboxProblems judges the time from kubeadm init on, in which one sandbox
// may have to be made anew while everything starts at once. A pattern, in one
// pod or over several, is the fault.
func sandboxProblems(identities cluster.Identities, events []cluster.EventRecord) (problems, excused []string) {
	verdict, hits := cluster.JudgeSandboxes(events, time.Time{})
	again := map[string]bool{}
	var made []string
	worst := uint32(0)
	for _, name := range slices.Sorted(maps.Keys(identities)) {
		if i := identities[name]; i.Attempt > 0 {
			again[i.Sandbox] = true
			worst = max(worst, i.Attempt)
			made = append(made, fmt.Sprintf("%s runs in sandbox attempt %d", name, i.Attempt))
		}
	}
	found := append(eventLines(hits), made...)
	if verdict == cluster.SandboxesPattern || len(again) > 1 || worst > 1 {
		return found, nil
	}
	return nil, found
}

// expectSystemPods fails when the pods to be watched are not there: nothing
// changes in an empty set.
func expectSystemPods(identities cluster.Identities) {
	GinkgoHelper()
	names := slices.Collect(maps.Keys(identities))
	for _, component := range []string{"kube-proxy", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "etcd"} {
		Expect(names).To(ContainElement(HaveSuffix(" "+component)), "containers that are watched")
	}
}

func eventLines(events []cluster.EventRecord) []string {
	var lines []string
	for _, e := range events {
		lines = append(lines, fmt.Sprintf("%s (%d times, last at %s)", e, e.Count, e.Last.UTC().Format(time.TimeOnly)))
	}
	return lines
}

// nodeClock returns the node's time: events carry that, not the host's.
func nodeClock(ctx SpecContext, node run.Runner) (time.Time, error) {
	out, err := cluster.Output(ctx, node, "date", "+%s")
	if err != nil {
		return time.Time{}, fmt.Errorf("reading the node's clock: %w", err)
	}
	seconds, err := strconv.ParseInt(strings.TrimSpace(out), 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("reading the node's clock: %w", err)
	}
	return time.Unix(seconds, 0), nil
}
