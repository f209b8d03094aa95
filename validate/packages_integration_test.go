//go:build integration

package validate

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/pelletier/go-toml/v2"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/run"
	"github.com/nodeimage/packer-plugin-nodeimage/validate/live"
	"github.com/nodeimage/packer-plugin-nodeimage/validate/target"
)

// A suite is a release of Debian and what reading its packages predicts about
// a bare system with containerd, runc and the CNI plugins as they ship.
type suite struct {
	name    string
	version string // containerd's, the start
	// red is every finding that is not green.
	red []found
	// green are checks that must have looked, and found nothing.
	green []string
}

// found is a finding as it is compared.
type found struct {
	outcome       Outcome
	id, file, key string
	got           string // a part of it; not compared if empty
}

const (
	shippedConfig = "/etc/containerd/config.toml"
	criDriverKey  = `plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options.SystemdCgroup`
)

// bare is what any bare system lacks to be a node, whatever its packages.
func bare() []found {
	return []found{
		{Fail, "ip-forward-disabled", "/etc/sysctl.d", "net.ipv4.ip_forward", ""},
		{Fail, "br-netfilter-not-loaded", "/etc/modules-load.d", "br_netfilter", ""},
		{Warn, "inotify-limits-low", "/etc/sysctl.d", "fs.inotify.max_user_instances", "128"},
		{Warn, "time-not-synchronized", "/etc/systemd/system", "systemd-timesyncd.service", ""},
		{Warn, "packages-not-held", "/var/lib/dpkg/status", "containerd", ""},
		{Warn, "packages-not-held", "/var/lib/dpkg/status", "runc", ""},
	}
}

func trixie() suite {
	return suite{"trixie", "1.7.24", append(bare(),
		found{Fail, "cgroup-driver-mismatch", shippedConfig, criDriverKey, "cgroupfs for pods of handler runc (the default)"},
		// Debian's changelog names no fix for the three holes of 2025.
		found{Fail, "runc-vulnerable", "/usr/sbin/runc", "version", "CVE-2025-52881"},
		found{Warn, "containerd-vulnerable", "/usr/bin/containerd", "version", "CVE-2026-53488"},
		found{Warn, "containerd-end-of-life", "/usr/bin/containerd", "version", "2026-09-30"},
		found{Warn, "runc-unsupported", "/usr/sbin/runc", "version", "1.1.15"},
		found{Warn, "runc-older-than-tested", "/usr/sbin/runc", "version", "1.1.15"},
		found{Warn, "cni-plugins-old", "/usr/lib/cni/loopback", "version", "1.1.1"},
		found{Warn, "containerd-nofile-limit", "/usr/lib/systemd/system/containerd.service", "LimitNOFILE", "1073741816"},
	), []string{
		"apparmor-runc-signal-denied", // the profile attaches, and Debian's containerd lets runc in
		"containerd-config-keys-ignored", "containerd-config-version-old", "cni-plugins-missing", "containerd-kill-mode",
		"containerd-delegate-missing", "containerd-not-enabled", "runc-without-seccomp", "containerd-cri-disabled", "packages-broken",
	}}
}

// The default suite; the others are tagged slow. Needs root, mmdebstrap and a
// Debian mirror.
func TestDebianPackages(t *testing.T) { testSuite(t, trixie()) }

