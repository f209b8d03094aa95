package e2e

import (
	"fmt"
	"regexp"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/nodeimage/packer-plugin-nodeimage/e2e/cause"
	"github.com/nodeimage/packer-plugin-nodeimage/e2e/machine"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/run"
)

func (s *suite) declareBoot() {
	first := s.options.Firmware[0]
	labels := firmwareLabels(first)
	if s.options.Host != nil {
		labels = Label("boot", hostPlace)
	}
	Context("boot", labels, func() {
		It(s.notOnHost("there is no image", "is the image that its manifest describes"), Label("image"), SpecTimeout(bootLimit), func(ctx SpecContext) {
			digest := need(ctx, s, s.before)
			if s.expected.SHA256 == "" {
				Skip("no manifest beside the image claims a digest")
			}
			Expect(digest).To(Equal(s.expected.SHA256), "the image is not the file that %s describes", s.expected.Source)
		})

		It(s.notOnHost(whoseFirmware, bootsUnder(first)), Label("smoke"), SpecTimeout(onMachine(commandLimit)), func(ctx SpecContext) {
			need(ctx, s, s.before)
			facts := s.primaryFacts(ctx)
			s.attachJSON("boot-"+string(first)+".json", facts)
			s.measure("boot-userspace-"+string(first)+"-seconds", roundSeconds(facts.Times.Userspace))
			s.expectFirmware(facts, first)
		})

		It("runs cgroup v2", SpecTimeout(onMachine(commandLimit)), func(ctx SpecContext) {
			facts := s.primaryFacts(ctx)
			if facts.CgroupFS != "cgroup2fs" {
				s.notes.add(cause.Fact, fmt.Sprintf("/sys/fs/cgroup is %s, not cgroup2fs", facts.CgroupFS))
			}
			Expect(facts.CgroupFS).To(Equal("cgroup2fs"), "the file system at /sys/fs/cgroup; kernel command line: %s", facts.CommandLine)
		})

		It("has AppArmor on", Label("apparmor"), SpecTimeout(onMachine(commandLimit)), func(ctx SpecContext) {
			facts := s.primaryFacts(ctx)
			if !facts.AppArmorEnabled {
				s.notes.add(cause.Fact, "AppArmor is not enabled")
			}
			Expect(facts.AppArmorEnabled).To(BeTrue(), "/sys/module/apparmor/parameters/enabled is not Y; kernel command line: %s", facts.CommandLine)
			// containerd confines nothing without the parser and says nothing.
			_, err := s.primary.value.Run(ctx, run.Cmd{Argv: []string{"test", "-x", "/sbin/apparmor_parser"}})
			if run.SaidNo(err) {
				s.notes.add(cause.Fact, "AppArmor is not enabled for containers: /sbin/apparmor_parser is missing")
			}
			Expect(err).NotTo(HaveOccurred(), "looking for /sbin/apparmor_parser, without which containerd confines nothing")
		})

		It("reaches systemd's state running without a failed unit", SpecTimeout(onMachine(commandLimit)), func(ctx SpecContext) {
			facts := s.primaryFacts(ctx)
			Expect(s.judgeUnits(ctx, s.primary.value, facts)).To(BeEmpty())
		})

		It("has a machine ID of its own", SpecTimeout(onMachine(commandLimit)), func(ctx SpecContext) {
			Expect(s.primaryFacts(ctx).MachineID).To(MatchRegexp(`^[0-9a-f]{32}$`))
		})

		It(s.notOnHost("the size of the disk that it was made with is not known", "grew its root file system"), SpecTimeout(onMachine(commandLimit)), func(ctx SpecContext) {
			facts := s.primaryFacts(ctx)
			size, err := virtualSize(ctx, run.Host{}, s.options.Image)
			Expect(err).NotTo(HaveOccurred())
			s.measure("root-bytes", float64(facts.RootBytes))
			if facts.RootBytes <= size {
				s.notes.add(cause.Fact, fmt.Sprintf("the root file system did not grow: it has %d bytes, on a disk of %d", facts.RootBytes, size+growBy))
			}
			// The file system now holds more than the whole disk of the image did.
			Expect(facts.RootBytes).To(BeNumerically(">", size), "bytes of the root file system on a disk of %d bytes, made from an image of %d bytes", size+growBy, size)
		})

		It("runs without swap", SpecTimeout(onMachine(commandLimit)), func(ctx SpecContext) {
			facts := s.primaryFacts(ctx)
			for _, l := range facts.Swap {
				s.notes.add(cause.Fact, "/proc/swaps lists "+l)
			}
			Expect(facts.Swap).To(BeEmpty())
		})

		It(s.notOnHost(whoseConsole, "leaves a console without panics, oopses, OOM kills, emergency shells and ordering cycles"), SpecTimeout(onMachine(commandLimit)), func(ctx SpecContext) {
			Expect(consoleProblems(s.primaryFacts(ctx).Console)).To(BeEmpty())
		})
	})
}

