//go:build e2e

package e2e

import (
	"flag"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nodeimage/packer-plugin-nodeimage/e2e/machine"
)

var flags = struct {
	image, out, accel, firmware string
	soak, slack                 time.Duration
	cpus, memory                int
	witness                     bool
}{}

func TestMain(m *testing.M) {
	flag.StringVar(&flags.image, "image", "", "the image to judge, qcow2 or raw (needed)")
	flag.StringVar(&flags.out, "out", "", "directory for reports and evidence; a new one beside the image by default")
	flag.StringVar(&flags.accel, "accel", "", "auto, kvm or tcg")
	flag.StringVar(&flags.firmware, "firmware", "", "firmwares to boot under, secureboot,bios by default, secureboot,uefi for an arm64 image; the cluster runs under the first")
	flag.DurationVar(&flags.soak, "soak", DefaultSoak, "how long kube-proxy and the control plane are watched")
	flag.DurationVar(&flags.slack, "slack", 0, "what a pod may take beyond its grace period; measured values by default")
	flag.IntVar(&flags.cpus, "cpus", 0, "virtual CPUs")
	flag.IntVar(&flags.memory, "memory", 0, "memory in MiB")
	flag.BoolVar(&flags.witness, "witness", false, "let a proven fault show itself")
	flag.Parse()
	os.Exit(m.Run())
}

// TestE2E runs the suite under `go test` and the ginkgo command:
//
//	go tool ginkgo --tags e2e ./e2e -- -image build/debian-13.qcow2
//	go test -tags e2e ./e2e -timeout 0 -run TestE2E -args -image build/debian-13.qcow2
func TestE2E(t *testing.T) {
	if flags.image == "" {
		t.Fatal("no image to judge: pass -image FILE after -- (ginkgo) or -args (go test)")
	}
	if flags.out == "" {
		flags.out = strings.TrimSuffix(flags.image, ".qcow2") + ".e2e"
	}
	var firmwares []machine.Firmware
	for f := range strings.FieldsFuncSeq(flags.firmware, func(r rune) bool { return r == ',' }) {
		firmwares = append(firmwares, machine.Firmware(f))
	}
	ctx, stop := signal.NotifyContext(t.Context(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	result, err := RunTest(ctx, t, Options{
		Image: flags.image, OutputDir: flags.out, Accel: machine.Accel(flags.accel), Firmware: firmwares,
		Soak: flags.soak, Slack: flags.slack, CPUs: flags.cpus, MemoryMiB: flags.memory, Witness: flags.witness,
		// The ginkgo command brings its own filter.
		LabelFilter: ginkgoLabelFilter(), Progress: os.Stderr, Out: os.Stdout,
	})
	if err != nil {
		t.Fatal(err)
	}
	if !result.Passed() {
		t.Error(result.Headline())
	}
}

// ginkgoLabelFilter is what --label-filter was set to.
func ginkgoLabelFilter() string {
	if f := flag.Lookup("ginkgo.label-filter"); f != nil {
		return f.Value.String()
	}
	return ""
}
