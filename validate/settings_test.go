package validate

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// settings are all settings of a tree, one line each.
func settings(t *testing.T, root tree) []string {
	t.Helper()
	n, err := NewNode(root.open(t), nil)
	must(t, err)
	all, err := n.Settings()
	must(t, err)
	var out []string
	for _, s := range all {
		if s.Absent != "" {
			out = append(out, fmt.Sprintf("%s: none: %s", s.Program, s.Absent))
		}
		for _, e := range s.List {
			out = append(out, fmt.Sprintf("%s: %s = %s", s.Program, e.Key, e.Value))
		}
	}
	return out
}

// only are the lines of b that a has not.
func only(a, b []string) []string {
	var out []string
	for _, line := range b {
		if !slices.Contains(a, line) {
			out = append(out, line)
		}
	}
	return out
}

func TestSettingsThatChange(t *testing.T) {
	t.Parallel()
	good := goodNode()
	before := settings(t, good)
	for name, tt := range map[string]struct {
		change   tree
		was, now []string // in the order of the programs
	}{
		"a driver": {
			change: tree{"/etc/containerd/config.toml": file(strings.Replace(goodConfig, "SystemdCgroup = true", "SystemdCgroup = false", 1))},
			was:    []string{"containerd: cgroup driver that the kubelet is told = systemd", "containerd: handler runc: cgroup driver = systemd"},
			now:    []string{"containerd: cgroup driver that the kubelet is told = cgroupfs", "containerd: handler runc: cgroup driver = cgroupfs"},
		},
		"a key that no check knows, in a drop-in": {
			change: tree{"/etc/containerd/conf.d/9.toml": lines("version = 4", "[plugins.'io.containerd.cri.v1.images']", "max_concurrent_downloads = 9", "[debug]", "level = 'debug'")},
			now: []string{"containerd: debug.level = debug",
				`containerd: plugins."io.containerd.cri.v1.images".max_concurrent_downloads = 9`},
		},
		"a comment is no change": {
			change: tree{"/etc/containerd/config.toml": file("# mine\n" + goodConfig)},
		},
		"a broken file": {
			change: tree{"/etc/containerd/conf.d/9.toml": lines("version = ")},
			was:    []string{"containerd: (starts) = yes"},
			now:    []string{"containerd: (starts) = no: "},
		},
		"a sysctl that a later file overrides": {
			change: tree{"/etc/sysctl.d/99-mine.conf": lines("net.ipv4.ip_forward = 0")},
			was:    []string{"sysctl: net.ipv4.ip_forward = 1"},
			now:    []string{"sysctl: net.ipv4.ip_forward = 0"},
		},
		"a unit's drop-in": {
			change: tree{"/etc/systemd/system/containerd.service.d/z.conf": lines("[Service]", "KillMode=mixed", "ExecStartPre=/bin/true")},
			was:    []string{"systemd: containerd.service: Service.ExecStartPre = -/sbin/modprobe overlay", "systemd: containerd.service: Service.KillMode = process"},
			now:    []string{"systemd: containerd.service: Service.ExecStartPre = -/sbin/modprobe overlay /bin/true", "systemd: containerd.service: Service.KillMode = mixed"},
		},
		"a unit that is no longer enabled": {
			change: tree{"/etc/systemd/system/multi-user.target.wants/kubelet.service": nil},
			was:    []string{"systemd: kubelet.service = enabled", "systemd: kubelet.service: started at boot by = multi-user.target"},
			now:    []string{"systemd: kubelet.service = disabled"},
		},
		"a module": {
			change: tree{"/etc/modules-load.d/90-nodeimage.conf": lines("overlay")},
			was:    []string{"modules: load br_netfilter = at boot"},
		},
		"the command line": {
			change: tree{"/boot/grub/grub.cfg": grubConfig("console=ttyS0 cgroup_enable=memory")},
			now:    []string{"kernel: cgroup_enable = cgroup_enable=memory"},
		},
		"a flag of the kubelet": {
			change: tree{"/etc/default/kubelet": lines("KUBELET_EXTRA_ARGS=--node-ip=10.0.0.1")},
			now:    []string{"kubelet: --node-ip = 10.0.0.1"},
		},
		"no kubelet": {
			change: tree{"/usr/bin/kubelet": nil},
			now:    []string{"kubelet: none: kubelet is not installed"},
		},
		"a mount": {
			change: tree{"/etc/fstab": lines("LABEL=nodeimage-root / ext4 rw 0 1")},
			was:    []string{"fstab: / = LABEL=nodeimage-root ext4 rw,x-systemd.growfs"},
			now:    []string{"fstab: / = LABEL=nodeimage-root ext4 rw"},
		},
		"the journal's size": {
			change: tree{"/etc/systemd/journald.conf.d/a.conf": lines("[Journal]", "SystemMaxUse=1G")},
			now:    []string{"systemd: journald.conf: Journal.SystemMaxUse = 1G"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			after := settings(t, tt.change.over(good))
			was, now := only(after, before), only(before, after)
			if name == "no kubelet" || name == "a broken file" {
				// Everything else of it goes too.
				was = slices.DeleteFunc(was, func(l string) bool { return !slices.Contains(tt.was, l) })
				for i, l := range now {
					if strings.HasPrefix(l, "containerd: (starts) = no: ") {
						now[i] = "containerd: (starts) = no: "
					}
				}
				now = slices.DeleteFunc(now, func(l string) bool { return !slices.Contains(tt.now, l) })
			}
			if diff := cmp.Diff(tt.was, was, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("what was: %s", diff)
			}
			if diff := cmp.Diff(tt.now, now, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("what is now: %s", diff)
			}
		})
	}
}

func TestSettingsInOneLineOfAnInlineTable(t *testing.T) {
	t.Parallel()
	inline := strings.Replace(goodConfig, "    [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]\n      BinaryName = '/usr/local/sbin/runc'\n      SystemdCgroup = true\n",
		"    options = { BinaryName = '/usr/local/sbin/runc', SystemdCgroup = true, Root = '/run/x' }\n", 1)
	good := goodNode()
	got := only(settings(t, good), settings(t, tree{"/etc/containerd/config.toml": file(inline)}.over(good)))
	want := []string{`containerd: plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options.Root = /run/x`}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// A target without any of the programs says so for each, and is no error.
func TestSettingsOfAnEmptyTarget(t *testing.T) {
	t.Parallel()
	got := settings(t, tree{"/etc/hostname": lines("x")})
	for _, want := range []string{"containerd: none: containerd is not installed", "systemd: none: systemd is not installed", "kernel: none: no boot loader entry boots a node"} {
		if !slices.Contains(got, want) {
			t.Errorf("want %q in %q", want, got)
		}
	}
}
