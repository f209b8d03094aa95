package e2e

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"

	"github.com/nodeimage/packer-plugin-nodeimage/e2e/cause"
	"github.com/nodeimage/packer-plugin-nodeimage/e2e/cluster"
	"github.com/nodeimage/packer-plugin-nodeimage/e2e/workload"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/run"
)

func (s *suite) declareService() {
	service := demand{survivors: true}
	Context("kube-proxy", Label("kube-proxy"), func() {
		It(s.needing(service, "makes a Service answer through its cluster IP from a pod"), Label("smoke"), SpecTimeout(onCluster(podsLimit)), func(ctx SpecContext) {
			p := s.needPods(ctx)
			Eventually(p.askByIP).WithContext(ctx).WithTimeout(commandLimit).WithPolling(time.Second).Should(Equal(workload.ServerName))
		})

		It(s.needing(service, "makes a Service answer by its DNS name"), Label("dns", "smoke"), SpecTimeout(onCluster(podsLimit)), func(ctx SpecContext) {
			p := s.needPods(ctx)
			Eventually(p.askByName).WithContext(ctx).WithTimeout(commandLimit).WithPolling(time.Second).Should(Equal(workload.ServerName))
		})

		It(s.needing(service, "is not in the way of a port of the host"), Label("cni"), SpecTimeout(onCluster(podsLimit)), func(ctx SpecContext) {
			p := s.needPods(ctx)
			Eventually(p.askByHostPort).WithContext(ctx).WithTimeout(commandLimit).WithPolling(time.Second).Should(Equal(workload.ServerName))
		})

		It("gets bridged traffic to see its rules", Label("config"), SpecTimeout(onMachine(commandLimit)), func(ctx SpecContext) {
			m := s.needMachine(ctx)
			value, err := cluster.Output(ctx, m, "sysctl", "--values", "net.bridge.bridge-nf-call-iptables")
			if run.SaidNo(err) || err == nil && value != "1\n" {
				s.notes.add(cause.Fact, "bridge-nf-call-iptables is 0 or absent")
			}
			Expect(err).NotTo(HaveOccurred(), "reading whether bridged traffic passes iptables, which br_netfilter tells")
			Expect(value).To(Equal("1\n"))
		})
	})
}

const dialSeconds = "10"

func (p *podsState) askByIP(ctx context.Context) (string, error) {
	return p.exec(ctx, workload.ClientName, "dial", p.clusterIP, strconv.Itoa(workload.ServicePort), dialSeconds)
}

// askByHostPort goes from the node to its own address, where portmap's rules
// hand the connection to the pod.
func (p *podsState) askByHostPort(ctx context.Context) (string, error) {
	node, err := cluster.TheNode(ctx, p.client)
	if err != nil {
		return "", err
	}
	for _, address := range node.Status.Addresses {
		if address.Type == corev1.NodeInternalIP {
			answer, err := cluster.Perl(ctx, p.node, workload.Script, "dial", address.Address, strconv.Itoa(workload.HostPort), dialSeconds)
			return strings.TrimSpace(answer), err
		}
	}
	return "", fmt.Errorf("node %s has no internal address", node.Name)
}

// askByName resolves the Service's name with the pod's own resolver and asks
// the address that came.
func (p *podsState) askByName(ctx context.Context) (string, error) {
	name := fmt.Sprintf("%s.%s.svc.%s", workload.ServerName, workload.Namespace, cluster.ServiceDomain)
	address, err := p.exec(ctx, workload.ClientName, "lookup", name, dialSeconds)
	if err != nil {
		return "", err
	}
	if address != p.clusterIP {
		return "", fmt.Errorf("%s resolves to %q, expected the cluster IP %s", name, address, p.clusterIP)
	}
	return p.exec(ctx, workload.ClientName, "dial", address, strconv.Itoa(workload.ServicePort), dialSeconds)
}
