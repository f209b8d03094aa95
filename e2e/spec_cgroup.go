package e2e

import (
	"errors"
	"fmt"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/nodeimage/packer-plugin-nodeimage/e2e/cause"
	"github.com/nodeimage/packer-plugin-nodeimage/e2e/cluster"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/run"
)

// Four places tell the cgroup driver, and each of them has been wrong while
// the other three were right: a second handler without the option, a runtime
// that answers for its default handler only, a kubelet that follows silently.
func (s *suite) declareCgroups() {
	Context("cgroup driver", Label("cgroup"), func() {
		It("is systemd in containerd's effective configuration, for every handler", SpecTimeout(onMachine(initLimit)), func(ctx SpecContext) {
			s.needMachine(ctx)
			config, err := s.config.get(ctx)
			s.attach("containerd-config-dump.toml", []byte(config.text))
			Expect(err).NotTo(HaveOccurred())
			for _, h := range config.Handlers {
				s.notes.add(cause.Config, h.String())
			}
			problems := config.Problems()
			for _, p := range problems {
				s.notes.add(cause.Config, p)
			}
			Expect(problems).To(BeEmpty())
		})

		It("is systemd in the CRI's RuntimeConfig", SpecTimeout(onMachine(initLimit)), func(ctx SpecContext) {
			c := s.needCluster(ctx)
			driver, err := c.cri.CgroupDriver(ctx)
			if errors.Is(err, cluster.ErrNoRuntimeConfig) {
				version, versionErr := c.cri.Version(ctx)
				Expect(versionErr).NotTo(HaveOccurred())
				Skip(version + " does not tell its driver; the kubelet uses its own configuration, and the other three places are judged")
			}
			if err != nil {
				s.notes.add(cause.Fact, err.Error())
			}
			Expect(err).NotTo(HaveOccurred())
			if driver != "SYSTEMD" {
				s.notes.add(cause.Config, fmt.Sprintf("containerd RuntimeConfig = %q", driver))
			}
			Expect(driver).To(Equal("SYSTEMD"))
		})

		It("is systemd in the kubelet's effective configuration", SpecTimeout(onMachine(initLimit)), func(ctx SpecContext) {
			c := s.needCluster(ctx)
			node, err := cluster.TheNode(ctx, c.client)
			Expect(err).NotTo(HaveOccurred())
			config, text, err := cluster.Configz(ctx, c.client, node.Name)
			s.attach("kubelet-configz.json", text)
			Expect(err).NotTo(HaveOccurred())
			s.notes.add(cause.Config, fmt.Sprintf("kubelet cgroupDriver = %q", config.CgroupDriver))
			Expect(config.CgroupDriver).To(Equal("systemd"))
		})

		It("is systemd in the real cgroup path of every container's process", Label("smoke"), SpecTimeout(onMachine(initLimit)), func(ctx SpecContext) {
			c := s.needCluster(ctx)
			s.judgeCgroupPaths(ctx, c.node, "cgroups.txt")
		})

		It("keeps every pod's controllers over a daemon-reload", SpecTimeout(onMachine(initLimit)), func(ctx SpecContext) {
			c := s.needCluster(ctx)
			for _, when := range []string{"before", "after"} {
				state, err := cluster.Probe(ctx, c.node)
				Expect(err).NotTo(HaveOccurred())
				problems := cluster.JudgeControllers(state)
				for _, p := range problems {
					s.notes.add(cause.Fact, p)
				}
				Expect(problems).To(BeEmpty(), when+" systemctl daemon-reload")
				if when == "before" {
					_, err := c.node.Run(ctx, run.Cmd{Argv: []string{"systemctl", "daemon-reload"}})
					Expect(err).NotTo(HaveOccurred())
				}
			}
		})

		It("leaves cgroups of containers to the runtime and processes alive when it restarts", Label("config"), SpecTimeout(onMachine(commandLimit)), func(ctx SpecContext) {
			m := s.needMachine(ctx)
			unit, err := cluster.UnitProperties(ctx, m, "containerd.service", "KillMode", "Delegate", "OOMScoreAdjust")
			Expect(err).NotTo(HaveOccurred())
			s.attachJSON("containerd-unit.json", unit)
			for key, value := range unit {
				s.notes.add(cause.Config, fmt.Sprintf("containerd.service %s = %q", key, value))
			}
			Expect(unit).To(HaveKeyWithValue("KillMode", "process"))
			Expect(unit).To(HaveKeyWithValue("Delegate", "yes"))
		})
	})
}

// judgeCgroupPaths fails the spec when a container is not where systemd's
// driver puts it, and when there is none to look at.
func (s *suite) judgeCgroupPaths(ctx SpecContext, node cluster.Node, evidence string) {
	GinkgoHelper()
	state, err := cluster.Probe(ctx, node)
	Expect(err).NotTo(HaveOccurred())
	s.noteCgroups(state)
	s.attachText(evidence, state.CgroupPaths()...)
	problems, ran := cluster.JudgeCgroups(state)
	Expect(problems).To(BeEmpty())
	Expect(ran).To(BeNumerically(">=", controlPlaneContainers), "containers whose cgroup was judged")
}
