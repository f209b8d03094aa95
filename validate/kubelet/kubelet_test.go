package kubelet

import (
	"errors"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/validate/source"
	"github.com/nodeimage/packer-plugin-nodeimage/validate/systemd"
)

const header = "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n"

// node is an image as kubeadm's packages and kubeadm init leave it.
func node(extra map[string]string) fstest.MapFS {
	root := fstest.MapFS{}
	files := map[string]string{
		"/usr/lib/systemd/system/kubelet.service": "[Service]\nExecStart=/usr/bin/kubelet\nRestart=always\n",
		"/usr/lib/systemd/system/kubelet.service.d/10-kubeadm.conf": `[Service]
Environment="KUBELET_KUBECONFIG_ARGS=--bootstrap-kubeconfig=/etc/kubernetes/bootstrap-kubelet.conf --kubeconfig=/etc/kubernetes/kubelet.conf"
Environment="KUBELET_CONFIG_ARGS=--config=/var/lib/kubelet/config.yaml"
EnvironmentFile=-/var/lib/kubelet/kubeadm-flags.env
EnvironmentFile=-/etc/default/kubelet
ExecStart=
ExecStart=/usr/bin/kubelet $KUBELET_KUBECONFIG_ARGS $KUBELET_CONFIG_ARGS $KUBELET_KUBEADM_ARGS $KUBELET_EXTRA_ARGS
`,
		"/var/lib/kubelet/kubeadm-flags.env": "KUBELET_KUBEADM_ARGS=\"--node-ip=10.0.0.1\"\n",
		"/var/lib/kubelet/config.yaml":       header + "cgroupDriver: systemd\nresolvConf: /run/systemd/resolve/resolv.conf\nstaticPodPath: /etc/kubernetes/manifests\n",
	}
	for p, d := range extra {
		files[p] = d
	}
	for p, d := range files {
		if d != "-" {
			root[source.Name(p)] = &fstest.MapFile{Data: []byte(d)}
		}
	}
	return root
}