// testSuite installs a suite's packages and asks for all that is wrong.
func testSuite(t *testing.T, s suite) {
	if _, err := exec.LookPath("mmdebstrap"); err != nil {
		t.Fatalf("%v; install mmdebstrap", err)
	}
	dir := t.TempDir()
	root := filepath.Join(dir, "root.tar")
	// In namespaces of its own, so that nothing stays mounted or running.
	_, err := run.Host{}.Run(t.Context(), run.Cmd{Argv: run.Isolated("mmdebstrap", "--mode=root", "--variant=essential",
		"--include=containerd,runc,containernetworking-plugins,apparmor", `--aptopt=APT::Install-Recommends "false"`,
		// A mirror may be some days behind; its signature holds all the same.
		`--aptopt=Acquire::Check-Valid-Until "false"`,
		"--dpkgopt=path-exclude=/usr/share/doc/*", "--dpkgopt=path-exclude=/usr/share/locale/*",
		`--customize-hook=rm -f "$1/etc/hostname" "$1/etc/resolv.conf"`, // they are the build host's
		`--customize-hook=chroot "$1" containerd config dump > `+filepath.Join(dir, "dump.toml"),
		s.name, root, "http://deb.debian.org/debian")})
	must(t, err)
	opened, err := target.Open(t.Context(), root)
	must(t, err)
	defer opened.Close()
	node, err := NewNode(opened, nil)
	must(t, err)
	node.now = today()
	p, err := node.program("containerd")
	must(t, err)
	if !strings.HasPrefix(p.Version, s.version) {
		t.Errorf("containerd reads as %q, want %s: the suite has moved on, or the program was misread", p.Version, s.version)
	}
	compareDump(t, node, filepath.Join(dir, "dump.toml"))

	report, err := judge(t.Context(), node, Catalogue(), nil)
	must(t, err)
	var got, want []string
	for _, f := range report.Findings {
		if f.Outcome != Fail && f.Outcome != Warn {
			if f.Outcome == Pass && slices.Contains(s.green, f.ID) {
				got = append(got, "pass "+f.ID)
			}
			continue
		}
		line := fmt.Sprintf("%s %s %s %s", f.Outcome, f.ID, f.File, f.Key)
		for _, w := range s.red {
			if w.id == f.ID && w.key == f.Key && w.got != "" && !strings.Contains(f.Got, w.got) {
				line += fmt.Sprintf(": got %q, want %q in it", f.Got, w.got)
			}
		}
		got = append(got, line)
	}
	for _, w := range s.red {
		want = append(want, fmt.Sprintf("%s %s %s %s", w.outcome, w.id, w.file, w.key))
	}
	for _, id := range s.green {
		want = append(want, "pass "+id)
	}
	slices.Sort(got)
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		var text strings.Builder
		must(t, report.WriteText(&text, TextOptions{Skipped: true}))
		t.Errorf("findings (-predicted +found):\n%s\n%s", diff, text.String())
	}
}

// compareDump compares the model with what the installed containerd itself
// makes of the file that it came with.
func compareDump(t *testing.T, node *Node, path string) {
	t.Helper()
	data, err := os.ReadFile(path)
	must(t, err)
	var dump live.Dump
	must(t, toml.Unmarshal(data, &dump))
	model, err := node.containerd()
	must(t, err)
	drivers := map[string]string{}
	for name, h := range model.Handlers {
		drivers[name] = string(h.Driver())
	}
	if diff := cmp.Diff(dump.Drivers(), drivers); diff != "" || len(drivers) == 0 {
		t.Errorf("drivers of the handlers (-containerd config dump +model):\n%s", diff)
	}
	var doc struct {
		Plugins map[string]struct {
			SandboxImage string            `toml:"sandbox_image"`
			Pinned       map[string]string `toml:"pinned_images"`
			CNI          struct {
				BinDir  string   `toml:"bin_dir"`
				BinDirs []string `toml:"bin_dirs"`
			} `toml:"cni"`
		} `toml:"plugins"`
	}
	must(t, toml.Unmarshal(data, &doc))
	v1, v2 := doc.Plugins["io.containerd.grpc.v1.cri"], doc.Plugins["io.containerd.cri.v1.runtime"]
	dirs, sandbox := v2.CNI.BinDirs, doc.Plugins["io.containerd.cri.v1.images"].Pinned["sandbox"]
	if sandbox == "" {
		dirs, sandbox = []string{v1.CNI.BinDir}, v1.SandboxImage
	}
	if v2.CNI.BinDir != "" {
		dirs = []string{v2.CNI.BinDir}
	}
	if model.SandboxImage.Value != sandbox || !slices.Equal(model.CNIBinDirs.Value, dirs) {
		t.Errorf("containerd says pause image %q and CNI directories %q, the model %q and %q", sandbox, dirs, model.SandboxImage.Value, model.CNIBinDirs.Value)
	}
}
