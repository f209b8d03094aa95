package host

import (
	"context"
	"io"
	"strings"
	"testing"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/run"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/run/runtest"
	"github.com/nodeimage/packer-plugin-nodeimage/profiles"
)

func TestSuitable(t *testing.T) {
	t.Parallel()
	p, err := profiles.Load("debian-13")
	if err != nil {
		t.Fatal(err)
	}
	good := "debian\n13\namd64\n"
	for _, name := range MachinePackages(p) {
		good += "installed\t" + name + "\t\n"
	}
	for name, test := range map[string]struct {
		answer string
		want   []string // empty for none
	}{
		"good":            {answer: good},
		"stood in for":    {answer: strings.Replace(good, "installed\tconntrack\t", "installed\tconntrack-ng\tx (= 1), conntrack (= 2)", 1)},
		"a package lacks": {strings.Replace(good, "installed\tsocat\t", "config-files\tsocat\t", 1), []string{"lacks packages of the profile: socat: set install_packages"}},
		"all at once": {"ubuntu\n24.04\narm64\n", []string{
			"runs ubuntu 24.04: expected debian 13", "architecture is arm64: expected amd64", "conntrack", "openssh-server"}},
		"no answer": {"debian\n", []string{"it answered"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			machine := runtest.New(t)
			machine.Expect("sh", "-c", machineScript).Does(func(_ context.Context, c run.Cmd) error {
				_, err := io.WriteString(c.Stdout, test.answer)
				return err
			})
			err := Suitable(t.Context(), machine, p, false)
			if len(test.want) == 0 {
				if err != nil {
					t.Errorf("refused: %v", err)
				}
				return
			}
			if exitcode.Of(err) != exitcode.Usage {
				t.Errorf("exit code %d", exitcode.Of(err))
			}
			for _, want := range test.want {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("%q is not said in %v", want, err)
				}
			}
		})
	}
	for _, name := range MachinePackages(p) {
		if strings.HasPrefix(name, "grub") || strings.HasPrefix(name, "shim") {
			t.Errorf("%s is wanted of a machine that has booted without it", name)
		}
	}
}

// Only what is missing is installed, and only on a machine of the right kind.
func TestSuitableInstalls(t *testing.T) {
	t.Parallel()
	p, err := profiles.Load("debian-13")
	if err != nil {
		t.Fatal(err)
	}
	answer := func(first string) func(context.Context, run.Cmd) error {
		return func(_ context.Context, c run.Cmd) error {
			text := first
			for _, name := range MachinePackages(p) {
				if name != "socat" && name != "conntrack" {
					text += "installed\t" + name + "\t\n"
				}
			}
			_, err := io.WriteString(c.Stdout, text)
			return err
		}
	}
	machine := runtest.New(t)
	machine.Expect("sh", "-c", machineScript).Does(answer("debian\n13\namd64\n"))
	machine.Expect("apt-get", "--quiet", "-o", "DPkg::Lock::Timeout=300", "update")
	machine.Expect("apt-get", "--quiet", "-o", "DPkg::Lock::Timeout=300", "install", "--yes", "--no-install-recommends", "conntrack", "socat").Fails(100, "no network")
	if err := Suitable(t.Context(), machine, p, true); exitcode.Of(err) != exitcode.Infrastructure {
		t.Errorf("apt failed: %v", err)
	}
	other := runtest.New(t)
	other.Expect("sh", "-c", machineScript).Does(answer("debian\n12\namd64\n"))
	if err := Suitable(t.Context(), other, p, true); exitcode.Of(err) != exitcode.Usage {
		t.Errorf("another release: %v", err)
	}
}
