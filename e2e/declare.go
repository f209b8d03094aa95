package e2e

import (
	"strings"

	. "github.com/onsi/ginkgo/v2"
)

// declare builds the tree of specs. They run in this order in one ordered
// container, since they share one machine; they go on after a failure, and a
// spec whose ground is missing says so instead of passing.
func (s *suite) declare() {
	Describe(suiteName, Ordered, ContinueOnFailure, func() {
		s.declareBoot()
		if len(s.options.Firmware) > 1 {
			s.declareSecondFirmware()
		}
		s.declareKubeadm()
		s.declareCgroups()
		s.declareService()
		s.declareTermination()
		s.declareSoak()
		s.declareRestarts()
		s.declareReboot()
		s.declareAftermath()

		BeforeEach(s.skipLeftOut)
		AfterEach(func() {
			// Timeouts and panics do not pass through the fail handler.
			if report := CurrentSpecReport(); report.Failed() && !strings.Contains(report.Failure.Message, explained) {
				AddReportEntry("diagnosis", s.explain(), ReportEntryVisibilityFailureOrVerbose)
			}
		})
		AfterAll(func() {
			s.collect()
			if err := s.close(); err != nil {
				s.progress.say("ending the machines: %v", err)
			}
		})
	})
}

// needMachine and the others return what a spec stands on, or end it.
func (s *suite) needMachine(ctx SpecContext) vm { GinkgoHelper(); return need(ctx, s, s.primary) }

func (s *suite) needCluster(ctx SpecContext) *clusterState {
	GinkgoHelper()
	s.needMachine(ctx)
	return need(ctx, s, s.cluster)
}

func (s *suite) needPods(ctx SpecContext) *podsState {
	GinkgoHelper()
	if _, said := s.demands[CurrentSpecReport().LeafNodeText]; !said {
		Fail("this spec needs test pods and does not say which; see (*suite).needing")
	}
	s.needCluster(ctx)
	return need(ctx, s, s.pods)
}

func (s *suite) needDeleted(ctx SpecContext) *wave {
	GinkgoHelper()
	s.needPods(ctx)
	return need(ctx, s, s.deleted)
}
