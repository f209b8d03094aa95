package e2e

import (
	"bytes"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nodeimage/packer-plugin-nodeimage/e2e/machine"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
)

const hostText = "cpus\t2\nmemory\t3922\nvirt\tkvm\nend\t\n"

func TestHostFacts(t *testing.T) {
	t.Parallel()
	got, err := parseHostFacts(hostText)
	if diff := cmp.Diff(hostFacts{CPUs: 2, MemoryMiB: 3922, Virtualization: "kvm"}, got); err != nil || diff != "" {
		t.Errorf("%v (-want +got)\n%s", err, diff)
	}
	if err := got.refuse(); err != nil {
		t.Errorf("a good host is refused: %v", err)
	}
	used, err := parseHostFacts("missing\tkubeadm\nmissing\tctr\nleft\t/etc/kubernetes/admin.conf\n" + hostText)
	if err != nil {
		t.Fatal(err)
	}
	err = used.refuse()
	if exitcode.Of(err) != exitcode.Usage {
		t.Errorf("exit code %d", exitcode.Of(err))
	}
	for _, want := range []string{"lacks kubeadm, ctr", "there is /etc/kubernetes/admin.conf", "nothing on it was changed"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not said in %v", want, err)
		}
	}
	for _, bad := range []string{"", strings.TrimSuffix(hostText, "end\t\n"), strings.Replace(hostText, "cpus\t2", "cpus\t", 1)} {
		if _, err := parseHostFacts(bad); err == nil {
			t.Errorf("%q is taken for an answer", bad)
		}
	}
}

// The script must be Perl that runs, and print the keys that are read.
func TestHostScriptOnThisHost(t *testing.T) {
	t.Parallel()
	cmd := exec.Command("perl", "-")
	cmd.Stdin = strings.NewReader(hostScript)
	cmd.Env = append(os.Environ(), "PATH="+os.Getenv("PATH"))
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil || said.Len() > 0 {
		t.Fatalf("%v: %s", err, said.String())
	}
	got, err := parseHostFacts(string(out))
	if err != nil {
		t.Fatal(err)
	}
	if got.CPUs < runtime.NumCPU() || got.MemoryMiB < 100 {
		t.Errorf("got %+v", got)
	}
}

// What describes a machine that is booted has no meaning for one that is up.
func TestHostOptions(t *testing.T) {
	t.Parallel()
	host := &Host{Attach: machine.AttachOptions{Target: "admin@node"}}
	if err := (Options{Host: host, OutputDir: "out"}).validate(); err != nil {
		t.Errorf("good options are refused: %v", err)
	}
	err := Options{Host: host, Image: "x.qcow2", OutputDir: "out", CPUs: 2}.validate()
	for _, want := range []string{"image x.qcow2 and host admin@node: expected one of them", "the host admin@node is up and has its own"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not said in %v", want, err)
		}
	}
	if err := (Options{OutputDir: "out"}).validate(); err == nil || !strings.Contains(err.Error(), "no image was named, and no host") {
		t.Errorf("got %v", err)
	}
}

// A host that is allowed to reboot runs the specs that need it.
func TestAllowReboot(t *testing.T) {
	t.Parallel()
	for allowed, want := range map[bool]int{true: 0, false: 1} {
		s := &suite{options: Options{Host: &Host{AllowReboot: allowed}}, leftOut: map[string]string{}}
		if s.needingReboot("reboots"); len(s.leftOut) != want {
			t.Errorf("allowed: %t: left out %v", allowed, s.leftOut)
		}
	}
	s := &suite{leftOut: map[string]string{}}
	if s.needingReboot(s.notOnHost("x", "boots")); len(s.leftOut) > 0 {
		t.Errorf("an image's specs are left out: %v", s.leftOut)
	}
}

// killed counts how often it was ended.
type killed struct {
	fakeVM
	times int
}

func (k *killed) Kill() error { k.times++; return nil }

// The suite's own machines end with the specs, and the host is left until the
// cluster is taken off it.
func TestCloseLeavesTheHost(t *testing.T) {
	t.Parallel()
	host, own := &killed{}, &killed{}
	s := &suite{host: host, booted: []vm{host, own}, ended: map[vm]bool{}}
	for range 2 {
		if err := s.close(); err != nil {
			t.Fatal(err)
		}
	}
	if host.times != 0 || own.times != 1 {
		t.Errorf("the host was ended %d times, and the suite's machine %d times", host.times, own.times)
	}
}
