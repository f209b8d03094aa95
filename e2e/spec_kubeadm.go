package e2e

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/nodeimage/packer-plugin-nodeimage/e2e/cause"
	"github.com/nodeimage/packer-plugin-nodeimage/e2e/cluster"
	"github.com/nodeimage/packer-plugin-nodeimage/e2e/workload"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/run"
)

// hostInGuest is the address by which QEMU's user network shows the host.
const hostInGuest = "10.0.2.2"

func (s *suite) declareKubeadm() {
	Context("kubeadm", Label("kubeadm"), func() {
		It(s.notOnHost("it keeps the network that it has; that nothing is pulled is judged all the same", "cannot reach any network"), Label("offline"), SpecTimeout(onMachine(commandLimit)), func(ctx SpecContext) {
			m := s.needMachine(ctx)
			// The host really listens: only the denial keeps the guest away.
			listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
			Expect(err).NotTo(HaveOccurred())
			var reached atomic.Int32
			go func() {
				for {
					conn, err := listener.Accept()
					if err != nil {
						return
					}
					reached.Add(1)
					_ = conn.Close()
				}
			}()
			defer func() { _ = listener.Close() }()
			_, port, err := net.SplitHostPort(listener.Addr().String())
			Expect(err).NotTo(HaveOccurred())
			own, err := net.DialTimeout("tcp", listener.Addr().String(), time.Second)
			Expect(err).NotTo(HaveOccurred(), "the listener that the guest must not reach does not even answer its own host")
			_ = own.Close()
			Eventually(reached.Load).WithContext(ctx).Should(BeEquivalentTo(1))
			for _, address := range []string{hostInGuest + " " + port, "192.0.2.1 443"} {
				host, port, _ := strings.Cut(address, " ")
				_, err := cluster.Perl(ctx, m, workload.Script, "dial", host, port, "3")
				var failed *run.Error
				Expect(errors.As(err, &failed)).To(BeTrue(), "the guest reached %s:%s (%v): this run would not prove that the image works offline", host, port, err)
				Expect(failed.Result.ExitCode).To(Equal(1), "only this exit code means that no connection was made: %v", err)
			}
			Expect(reached.Load()).To(BeEquivalentTo(1), "connections that the host saw, its own included")
		})

		It("init succeeds without preflight errors", Label("smoke"), SpecTimeout(onMachine(initLimit)), func(ctx SpecContext) {
			c := s.needCluster(ctx)
			s.attach("kubeadm-init.log", []byte(c.output))
			plan := cluster.Plan{CPUs: c.node.Report().CPUs, MemoryMiB: c.node.Report().MemoryMiB}
			s.attachText("preflight.txt", fmt.Sprintf("ignored errors: %q", plan.IgnoredPreflightErrors()), fmt.Sprintf("complaints: %+v", c.warnings))
			Expect(cluster.FatalPreflight(c.warnings)).To(BeEmpty())
			s.measure("kubeadm-init-seconds", s.measuredValue("kubeadm-init-seconds"))
		})

		It("is the version that the image claims", SpecTimeout(onMachine(initLimit)), func(ctx SpecContext) {
			c := s.needCluster(ctx)
			if s.expected.Kubernetes == "" {
				Skip("neither a profile nor a manifest claims a Kubernetes version")
			}
			Expect(c.version).To(Equal("v"+s.expected.Kubernetes), "kubeadm's version; %s claims another", s.expected.Source)
			node, err := cluster.TheNode(ctx, c.client)
			Expect(err).NotTo(HaveOccurred())
			Expect(node.Status.NodeInfo.KubeletVersion).To(Equal("v"+s.expected.Kubernetes), "the kubelet's version")
		})

		It("finds every image preloaded and pinned, and no other", Label("images"), SpecTimeout(onMachine(initLimit)), func(ctx SpecContext) {
			c := s.needCluster(ctx)
			var got, unpinned []string
			for _, image := range c.images {
				got = append(got, image.Names...)
				if !image.Pinned {
					unpinned = append(unpinned, image.Names...)
				}
			}
			slices.Sort(got)
			s.attachText("images.txt", got...)
			Expect(got).To(Equal(c.required), "images in the runtime before kubeadm init, against `kubeadm config images list`")
			Expect(unpinned).To(BeEmpty(), "images that the kubelet's garbage collection may remove")
		})

		It("runs the control plane's pause image of kubeadm's choice", Label("images"), SpecTimeout(onMachine(initLimit)), func(ctx SpecContext) {
			c := s.needCluster(ctx)
			config, err := s.config.get(ctx)
			Expect(err).NotTo(HaveOccurred())
			if !slices.Contains(c.required, config.SandboxImage) {
				s.notes.add(cause.Fact, fmt.Sprintf("containerd's sandbox image %s is not among those that kubeadm asks for", config.SandboxImage))
			}
			Expect(c.required).To(ContainElement(config.SandboxImage), "containerd's sandbox image among kubeadm's images")
		})

		It("gets a node that becomes Ready", Label("smoke"), SpecTimeout(onCluster(0)), func(ctx SpecContext) {
			c := s.needCluster(ctx)
			begin := time.Now()
			Eventually(func() error {
				node, err := cluster.TheNode(ctx, c.client)
				if err != nil {
					return err
				}
				return cluster.NodeReady(node)
			}).WithContext(ctx).WithTimeout(settleLimit).WithPolling(time.Second).Should(Succeed())
			s.measureSince("node-ready", begin)
		})

		It("gets CoreDNS and every system pod Ready", Label("smoke"), SpecTimeout(onCluster(0)), func(ctx SpecContext) {
			c := s.needCluster(ctx)
			done := s.progress.step("waiting for CoreDNS")
			err := s.settled(ctx, c)
			done(err)
			s.noteEvents(c)
			Expect(err).NotTo(HaveOccurred())
			s.measureSince("system-ready-after-init", c.finished)
		})

		It("pulls nothing", Label("offline", "images"), SpecTimeout(onCluster(0)), func(ctx SpecContext) {
			c := s.needCluster(ctx)
			s.noteEvents(c)
			var pulls []string
			for _, e := range cluster.EventsFor(c.recorder.Events(), cluster.ReasonPulling, "") {
				pulls = append(pulls, e.String())
			}
			text, err := unitLog(ctx, c.node, 20000, "containerd")
			Expect(err).NotTo(HaveOccurred())
			for l := range strings.Lines(text) {
				if strings.Contains(l, `msg="PullImage`) {
					s.notes.add(cause.Journal, l)
					pulls = append(pulls, strings.TrimSpace(l))
				}
			}
			Expect(pulls).To(BeEmpty())
		})

		It("leaves containerd without ignored configuration keys", Label("config"), SpecTimeout(onMachine(commandLimit)), func(ctx SpecContext) {
			m := s.needMachine(ctx)
			res, err := m.Run(ctx, run.Cmd{Argv: []string{"journalctl", "--boot", "--no-pager", "--output=cat", "--unit=containerd"}})
			Expect(err).NotTo(HaveOccurred())
			Expect(res.Stdout).NotTo(BeEmpty(), "containerd's log of this boot")
			var ignored []string
			for l := range strings.Lines(res.Stdout) {
				if strings.Contains(l, "Ignoring unknown key in TOML") {
					ignored = append(ignored, strings.TrimSpace(l))
				}
			}
			Expect(ignored).To(BeEmpty())
		})
	})
}

func (s *suite) measuredValue(name string) float64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.measured[name]
}
