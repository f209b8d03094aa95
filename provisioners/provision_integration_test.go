//go:build integration

package provisioners_test

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"

	"github.com/nodeimage/packer-plugin-nodeimage/builder/chroot"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/manifest"
	"github.com/nodeimage/packer-plugin-nodeimage/profiles"
	"github.com/nodeimage/packer-plugin-nodeimage/provisioners/host"
	"github.com/nodeimage/packer-plugin-nodeimage/provisioners/kubernetes"
	"github.com/nodeimage/packer-plugin-nodeimage/provisioners/plan/executor"
	"github.com/nodeimage/packer-plugin-nodeimage/provisioners/runtime"
	"github.com/nodeimage/packer-plugin-nodeimage/provisioners/seal"
)

// rootVariable may name a tar of a Debian 13 root file system to start from,
// in place of a fresh one from the profile's archive.
const rootVariable = "NODEIMAGE_TEST_ROOTFS"

// newRoot makes a root file system with the profile's packages but without a
// kernel and boot loaders, which no provisioner looks at.
func newRoot(t *testing.T, p *profiles.Profile) string {
	t.Helper()
	root := filepath.Join(t.TempDir(), "root")
	if tar := os.Getenv(rootVariable); tar != "" {
		must(t, os.Mkdir(root, 0o755))
		output(t, "tar", "-C", root, "--numeric-owner", "-xf", tar)
		return root
	}
	var include []string
	for group, packages := range p.Packages.Include {
		if group != "boot" {
			include = append(include, packages...)
		}
	}
	args := []string{"--variant=" + p.Packages.Variant, "--include=" + strings.Join(include, ","), "--architectures=" + p.OS.Arch,
		"--keyring=" + p.Archive.Keyring, p.OS.Codename, root}
	for _, s := range p.Archive.Sources {
		for _, suite := range s.Suites {
			args = append(args, "deb "+s.URI+" "+suite+" "+strings.Join(s.Components, " "))
		}
	}
	output(t, "mmdebstrap", args...)
	return root
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func output(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", name, err, out)
	}
	return string(out)
}

// say collects what a provisioner tells.
type say struct {
	packersdk.MockUi
	lines []string
}

func (s *say) Say(line string) { s.lines = append(s.lines, line) }

// TestProvision carries out all four provisioners on a real root file system,
// each twice, and looks at what they left with the image's own programs.
func TestProvision(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("this test needs root, for chroot(2) and mounts")
	}
	p, err := profiles.Load("debian-13")
	must(t, err)
	root := newRoot(t, p)
	comm, err := chroot.New(root)
	must(t, err)
	t.Cleanup(func() {
		if err := comm.Close(); err != nil {
			t.Error(err)
		}
	})
	inside := func(argv ...string) string {
		t.Helper()
		var out, errs bytes.Buffer
		cmd := &packersdk.RemoteCmd{Command: strings.Join(argv, " "), Stdout: &out, Stderr: &errs}
		must(t, comm.Start(context.WithoutCancel(t.Context()), cmd))
		if code := cmd.Wait(); code != 0 {
			t.Fatalf("%v: exit status %d: %s%s", argv, code, errs.String(), out.String())
		}
		return out.String()
	}
	twice := func(name string, made packersdk.Provisioner) {
		t.Helper()
		must(t, made.Prepare(map[string]any{"profile": "debian-13"}))
		for _, again := range []bool{false, true} {
			ui := &say{}
			if err := made.Provision(t.Context(), ui, comm, nil); err != nil {
				t.Fatalf("%s (again: %t): %v", name, again, err)
			}
			t.Log(strings.Join(ui.lines, "\n"))
			changed := slices.ContainsFunc(ui.lines, func(l string) bool { return strings.HasPrefix(l, "changed:") })
			if changed == again {
				t.Errorf("%s (again: %t) changed something: %t", name, again, changed)
			}
		}
	}

	twice("host", new(host.Provisioner))
	if got := inside("systemctl", "--root=/", "is-enabled", "nodeimage-ssh-keys.service", "systemd-networkd.service"); got != "enabled\nenabled\n" {
		t.Errorf("units are %q", got)
	}
	inside("systemd-analyze", "verify", "--root=/", "--recursive-errors=yes", "nodeimage-ssh-keys.service")
	inside("mkdir -p /run/sshd && ssh-keygen -A && sshd -t")

	twice("runtime", new(runtime.Provisioner))
	if got := inside("runc", "--version"); !strings.Contains(got, "libseccomp: ") {
		t.Errorf("runc has no seccomp: %s", got)
	}
	breakConfiguration(t, root, comm)

	twice("kubernetes", new(kubernetes.Provisioner))
	inside("systemd-analyze", "verify", "containerd.service", "kubelet.service")
	noLeftovers(t, root)
	twice("seal", new(seal.Provisioner))
	sealed(t, root)
	fragments(t, root)
}

