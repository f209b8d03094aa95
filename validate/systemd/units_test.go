package systemd

import (
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/nodeimage/packer-plugin-nodeimage/validate/source"
)

// image makes a root from "path: content"; a content of "-> target" is a link.
func image(files map[string]string) fstest.MapFS {
	root := fstest.MapFS{}
	for p, data := range files {
		if target, ok := strings.CutPrefix(data, "-> "); ok {
			root[source.Name(p)] = &fstest.MapFile{Data: []byte(target), Mode: fs.ModeSymlink | 0o777}
			continue
		}
		root[source.Name(p)] = &fstest.MapFile{Data: []byte(data), Mode: 0o644}
	}
	return root
}

func load(t *testing.T, files map[string]string) *Units {
	t.Helper()
	u, err := Load(image(files))
	if err != nil {
		t.Fatal(err)
	}
	return u
}

const containerdUnit = `[Unit]
Description=containerd container runtime
After=network.target

[Service]
ExecStartPre=-/sbin/modprobe overlay
ExecStart=/usr/bin/containerd
Type=notify
Delegate=yes
KillMode=process
LimitNOFILE=infinity
OOMScoreAdjust=-999
Environment="A=1 2" B=3

[Install]
WantedBy=multi-user.target
`

func TestServiceWithDropIns(t *testing.T) {
	t.Parallel()
	u := load(t, map[string]string{
		"/usr/lib/systemd/system/containerd.service":                  containerdUnit,
		"/etc/systemd/system/containerd.service.d/20-limit.conf":      "[Service]\nLimitNOFILE=1024:524288\n",
		"/etc/systemd/system/containerd.service.d/10-exec.conf":       "[Service]\nExecStart=\nExecStart=/usr/local/bin/containerd -l \\\n  debug\n",
		"/usr/lib/systemd/system/containerd.service.d/10-exec.conf":   "[Service]\nKillMode=mixed\n",
		"/usr/lib/systemd/system/containerd.service.d/30-kill.conf":   "[Service]\nKillMode=\nDelegate=cpu memory\n",
		"/usr/lib/systemd/system/containerd.service.d/readme.txt":     "[Service]\nKillMode=none\n",
		"/usr/lib/systemd/system/service.d/10-timeout.conf":           "[Service]\nRestart=always\n",
		"/usr/lib/systemd/system/containerd.service.d/99-hidden.conf": "[Service]\nRestart=on-abort\n",
		"/etc/systemd/system/containerd.service.d/99-hidden.conf":     "-> /dev/null",
	})
	s, err := u.Service("containerd.service")
	if err != nil {
		t.Fatal(err)
	}
	if s.Unit.State != Loaded || s.Unit.Fragment != "/usr/lib/systemd/system/containerd.service" {
		t.Errorf("state %s from %s", s.Unit.State, s.Unit.Fragment)
	}
	wantDropIns := []string{
		"/etc/systemd/system/containerd.service.d/10-exec.conf",
		"/usr/lib/systemd/system/service.d/10-timeout.conf",
		"/etc/systemd/system/containerd.service.d/20-limit.conf",
		"/usr/lib/systemd/system/containerd.service.d/30-kill.conf",
	}
	if diff := cmp.Diff(wantDropIns, s.Unit.DropIns); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"/etc/systemd/system/containerd.service.d/99-hidden.conf"}, s.Unit.MaskedDropIns); diff != "" {
		t.Error(diff)
	}
	if s.KillMode.Value != "control-group" {
		t.Errorf("KillMode %q: an empty assignment takes it back to the default", s.KillMode.Value)
	}
	if s.LimitNOFILE.Value != "1024:524288" || s.LimitNOFILE.Pos != (source.Position{File: "/etc/systemd/system/containerd.service.d/20-limit.conf", Line: 2}) {
		t.Errorf("LimitNOFILE %+v", s.LimitNOFILE)
	}
	if s.Restart.Value != "always" || s.OOMScoreAdjust.Value != "-999" || !s.Delegated() {
		t.Errorf("Restart %q, OOMScoreAdjust %q, Delegate %q", s.Restart.Value, s.OOMScoreAdjust.Value, s.Delegate.Value)
	}
	if len(s.ExecStart) != 1 || s.ExecStart[0].Path != "/usr/local/bin/containerd" || s.ExecStart[0].Pos.Line != 3 {
		t.Fatalf("ExecStart %+v", s.ExecStart)
	}
	if diff := cmp.Diff([]string{"-l", "debug"}, s.ExecStart[0].Args); diff != "" {
		t.Error(diff)
	}
	if len(s.ExecStartPre) != 1 || !s.ExecStartPre[0].IgnoreFailure || s.ExecStartPre[0].Path != "/sbin/modprobe" {
		t.Errorf("ExecStartPre %+v", s.ExecStartPre)
	}
	if env := s.Env(); env["A"].Value != "1 2" || env["B"].Value != "3" {
		t.Errorf("environment %+v", env)
	}
}

