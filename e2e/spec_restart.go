package e2e

import (
	"context"
	"fmt"
	"net/http"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/nodeimage/packer-plugin-nodeimage/e2e/cause"
	"github.com/nodeimage/packer-plugin-nodeimage/e2e/cluster"
	"github.com/nodeimage/packer-plugin-nodeimage/e2e/workload"
)

func (s *suite) declareRestarts() {
	running := demand{survivors: true}
	Context("restart", Label("restart"), func() {
		It(s.needing(running, "of containerd leaves every container's processes alive"), SpecTimeout(onCluster(podsLimit)), func(ctx SpecContext) {
			p := s.needPods(ctx)
			s.judgeRestart(ctx, p, "containerd", func(ctx context.Context) error {
				_, err := p.cri.Version(ctx)
				return err
			})
		})
		It(s.needing(running, "of the kubelet leaves every container's processes alive"), SpecTimeout(onCluster(podsLimit)), func(ctx SpecContext) {
			p := s.needPods(ctx)
			s.judgeRestart(ctx, p, "kubelet", p.kubeletHealthy)
		})
	})
}

// judgeRestart restarts a unit and compares the processes in all containers by
// PID and start time, and the identities of the system's pods.
func (s *suite) judgeRestart(ctx SpecContext, p *podsState, unit string, ready func(context.Context) error) {
	GinkgoHelper()
	Expect(s.settled(ctx, p.clusterState)).To(Succeed())
	identities, err := p.identities(ctx)
	Expect(err).NotTo(HaveOccurred())
	before, err := cluster.Probe(ctx, p.node)
	Expect(err).NotTo(HaveOccurred())
	_, ran := cluster.JudgeCgroups(before)
	Expect(ran).To(BeNumerically(">=", controlPlaneContainers), "containers that must survive the restart")

	begin := time.Now()
	done := s.progress.step("restarting %s", unit)
	limited, cancel := context.WithTimeoutCause(ctx, restartLimit, fmt.Errorf("%s after the restart", restartLimit))
	defer cancel()
	err = cluster.RestartAndWait(limited, p.node, unit+".service", ready)
	done(err)
	Expect(err).NotTo(HaveOccurred())
	s.measureSince("restart-"+unit, begin)

	after, err := cluster.Probe(ctx, p.node)
	Expect(err).NotTo(HaveOccurred())
	lost := cluster.Survivors(before, after)
	for _, l := range lost {
		s.notes.add(cause.Fact, l+" did not survive the restart of "+unit)
	}
	Expect(lost).To(BeEmpty(), "processes that did not survive the restart of %s", unit)

	// The kubelet takes a moment to look at its pods again; if it is going to
	// restart some, it does so now.
	Eventually(func() ([]string, error) {
		now, err := p.identities(ctx)
		if err != nil {
			return nil, err
		}
		return identities.Changes(now), nil
	}).WithContext(ctx).WithTimeout(settleLimit).WithPolling(soakInterval / 2).Should(BeEmpty())
	Expect(s.settled(ctx, p.clusterState)).To(Succeed())
	Eventually(p.askByIP).WithContext(ctx).WithTimeout(commandLimit).WithPolling(time.Second).Should(Equal(workload.ServerName))
}

// kubeletHealthy asks the kubelet itself, on the node's loopback.
func (c *clusterState) kubeletHealthy(ctx context.Context) error {
	client := &http.Client{Transport: &http.Transport{DialContext: c.node.Dial, DisableKeepAlives: true}, Timeout: 20 * time.Second}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://127.0.0.1:10248/healthz", nil)
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	if err != nil {
		return fmt.Errorf("asking the kubelet for its health: %w", err)
	}
	_ = response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("the kubelet's health is %s", response.Status)
	}
	return nil
}