func loadNode(t *testing.T, version string, extra map[string]string) *Config {
	t.Helper()
	root := node(extra)
	u, err := systemd.Load(root)
	if err != nil {
		t.Fatal(err)
	}
	s, err := u.Service("kubelet.service")
	if err != nil {
		t.Fatal(err)
	}
	c, err := Load(root, s, version)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestKubeadmNode(t *testing.T) {
	t.Parallel()
	c := loadNode(t, "v1.37.2", nil)
	if len(c.Faults) != 0 || len(c.Ignored) != 0 || !c.Present {
		t.Fatalf("faults %+v, ignored %+v", c.Faults, c.Ignored)
	}
	want := Setting[string]{"systemd", "cgroupDriver", source.Position{File: "/var/lib/kubelet/config.yaml", Line: 3}}
	if diff := cmp.Diff(want, c.CgroupDriver); diff != "" {
		t.Error(diff)
	}
	if c.ResolvConf.Value != "/run/systemd/resolve/resolv.conf" || c.StaticPodPath.Value != "/etc/kubernetes/manifests" {
		t.Errorf("%+v %+v", c.ResolvConf, c.StaticPodPath)
	}
	if c.File.Pos.String() != "/usr/lib/systemd/system/kubelet.service.d/10-kubeadm.conf:3" {
		t.Errorf("--config from %s", c.File.Pos)
	}
	if !c.FailSwapOn.Value || !c.FailSwapOn.Pos.IsDefault() {
		t.Errorf("%+v", c.FailSwapOn)
	}
}

func TestBeforeInit(t *testing.T) {
	t.Parallel()
	c := loadNode(t, "1.37.2", map[string]string{"/var/lib/kubelet/config.yaml": "-", "/var/lib/kubelet/kubeadm-flags.env": "-"})
	if c.Present || c.CgroupDriver.Value != "cgroupfs" || !c.CgroupDriver.Pos.IsDefault() {
		t.Errorf("%+v", c.CgroupDriver)
	}
	if len(c.Faults) != 1 || !strings.Contains(c.Faults[0].Text, "/var/lib/kubelet/config.yaml") {
		t.Errorf("faults %+v", c.Faults)
	}
}

func TestPrecedence(t *testing.T) {
	t.Parallel()
	extra := map[string]string{
		"/etc/default/kubelet":                      "KUBELET_EXTRA_ARGS=--config-dir=/etc/kubernetes/kubelet.conf.d --fail-swap-on=false\n",
		"/etc/kubernetes/kubelet.conf.d/20.conf":    header + "cgroupDriver: cgroupfs\nfeatureGates:\n  A: true\n",
		"/etc/kubernetes/kubelet.conf.d/10.conf":    header + "resolvConf: /etc/resolv.conf.k8s\nfeatureGates: {A: false, B: yes}\nstaticPodPath: null\n",
		"/etc/kubernetes/kubelet.conf.d/30.yaml":    header + "cgroupDriver: bogus\n",
		"/etc/kubernetes/kubelet.conf.d/sub/1.conf": header + "memorySwap:\n  swapBehavior: LimitedSwap\n",
	}
	c := loadNode(t, "1.36.1", extra)
	if len(c.Faults) != 0 {
		t.Fatalf("faults %+v", c.Faults)
	}
	if c.CgroupDriver.Value != "cgroupfs" || c.CgroupDriver.Pos.String() != "/etc/kubernetes/kubelet.conf.d/20.conf:3" {
		t.Errorf("%+v", c.CgroupDriver)
	}
	if c.ResolvConf.Value != "/etc/resolv.conf.k8s" || c.StaticPodPath.Value != "" || c.SwapBehavior.Value != "LimitedSwap" {
		t.Errorf("%+v %+v %+v", c.ResolvConf, c.StaticPodPath, c.SwapBehavior)
	}
	if !c.FeatureGates["A"].Value || !c.FeatureGates["B"].Value {
		t.Errorf("%+v", c.FeatureGates)
	}
	if c.FailSwapOn.Value || c.FailSwapOn.Key != "--fail-swap-on" || c.FailSwapOn.Pos.String() != "/etc/default/kubelet:1" {
		t.Errorf("%+v", c.FailSwapOn)
	}
	extra["/etc/default/kubelet"] = "KUBELET_EXTRA_ARGS=--config-dir=/etc/kubernetes/kubelet.conf.d --cgroup-driver systemd --cgroup_driver=cgroupfs --cgroup-driver systemd\n"
	if c = loadNode(t, "1.36.1", extra); c.CgroupDriver.Value != "systemd" || c.CgroupDriver.Key != "--cgroup-driver" {
		t.Errorf("the last flag has to win over every file: %+v", c.CgroupDriver)
	}
}

func TestDefaultsByVersion(t *testing.T) {
	t.Parallel()
	for v, want := range map[string]bool{"1.34.3": false, "1.35.0": true, "v1.37.2": true} {
		if c := loadNode(t, v, nil); c.FailCgroupV1.Value != want {
			t.Errorf("%s: failCgroupV1 %v, want %v", v, c.FailCgroupV1.Value, want)
		}
	}
}

func TestStaleFlags(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		version, args string
		fault         string
	}{
		{"1.34.3", "--pod-infra-container-image=x", ""},
		{"1.35.0", "--pod-infra-container-image=x", "unknown flag: --pod-infra-container-image"},
		{"1.36.1", "--containerd=/run/x --machine_id_file=/x", ""},
		{"1.37.2", "--containerd=/run/x", "unknown flag: --containerd"},
		{"1.37.2", "--housekeeping_interval=10s", ""},
		{"1.37.2", "--no-such=1", "unknown flag: --no-such"},
		{"1.30.0", "--no-such=1", ""},
		{"1.30.0", "--container-runtime=remote", "unknown flag: --container-runtime"},
		{"1.37.2", "stray", "unknown command [stray]"},
		{"1.37.2", "--node-ip", "flag needs an argument: --node-ip"},
		{"1.37.2", "--fail-swap-on=maybe", "invalid argument \"maybe\""},
		{"1.37.2", "--feature-gates=A=perhaps", "invalid value of A=perhaps"},
		{"1.37.2", "-v=4 --v 2 -v2", ""},
		{"1.37.2", "-x", "unknown shorthand flag"},
		{"1.37.2", "--cgroup-driver=none", "unsupported cgroup driver"},
	} {
		c := loadNode(t, tt.version, map[string]string{"/etc/default/kubelet": "# x\nKUBELET_EXTRA_ARGS=\"" + tt.args + "\"\n"})
		if tt.fault == "" {
			if len(c.Faults) != 0 {
				t.Errorf("%s %s: %+v", tt.version, tt.args, c.Faults)
			}
			continue
		}
		if len(c.Faults) != 1 || !strings.Contains(c.Faults[0].Text, tt.fault) || c.Faults[0].Pos.String() != "/etc/default/kubelet:2" {
			t.Errorf("%s %s: %+v, want %q", tt.version, tt.args, c.Faults, tt.fault)
		}
	}
}

func TestBadFiles(t *testing.T) {
	t.Parallel()
	const file = "/var/lib/kubelet/config.yaml"
	for _, tt := range []struct {
		name, data, fault string
		line              int
	}{
		{"empty", "", "was empty", 0},
		{"syntax", header + "a: [\n", "did not find expected", 3},
		{"kind", "apiVersion: v1\nkind: Pod\n", "no kind \"Pod\"", 0},
		{"type", header + "failSwapOn: \"false\"\n", "cannot unmarshal string", 3},
		{"type of a string", header + "cgroupDriver: true\n", "cannot unmarshal bool", 3},
		{"list", header + "cgroupDriver: [a]\n", "cannot unmarshal array", 3},
		{"no mapping", "- a\n", "is no mapping", 1},
		{"alias bomb", header + bomb(), "more than", 0},
	} {
		c := loadNode(t, "1.37.2", map[string]string{file: tt.data})
		if len(c.Faults) != 1 || !strings.Contains(c.Faults[0].Text, tt.fault) || c.Faults[0].Pos.File != file || tt.line != 0 && c.Faults[0].Pos.Line != tt.line {
			t.Errorf("%s: %+v, want %q in line %d", tt.name, c.Faults, tt.fault, tt.line)
		}
	}
	c := loadNode(t, "1.37.2", map[string]string{file: header + "cgroupdriver: systemd\n"})
	if diff := cmp.Diff([]Ignored{{"cgroupdriver", source.Position{File: file, Line: 3}}}, c.Ignored); diff != "" || c.CgroupDriver.Value != "cgroupfs" {
		t.Error(diff, c.CgroupDriver)
	}
}

