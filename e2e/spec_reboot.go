package e2e

import (
	"context"
	"fmt"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/nodeimage/packer-plugin-nodeimage/e2e/cluster"
	"github.com/nodeimage/packer-plugin-nodeimage/e2e/machine"
	"github.com/nodeimage/packer-plugin-nodeimage/e2e/workload"
)

func (s *suite) declareReboot() {
	running := demand{survivors: true, set: true}
	Context("reboot", Label("reboot", "slow"), func() {
		It(s.needing(running, s.needingReboot("brings the node, the control plane and every pod back")), SpecTimeout(onCluster(podsLimit+rebootLimit+settleLimit)), func(ctx SpecContext) {
			p := s.needPods(ctx)
			old, err := p.containerIDs(ctx)
			Expect(err).NotTo(HaveOccurred())
			Expect(old).NotTo(BeEmpty())

			begin := time.Now()
			done := s.progress.step("rebooting")
			err = p.node.Reboot(ctx)
			done(err)
			Expect(err).NotTo(HaveOccurred())
			Expect(machine.Quieten(ctx, p.node)).To(Succeed())
			facts, err := readBootFacts(ctx, p.node)
			Expect(err).NotTo(HaveOccurred())
			s.attachJSON("boot-again.json", facts)
			Expect(s.judgeUnits(ctx, p.node, facts)).To(BeEmpty())

			done = s.progress.step("waiting for the cluster to come back")
			Eventually(func() error { return p.back(ctx, old) }).WithContext(ctx).WithTimeout(settleLimit).WithPolling(2 * time.Second).Should(Succeed())
			done(nil)
			s.measureSince("reboot-to-ready", begin)
			Eventually(p.askByIP).WithContext(ctx).WithTimeout(settleLimit).WithPolling(time.Second).Should(Equal(workload.ServerName))
			Eventually(p.askByName).WithContext(ctx).WithTimeout(settleLimit).WithPolling(time.Second).Should(Equal(workload.ServerName))
		})

		It(s.needing(running, s.needingReboot("leaves the cgroup driver systemd")), Label("cgroup"), SpecTimeout(onCluster(podsLimit+commandLimit)), func(ctx SpecContext) {
			p := s.needPods(ctx)
			s.judgeCgroupPaths(ctx, p.node, "cgroups-after-reboot.txt")
		})
	})
}

// containerIDs returns the IDs of all containers that run, by "pod container".
func (p *podsState) containerIDs(ctx context.Context) (map[string]string, error) {
	containers, err := p.cri.Containers(ctx)
	if err != nil {
		return nil, err
	}
	ids := map[string]string{}
	for _, c := range containers {
		if c.Running {
			ids[c.ID] = c.Name
		}
	}
	return ids, nil
}

// back returns nil once every pod that shall run is ready, in containers that
// did not exist before the reboot: the API's memory of readiness is older than
// the boot.
func (p *podsState) back(ctx context.Context, old map[string]string) error {
	node, err := cluster.TheNode(ctx, p.client)
	if err != nil {
		return err
	}
	if err := cluster.NodeReady(node); err != nil {
		return err
	}
	boot, err := p.node.BootID(ctx)
	if err != nil {
		return err
	}
	if node.Status.NodeInfo.BootID != boot {
		return fmt.Errorf("the API still has the node's boot ID %s, it is %s", node.Status.NodeInfo.BootID, boot)
	}
	running, err := p.containerIDs(ctx)
	if err != nil {
		return err
	}
	for _, r := range p.recorder.Pods() {
		if !r.Gone.IsZero() || r.Last.DeletionTimestamp != nil || (r.Namespace != systemNamespace && r.Namespace != workload.Namespace) {
			continue
		}
		if !cluster.PodReady(r.Last) {
			return fmt.Errorf("pod %s/%s is not ready%s", r.Namespace, r.Name, podReason(r.Last))
		}
		for _, c := range r.Last.Status.ContainerStatuses {
			id := trimScheme(c.ContainerID)
			if _, was := old[id]; was {
				return fmt.Errorf("the API still has container %s of pod %s/%s from before the reboot", c.Name, r.Namespace, r.Name)
			}
			if _, is := running[id]; !is {
				return fmt.Errorf("container %s of pod %s/%s does not run", c.Name, r.Namespace, r.Name)
			}
		}
	}
	return nil
}
