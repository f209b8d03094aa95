package live

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// machine has these files; "-> " makes a link.
func machine(t *testing.T, files map[string]string) *Machine {
	t.Helper()
	// t.TempDir is too long for a socket's path.
	root, err := os.MkdirTemp("", "live")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(root) })
	for p, content := range files {
		p = filepath.Join(root, p)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if to, ok := strings.CutPrefix(content, "-> "); ok {
			err = os.Symlink(to, p)
		} else {
			err = os.WriteFile(p, []byte(content), 0o755)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return &Machine{Root: root}
}

func TestThisMachine(t *testing.T) {
	t.Parallel()
	m := Here()
	if release, err := m.Kernel(); err != nil || release == "" || strings.ContainsAny(release, " \n") {
		t.Errorf("kernel %q, %v", release, err)
	}
	if _, err := m.Swaps(); err != nil {
		t.Error(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Base(self)
	found, err := m.Processes(name)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range found {
		if p.Executable == self && !p.Replaced {
			return
		}
	}
	t.Errorf("this process, %s, is not among %+v", self, found)
}

func TestFiles(t *testing.T) {
	t.Parallel()
	m := machine(t, map[string]string{
		"/proc/sys/net/ipv4/ip_local_port_range":      "32768\t60999\n",
		"/proc/swaps":                                 "Filename Type Size Used Priority\n/dev/zram0 partition 1 0 100\n/a\\040b file 1 0 -2\n",
		"/sys/kernel/security/apparmor/profiles":      "runc (unconfined)\n/usr/bin/man//filter (enforce)\nname with blanks (complain)\n\n",
		"/sys/fs/cgroup/cgroup.controllers":           "cpu\n",
		"/sys/fs/cgroup/a.slice/b.scope/cgroup.procs": "1\n",
		"/proc/7/comm":                                "containerd-shim\n",
		"/proc/7/exe":                                 "-> /usr/bin/containerd-shim-runc-v2 (deleted)",
		"/proc/8/comm":                                "containerd\n", // ended: no exe
		"/proc/self/comm":                             "containerd\n",
	})
	if v, err := m.Sysctl("net.ipv4.ip_local_port_range"); v != "32768 60999" || err != nil {
		t.Errorf("sysctl: %q, %v", v, err)
	}
	if _, err := m.Sysctl("net.bridge.bridge-nf-call-iptables"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a setting of a missing module: %v", err)
	}
	if v, err := m.Swaps(); err != nil || !cmp.Equal(v, []string{"/dev/zram0", `/a\040b`}) {
		t.Errorf("swaps: %q, %v", v, err)
	}
	want := map[string]string{"runc": "unconfined", "/usr/bin/man//filter": "enforce", "name with blanks": "complain"}
	if v, err := m.AppArmor(); err != nil || !cmp.Equal(v, want) {
		t.Errorf("profiles: %q, %v", v, err)
	}
	if v2, err := m.CgroupV2(); err != nil || !v2 {
		t.Errorf("cgroup v2: %t, %v", v2, err)
	}
	if v, err := m.Cgroups(func(p string) bool { return strings.HasSuffix(p, ".scope") }); err != nil || !cmp.Equal(v, []string{"/a.slice/b.scope"}) {
		t.Errorf("cgroups: %q, %v", v, err)
	}
	if v, err := m.Processes("containerd"); err != nil || len(v) != 0 {
		t.Errorf("processes that ended: %+v, %v", v, err)
	}
	shim := []Process{{PID: "7", Executable: "/usr/bin/containerd-shim-runc-v2", Replaced: true}}
	if v, err := m.Processes("containerd-shim-runc-v2"); err != nil || !cmp.Equal(v, shim) {
		t.Errorf("a name of more than 15 bytes: %+v, %v", v, err)
	}
}

func TestDump(t *testing.T) {
	t.Parallel()
	m := machine(t, map[string]string{
		"/good":   "#!/bin/sh\n[ \"$2\" = \"${0%/good}/c.toml\" ] && [ \"$3 $4\" = 'config dump' ] || exit 9\necho \"[plugins.'io.containerd.grpc.v1.cri'.containerd.runtimes.runc]\nruntime_type = 'io.containerd.runc.v2'\n[plugins.'io.containerd.grpc.v1.cri'.containerd.runtimes.kata]\nruntime_type = 'io.containerd.kata.v2'\n[plugins.'io.containerd.grpc.v1.cri'.containerd.runtimes.runc.options]\nSystemdCgroup = 'true'\"\n",
		"/refuse": "#!/bin/sh\necho 'containerd: expected version 3' >&2\nexit 1\n",
		"/flood":  "#!/bin/sh\nyes\n",
		"/broken": "#!/bin/sh\necho '[plugins'\n",
		"/hang":   "#!/bin/sh\nexec sleep 60\n",
	})
	dump, err := m.ConfigDump(t.Context(), "/good", "/c.toml")
	if err != nil {
		t.Fatal(err)
	}
	// A string is no boolean, and Kata has no driver of runc's.
	if got := dump.Drivers(); !cmp.Equal(got, map[string]string{"runc": "cgroupfs"}) {
		t.Errorf("drivers: %v", got)
	}
	if _, err := m.ConfigDump(t.Context(), "/refuse", "/c.toml"); err == nil || !strings.Contains(err.Error(), "expected version 3") {
		t.Errorf("a refusal lacks containerd's own words: %v", err)
	}
	for _, name := range []string{"/flood", "/broken"} {
		if _, err := m.ConfigDump(t.Context(), name, "/c.toml"); err == nil {
			t.Errorf("%s gives no error", name)
		}
	}
	if _, err := m.ConfigDump(t.Context(), "/none", "/c.toml"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no containerd: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := m.ConfigDump(ctx, "/hang", "/c.toml"); err == nil || ctx.Err() == nil {
		t.Errorf("a containerd that hangs: %v", err)
	}
}

func TestCRIThatDoesNotAnswer(t *testing.T) {
	t.Parallel()
	m := machine(t, map[string]string{"/run/x": ""})
	if _, err := m.CRI(t.Context(), "/run/none.sock"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no socket: %v", err)
	}
	stale := filepath.Join(m.Root, "run/stale.sock")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: stale})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := m.CRI(t.Context(), "/run/stale.sock"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a socket that nobody listens on: %v", err)
	}
	// One that listens and never answers.
	mute, err := net.Listen("unix", filepath.Join(m.Root, "run/mute.sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer mute.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := m.CRI(ctx, "/run/mute.sock"); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a runtime that hangs: %v, want an error that is no verdict", err)
	}
}