// Why specs about a boot do not run on a host.
const (
	whoseFirmware = "its firmware and how it is started are not the suite's to choose"
	whoseConsole  = "its console is not the suite's to read"
)

// bootsUnder is the text of the spec that boots under a firmware.
func bootsUnder(f machine.Firmware) string { return "boots under " + f.Title() }

func (s *suite) declareSecondFirmware() {
	second := s.options.Firmware[1]
	Context("boot", firmwareLabels(second), Label("slow"), func() {
		It(s.notOnHost(whoseFirmware, bootsUnder(second)), Label("smoke"), SpecTimeout(2*bootLimit), func(ctx SpecContext) {
			facts := need(ctx, s, s.second)
			s.attachJSON("boot-"+string(second)+".json", facts)
			s.expectFirmware(facts, second)
			Expect(s.unitProblems(facts)).To(BeEmpty())
			Expect(consoleProblems(facts.Console)).To(BeEmpty())
		})

		It(s.notOnHost("a second machine would have to be made", "gives two machines different identities"), SpecTimeout(2*bootLimit), func(ctx SpecContext) {
			first := s.primaryFacts(ctx)
			other := need(ctx, s, s.second)
			Expect(other.MachineID).To(MatchRegexp(`^[0-9a-f]{32}$`))
			Expect(other.MachineID).NotTo(Equal(first.MachineID), "the machine ID is baked into the image")
		})
	})
}

// firmwareLabels are those of what a boot under a firmware shows.
func firmwareLabels(f machine.Firmware) Labels {
	labels := Label("boot", string(f))
	if f == machine.SecureBoot {
		labels = append(labels, string(machine.UEFI))
	}
	return labels
}

func (s *suite) expectFirmware(facts bootFacts, f machine.Firmware) {
	GinkgoHelper()
	Expect(facts.EFI).To(Equal(f.EFI()), "whether /sys/firmware/efi exists")
	Expect(facts.SecureBoot).To(Equal(f == machine.SecureBoot), "whether the firmware says that it enforces Secure Boot")
}

// primaryFacts returns the facts of the first machine, or ends the spec.
func (s *suite) primaryFacts(ctx SpecContext) bootFacts {
	GinkgoHelper()
	s.needMachine(ctx)
	return s.facts
}

// unitProblems returns what keeps systemd from being content.
func (s *suite) unitProblems(facts bootFacts) []string {
	var problems []string
	for _, u := range facts.FailedUnits {
		problems = append(problems, "unit "+u+" failed")
	}
	if facts.SystemState != "running" {
		problems = append(problems, fmt.Sprintf("systemd is %q, expected \"running\"", facts.SystemState))
	}
	return problems
}

// judgeUnits is unitProblems with the failed units' logs attached.
func (s *suite) judgeUnits(ctx SpecContext, m vm, facts bootFacts) []string {
	if len(facts.FailedUnits) > 0 {
		if text, err := unitLog(ctx, m, 100, facts.FailedUnits...); err == nil {
			s.attach("failed-units.log", []byte(text))
		}
	}
	return s.unitProblems(facts)
}

// consoleExcused are faults that the console of an emulated machine may name
// without saying anything about the image.
func consoleExcused(accel machine.Accel) []machine.Allow {
	any := regexp.MustCompile(`.`)
	excused := []machine.Allow{
		{ID: "cgroup-oom-kill", Line: any, Why: "a container at its own memory limit is not the node's fault; restarts are judged elsewhere"},
	}
	if accel != machine.AccelTCG {
		return excused
	}
	for _, id := range []string{"rcu-stall", "soft-lockup", "hung-task", "watchdog-timeout"} {
		excused = append(excused, machine.Allow{ID: id, Line: any, Why: "an emulated CPU or disk stalls whenever its host is busy"})
	}
	return excused
}

func consoleProblems(findings []machine.Finding) []string {
	var problems []string
	for _, f := range findings {
		problems = append(problems, fmt.Sprintf("%s, console line %d: %s", f.ID, f.Line, f.Text))
	}
	return problems
}