// breakConfiguration spoils config.toml as people do, and wants the read-back
// from the real containerd to see it.
func breakConfiguration(t *testing.T, root string, comm packersdk.Communicator) {
	t.Helper()
	path := filepath.Join(root, runtime.ConfigPath)
	good, err := os.ReadFile(path)
	must(t, err)
	for name, spoil := range map[string]func(string) string{
		"string":  func(s string) string { return strings.Replace(s, "SystemdCgroup = true", `SystemdCgroup = "true"`, 1) },
		"missing": func(s string) string { return strings.Replace(s, "SystemdCgroup = true", "", 1) },
		"pause":   func(s string) string { return strings.Replace(s, "pause:3.10.2", "pause:3.9", 1) },
		"unknown key": func(s string) string {
			return strings.Replace(s, "default_runtime_name", "snaphotter = 'x'\ndefault_runtime_name", 1)
		},
		"disabled":     func(s string) string { return "disabled_plugins = ['cri']\n" + s },
		"other driver": func(s string) string { return strings.Replace(s, "SystemdCgroup = true", "SystemdCgroup = false", 1) },
		"not TOML":     func(s string) string { return s + "\n[" },
	} {
		must(t, os.WriteFile(path, []byte(spoil(string(good))), 0o644))
		if err := readBack(t, comm); err == nil {
			t.Errorf("%s: the read-back saw nothing", name)
		} else {
			t.Logf("%s: %v", name, err)
		}
	}
	must(t, os.WriteFile(path, good, 0o644))
	must(t, readBack(t, comm))
}

// noLeftovers looks for what an import leaves when it is careless.
func noLeftovers(t *testing.T, root string) {
	t.Helper()
	for _, pattern := range []string{"var/tmp/*", "run/nodeimage*", "run/containerd", "opt/containerd", "var/lib/containerd/io.containerd.content.v1.content/ingest/*",
		"var/lib/containerd/io.containerd.grpc.v1.cri", "var/lib/containerd/io.containerd.snapshotter.v1.native"} {
		left, err := filepath.Glob(filepath.Join(root, pattern))
		must(t, err)
		if len(left) > 0 {
			t.Errorf("left in the image: %v", left)
		}
	}
}

func sealed(t *testing.T, root string) {
	t.Helper()
	for _, pattern := range []string{"etc/ssh/ssh_host_*", "etc/passwd-", "tmp/*", "tmp/.[a-z]*", "var/tmp/*", "var/lib/apt/lists/*", "var/log/*.log", "var/lib/cloud/*", "var/lib/containerd/*/uuid"} {
		left, err := filepath.Glob(filepath.Join(root, pattern))
		must(t, err)
		if len(left) > 0 {
			t.Errorf("left in the sealed image: %v", left)
		}
	}
	if id, err := os.ReadFile(filepath.Join(root, "etc/machine-id")); err != nil || len(id) > 0 {
		t.Errorf("machine-id is %q (%v), want an empty file", id, err)
	}
}

func fragments(t *testing.T, root string) {
	t.Helper()
	for name, components := range map[string]int{"host": 0, "runtime": 3, "kubernetes": 5} {
		data, err := os.ReadFile(filepath.Join(root, manifest.FragmentDir, name+".json"))
		must(t, err)
		var f manifest.Fragment
		must(t, json.Unmarshal(data, &f))
		if len(f.Components) != components {
			t.Errorf("fragment %s has %d components, want %d", name, len(f.Components), components)
		}
		for _, c := range f.Components {
			for _, file := range c.Files {
				if info, err := os.Stat(filepath.Join(root, file.Path)); err != nil || info.Size() != file.Size {
					t.Errorf("%s of %s: %v, want %d bytes", file.Path, c.Name, err, file.Size)
				}
			}
		}
		if name == "kubernetes" && len(f.Containers) != 7 {
			t.Errorf("fragment lists %d container images, want 7", len(f.Containers))
		}
	}
}

func readBack(t *testing.T, comm packersdk.Communicator) error {
	t.Helper()
	p, err := profiles.Load("debian-13")
	must(t, err)
	target, err := executor.New(t.Context(), comm)
	must(t, err)
	return runtime.ReadBack(t.Context(), target, p)
}
