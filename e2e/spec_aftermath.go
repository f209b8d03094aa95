package e2e

import (
	"fmt"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/nodeimage/packer-plugin-nodeimage/e2e/cluster"
	"github.com/nodeimage/packer-plugin-nodeimage/e2e/machine"
	"github.com/nodeimage/packer-plugin-nodeimage/e2e/workload"
)

// What must be true when everything is over.
func (s *suite) declareAftermath() {
	Context("aftermath", Label("aftermath"), func() {
		It(s.needing(demand{pods: []string{workload.PlainName}}, "has no sandbox left of any deleted pod"), Label("termination"), SpecTimeout(onCluster(podsLimit)), func(ctx SpecContext) {
			p := s.needPods(ctx)
			w := s.needDeleted(ctx)
			Eventually(func() ([]string, error) {
				sandboxes, err := p.cri.Sandboxes(ctx)
				if err != nil {
					return nil, err
				}
				return leftSandboxes(w, sandboxes), nil
			}).WithContext(ctx).WithTimeout(sandboxGC).WithPolling(5 * time.Second).Should(BeEmpty())
		})

		It("had AppArmor deny no container anything", Label("apparmor"), SpecTimeout(onCluster(commandLimit)), func(ctx SpecContext) {
			s.needCluster(ctx)
			Expect(s.notes.containerDenials()).To(BeEmpty())
		})

		It(s.notOnHost(whoseConsole, "left a clean console"), Label("boot"), SpecTimeout(onMachine(commandLimit)), func(ctx SpecContext) {
			m := s.needMachine(ctx)
			findings, err := m.ScanConsole(consoleExcused(m.Report().Accel)...)
			Expect(err).NotTo(HaveOccurred())
			Expect(consoleProblems(findings)).To(BeEmpty())
		})

		It(s.notOnHost("there is no image", "left the image as it was"), Label("image", "smoke"), SpecTimeout(onMachine(commandLimit)), func(ctx SpecContext) {
			before := need(ctx, s, s.before)
			s.needMachine(ctx) // an image that nothing ran on is no proof
			after, err := machine.Digest(ctx, s.options.Image)
			Expect(err).NotTo(HaveOccurred())
			AddReportEntry(digestAfter, after, ReportEntryVisibilityNever)
			Expect(after).To(Equal(before), "the image's sha256 after the run")
		})
	})
}

// digestAfter is the report entry that the summary takes the digest from.
const digestAfter = "sha256-after"

// leftSandboxes names the sandboxes that the runtime still knows of pods that
// the API has let go of.
func leftSandboxes(w *wave, sandboxes []cluster.Sandbox) []string {
	var left []string
	for _, o := range w.outcomes {
		for _, sandbox := range sandboxes {
			if sandbox.UID == o.uid && !o.gone.IsZero() {
				left = append(left, fmt.Sprintf("sandbox %.12s of pod %s (ready: %t)", sandbox.ID, o.name, sandbox.Ready))
			}
		}
	}
	return left
}

// trimScheme turns containerd://<id> into <id>.
func trimScheme(id string) string {
	_, bare, ok := strings.Cut(id, "://")
	if !ok {
		return id
	}
	return bare
}
