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
			SpecTimeout(s.options.Soak+podsLimit), func(ctx SpecContext) {
				c := s.needCluster(ctx)
				Expect(s.settled(ctx, c)).To(Succeed())
				if len(s.options.Firmware) > 1 && s.selected[bootsUnder(s.options.Firmware[1])] {
					s.startSecond() // it has the time now
				}
				before, err := c.identities(ctx)
				Expect(err).NotTo(HaveOccurred())
				expectSystemPods(before)
				since, err := nodeClock(ctx, c.node)
				Expect(err).NotTo(HaveOccurred())
				s.attachJSON("soak-before.json", before)

				changes := func() ([]string, error) {
					if verdict, hits := cluster.JudgeSandboxes(c.recorder.Events(), since); verdict == cluster.SandboxesPattern {
						return eventLines(hits), nil
					}
					after, err := c.identities(ctx)
					if err != nil {
						// A pod between two containers is a change as well.
						return []string{err.Error()}, nil
					}
					return before.Changes(after), nil
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

		It("had no pod's sandbox made anew since kubeadm init", SpecTimeout(podsLimit), func(ctx SpecContext) {
			c := s.needCluster(ctx)
			s.noteEvents(c)
			verdict, hits := cluster.JudgeSandboxes(c.recorder.Events(), time.Time{})
			if verdict == cluster.SandboxesTransient {
				AddReportEntry("one SandboxChanged event", strings.Join(eventLines(hits), "\n"))
			}
			Expect(verdict).NotTo(Equal(cluster.SandboxesPattern), "SandboxChanged events:\n%s", list(eventLines(hits)))
			identities, err := c.identities(ctx)
			Expect(err).NotTo(HaveOccurred())
			expectSystemPods(identities)
			var again []string
			for _, name := range slices.Sorted(maps.Keys(identities)) {
				if identities[name].Attempt > 0 {
					again = append(again, fmt.Sprintf("%s runs in sandbox attempt %d", name, identities[name].Attempt))
				}
			}
			Expect(len(again)).To(BeNumerically("<", 2), "sandboxes that were made again:\n%s", list(again))
		})

		It(s.needing(demand{survivors: true}, "serves its Service still"), SpecTimeout(podsLimit), func(ctx SpecContext) {
			p := s.needPods(ctx)
			Eventually(p.askByIP).WithContext(ctx).WithTimeout(commandLimit).WithPolling(time.Second).ShouldNot(BeEmpty())
		})
	})
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