func TestDefaultsAreMarked(t *testing.T) {
	t.Parallel()
	u := load(t, map[string]string{"/usr/lib/systemd/system/x.service": "[Service]\nExecStart=/bin/x\n"})
	s, err := u.Service("x.service")
	if err != nil {
		t.Fatal(err)
	}
	if s.KillMode.Value != "control-group" || !s.KillMode.Pos.IsDefault() || s.Delegated() || s.Type.Value != "simple" {
		t.Errorf("KillMode %+v, Delegate %+v, Type %+v", s.KillMode, s.Delegate, s.Type)
	}
}

func TestStatesAndAliases(t *testing.T) {
	t.Parallel()
	u := load(t, stateFiles())
	for name, want := range states() {
		unit, err := u.Unit(name)
		if err != nil {
			t.Fatal(err)
		}
		e, err := u.Enablement(name)
		if err != nil {
			t.Fatal(err)
		}
		if unit.State != want.load || e.State != want.enable || unit.ID != want.id {
			t.Errorf("%s: %s %s as %s, want %+v", name, unit.State, e.State, unit.ID, want)
		}
	}
	for name, want := range map[string]string{"cc.service": "always", "c.service": "", "t@1.service": "always", "foo-bar.service": "on-failure"} {
		unit, err := u.Unit(name)
		if err != nil {
			t.Fatal(err)
		}
		if a, _ := unit.Settings.Last("Service", "Restart"); a.Value != want {
			t.Errorf("%s: Restart %q, want %q", name, a.Value, want)
		}
	}
	s, err := u.Service("t@1.service")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"1"}, s.ExecStart[0].Args); diff != "" {
		t.Error(diff)
	}
	boot, err := u.AtBoot()
	if err != nil {
		t.Fatal(err)
	}
	if len(boot) != 0 {
		t.Errorf("without a default.target nothing starts, got %v", boot)
	}
}