func bomb() string {
	var b strings.Builder
	b.WriteString("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n")
	for i := 1; i < 8; i++ {
		p := "*a" + string(rune('0'+i-1))
		b.WriteString("a" + string(rune('0'+i)) + ": &a" + string(rune('0'+i)) + " [" + strings.Repeat(p+", ", 9) + p + "]\n")
	}
	return b.String()
}

func TestMissingEnvironmentFile(t *testing.T) {
	t.Parallel()
	c := loadNode(t, "1.37.2", map[string]string{"/etc/systemd/system/kubelet.service.d/20.conf": "[Service]\nEnvironmentFile=/etc/none\n"})
	if len(c.Faults) != 1 || c.Faults[0].Pos.String() != "/etc/systemd/system/kubelet.service.d/20.conf:2" {
		t.Errorf("%+v", c.Faults)
	}
}

func TestNegotiate(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		version     string
		gates       string
		implemented bool
		want        Negotiation
	}{
		{"1.27.0", "", true, Negotiation{Driver: "systemd"}},
		{"1.30.0", "", true, Negotiation{Driver: "systemd"}},
		{"1.30.0", "featureGates: {KubeletCgroupDriverFromCRI: true}\n", true, Negotiation{Driver: "cgroupfs", FromRuntime: true}},
		{"1.32.0", "", true, Negotiation{Driver: "cgroupfs", FromRuntime: true}},
		{"1.32.0", "featureGates: {KubeletCgroupDriverFromCRI: false}\n", true, Negotiation{Driver: "systemd"}},
		{"1.34.3", "featureGates: {KubeletCgroupDriverFromCRI: false}\n", true, Negotiation{Driver: "cgroupfs", FromRuntime: true}},
		{"1.37.2", "", false, Negotiation{Driver: "systemd"}},
	} {
		c := loadNode(t, tt.version, map[string]string{"/var/lib/kubelet/config.yaml": header + "cgroupDriver: systemd\n" + tt.gates})
		if diff := cmp.Diff(tt.want, c.Negotiate(tt.implemented, "cgroupfs")); diff != "" {
			t.Errorf("%s %s: %s", tt.version, tt.gates, diff)
		}
	}
	if n := loadNode(t, "1.38.0", nil).Negotiate(false, ""); n.Refusal == "" {
		t.Error("1.38 has to refuse a runtime without RuntimeConfig")
	}
}

func TestVersionsAndBounds(t *testing.T) {
	t.Parallel()
	for _, v := range []string{"", "2.0.0", "1", "latest"} {
		if _, err := Effective(fstest.MapFS{}, nil, v); err == nil || exitcode.Of(err) != exitcode.Usage {
			t.Errorf("version %q: %v", v, err)
		}
	}
	root := fstest.MapFS{"c": {Data: make([]byte, source.MaxFile+1)}}
	_, err := Effective(root, []systemd.Arg{{Text: "--config=/c"}}, "1.37.2")
	if !errors.Is(err, source.ErrTooLarge) {
		t.Errorf("oversized file: %v", err)
	}
}

func FuzzEffective(f *testing.F) {
	f.Add(header+"cgroupDriver: systemd\n", header+"failSwapOn: no\nfeatureGates: {A: true}\n", "--fail-swap-on false -v=2")
	f.Add(header+bomb(), header+"<<: &a {b: *a}\n", "--config --config-dir -- x")
	f.Add("? {a: b}\n: c\n", "[]", "-v2 --feature-gates=A=true,B --a_b=c --")
	f.Add(header+"x: &x {y: 1}\n<<: *x\n", header+"x: null\nmemorySwap: 1\n", "- --= =")
	f.Fuzz(func(t *testing.T, main, drop, flags string) {
		root := fstest.MapFS{"c.yaml": {Data: []byte(main)}, "d/1.conf": {Data: []byte(drop)}, "d/2.conf": {Data: []byte(main)}}
		args := []systemd.Arg{{Text: "--config=/c.yaml"}, {Text: "--config-dir=/d"}}
		for _, w := range strings.Fields(flags) {
			args = append(args, systemd.Arg{Text: w, Pos: source.Position{File: "/u", Line: 1}})
		}
		for _, v := range []string{"1.27.0", "1.34.3", "1.37.2"} {
			c, err := Effective(root, args, v)
			if err != nil {
				continue
			}
			for _, s := range c.Values {
				if s.Pos.Line == 0 {
					t.Fatalf("%s without a line", s.Key)
				}
			}
			if d := c.CgroupDriver.Value; d != "systemd" && d != "cgroupfs" && len(c.Faults) == 0 {
				t.Fatalf("driver %q without a fault", d)
			}
		}
	})
}