func TestAtBoot(t *testing.T) {
	t.Parallel()
	files := map[string]string{
		"/usr/lib/systemd/system/default.target":                      "-> graphical.target",
		"/usr/lib/systemd/system/graphical.target":                    "[Unit]\nRequires=multi-user.target\nWants=gone.service\n",
		"/usr/lib/systemd/system/multi-user.target":                   "[Unit]\nRequires=basic.target\n",
		"/usr/lib/systemd/system/basic.target":                        "[Unit]\nRequires=sysinit.target\nWants=timers.target\n",
		"/usr/lib/systemd/system/sysinit.target":                      "[Unit]\nWants=swap.target\n",
		"/usr/lib/systemd/system/swap.target":                         "[Unit]\n",
		"/usr/lib/systemd/system/timers.target":                       "[Unit]\n",
		"/usr/lib/systemd/system/apt-daily.timer":                     "[Timer]\nOnCalendar=*-*-* 6,18:00\n[Install]\nWantedBy=timers.target\n",
		"/usr/lib/systemd/system/masked.timer":                        "[Timer]\nOnCalendar=daily\n",
		"/etc/systemd/system/masked.timer":                            "-> /dev/null",
		"/etc/systemd/system/timers.target.wants/apt-daily.timer":     "-> /usr/lib/systemd/system/apt-daily.timer",
		"/etc/systemd/system/timers.target.wants/masked.timer":        "-> /usr/lib/systemd/system/masked.timer",
		"/usr/lib/systemd/system/kubelet.service":                     "[Service]\nExecStart=/usr/bin/kubelet\n[Install]\nWantedBy=multi-user.target\n",
		"/etc/systemd/system/multi-user.target.wants/kubelet.service": "-> /usr/lib/systemd/system/kubelet.service",
		"/etc/systemd/system/dev-sda2.swap":                           "[Swap]\nWhat=/dev/sda2\n",
		"/etc/systemd/system/swap.target.wants/dev-sda2.swap":         "-> ../dev-sda2.swap",
		"/etc/systemd/system/dev-sdb2.swap":                           "[Swap]\nWhat=/dev/sdb2\n",
		"/usr/lib/systemd/system-generators/zram-generator":           "x",
		"/usr/lib/systemd/zram-generator.conf":                        "[zram0]\nzram-size = ram / 2\n[zram1]\nmount-point=/var/x\n",
		"/etc/systemd/zram-generator.conf.d/off.conf":                 "[zram2]\nzram-size = 0\n",
	}
	u := load(t, files)
	boot, err := u.AtBoot()
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"graphical.target": "", "multi-user.target": "graphical.target", "basic.target": "multi-user.target",
		"kubelet.service": "multi-user.target", "sysinit.target": "basic.target", "timers.target": "basic.target",
		"swap.target": "sysinit.target", "apt-daily.timer": "timers.target", "dev-sda2.swap": "swap.target",
	}
	if diff := cmp.Diff(want, boot); diff != "" {
		t.Error(diff)
	}
	timers, err := u.Timers()
	if err != nil {
		t.Fatal(err)
	}
	if len(timers) != 1 || timers[0].Unit != "apt-daily.timer" || timers[0].Starts != "apt-daily.service" || timers[0].Schedule[0].Value != "*-*-* 6,18:00" {
		t.Errorf("timers %+v", timers)
	}
	swaps, err := u.Swaps()
	if err != nil {
		t.Fatal(err)
	}
	wantSwaps := []Swap{
		{"dev-sda2.swap", "/dev/sda2", source.Position{File: "/etc/systemd/system/dev-sda2.swap", Line: 2}},
		{"/dev/zram0", "zram", source.Position{File: "/usr/lib/systemd/zram-generator.conf", Line: 2}},
	}
	if diff := cmp.Diff(wantSwaps, swaps); diff != "" {
		t.Error(diff)
	}
	delete(files, "/usr/lib/systemd/system-generators/zram-generator")
	if swaps, err = load(t, files).Swaps(); err != nil || len(swaps) != 1 {
		t.Errorf("without the generator: %v %v", swaps, err)
	}
}

func TestConf(t *testing.T) {
	t.Parallel()
	root := image(map[string]string{
		"/usr/lib/systemd/networkd.conf":               "[Network]\nManageForeignRoutes=yes\n",
		"/etc/systemd/networkd.conf":                   "[Network]\n# nothing\n",
		"/usr/lib/systemd/networkd.conf.d/10-k8s.conf": "[Network]\nManageForeignRoutes=no\n",
	})
	s, problems, err := Conf(root, "networkd.conf")
	if err != nil || len(problems) != 0 {
		t.Fatal(err, problems)
	}
	a, ok := s.Last("Network", "ManageForeignRoutes")
	if !ok || a.Value != "no" || a.Pos.String() != "/usr/lib/systemd/networkd.conf.d/10-k8s.conf:2" {
		t.Errorf("%+v", a)
	}
	if len(s) != 1 {
		t.Errorf("the file in /usr has to be hidden by the one in /etc: %+v", s)
	}
}

func TestConditions(t *testing.T) {
	t.Parallel()
	u := load(t, map[string]string{"/etc/systemd/system/x.service": "[Unit]\nConditionPathExists=/a\nConditionPathExists=\nConditionPathExists=|!/b\nAssertVirtualization=vm\n[Service]\nExecStart=/bin/x\n"})
	unit, err := u.Unit("x.service")
	if err != nil {
		t.Fatal(err)
	}
	file := "/etc/systemd/system/x.service"
	want := []Condition{
		{"ConditionPathExists", "/b", true, true, source.Position{File: file, Line: 4}},
		{"AssertVirtualization", "vm", false, false, source.Position{File: file, Line: 5}},
	}
	if diff := cmp.Diff(want, unit.Conditions()); diff != "" {
		t.Error(diff)
	}
}

type state struct {
	load   LoadState
	enable string
	id     string
}

// stateFiles is one image with a unit in every state, states what each is.
func stateFiles() map[string]string {
	return map[string]string{
		"/usr/lib/systemd/system/a.service":                         "[Service]\nExecStart=/bin/a\n[Install]\nWantedBy=multi-user.target\n",
		"/usr/lib/systemd/system/b.service":                         "[Service]\nExecStart=/bin/b\n",
		"/etc/systemd/system/b.service":                             "-> /dev/null",
		"/usr/lib/systemd/system/c.service":                         "[Service]\nExecStart=/bin/c\n[Install]\nAlias=cc.service\n",
		"/etc/systemd/system/cc.service":                            "-> /usr/lib/systemd/system/c.service",
		"/etc/systemd/system/cc.service.d/x.conf":                   "[Service]\nRestart=always\n",
		"/usr/lib/systemd/system/d.service":                         "[Service]\nExecStart=/bin/d\n",
		"/usr/lib/systemd/system/e.service":                         "[Service]\nExecStart=/bin/e\n[Install]\nAlso=a.service\n",
		"/usr/lib/systemd/system/f.service":                         "[Service]\nRestart=no\n",
		"/etc/systemd/system/g.service":                             "",
		"/usr/lib/systemd/system/t@.service":                        "[Service]\nExecStart=/bin/t %i\n[Install]\nWantedBy=multi-user.target\n",
		"/etc/systemd/system/t@.service.d/o.conf":                   "[Service]\nRestart=always\n",
		"/etc/systemd/system/foo-.service.d/p.conf":                 "[Service]\nRestart=on-failure\n",
		"/usr/lib/systemd/system/foo-bar.service":                   "[Service]\nExecStart=/bin/foo\n",
		"/usr/lib/systemd/system/multi-user.target.wants/d.service": "-> ../d.service",
		"/etc/systemd/system/multi-user.target.wants/a.service":     "-> /usr/lib/systemd/system/a.service",
		"/etc/systemd/system/multi-user.target.wants/t@1.service":   "-> /usr/lib/systemd/system/t@.service",
	}
}

func states() map[string]state {
	return map[string]state{
		"a.service":       {Loaded, "enabled", "a.service"},
		"b.service":       {Masked, "masked", "b.service"},
		"c.service":       {Loaded, "enabled", "c.service"},
		"cc.service":      {Loaded, "alias", "c.service"},
		"d.service":       {Loaded, "static", "d.service"},
		"e.service":       {Loaded, "indirect", "e.service"},
		"f.service":       {Bad, "static", "f.service"},
		"g.service":       {Masked, "masked", "g.service"},
		"none.service":    {NotFound, "not-found", "none.service"},
		"t@1.service":     {Loaded, "enabled", "t@1.service"},
		"t@2.service":     {Loaded, "disabled", "t@2.service"},
		"foo-bar.service": {Loaded, "static", "foo-bar.service"},
	}
}
