package cluster

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const dumpV3 = `version = 3
disabled_plugins = []
[plugins]
  [plugins.'io.containerd.cri.v1.images']
    [plugins.'io.containerd.cri.v1.images'.pinned_images]
      sandbox = 'registry.k8s.io/pause:3.10.2'
  [plugins.'io.containerd.cri.v1.runtime']
    [plugins.'io.containerd.cri.v1.runtime'.containerd]
      default_runtime_name = 'runc'
      [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes]
        [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
          runtime_type = 'io.containerd.runc.v2'
          [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
            BinaryName = ''
            SystemdCgroup = true
    [plugins.'io.containerd.cri.v1.runtime'.cni]
      bin_dir = ''
      bin_dirs = ['/opt/cni/bin']
`

const dumpV2 = `version = 2
[plugins]
  [plugins."io.containerd.grpc.v1.cri"]
    sandbox_image = "registry.k8s.io/pause:3.8"
    [plugins."io.containerd.grpc.v1.cri".cni]
      bin_dir = "/usr/lib/cni"
    [plugins."io.containerd.grpc.v1.cri".containerd]
      default_runtime_name = "runc"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
        runtime_type = "io.containerd.runc.v2"
        [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
          SystemdCgroup = false
`

func TestParseContainerdConfig(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, text string
		want       ContainerdConfig
	}{
		{"version 3", dumpV3, ContainerdConfig{
			Version: 3, DefaultHandler: "runc", Disabled: []string{}, SandboxImage: "registry.k8s.io/pause:3.10.2",
			CNIBinDirs: []string{"/opt/cni/bin"}, Handlers: []RuntimeHandler{{"runc", runcShim, true}},
		}},
		{"version 2", dumpV2, ContainerdConfig{
			Version: 2, DefaultHandler: "runc", SandboxImage: "registry.k8s.io/pause:3.8",
			CNIBinDirs: []string{"/usr/lib/cni"}, Handlers: []RuntimeHandler{{"runc", runcShim, false}},
		}},
	} {
		got, err := ParseContainerdConfig([]byte(tc.text))
		if err != nil {
			t.Fatalf("%s: %v", tc.name, err)
		}
		if diff := cmp.Diff(tc.want, got); diff != "" {
			t.Errorf("%s (-want +got)\n%s", tc.name, diff)
		}
	}
	for name, text := range map[string]string{"no CRI section": "version = 3\n", "not TOML": "version = = 3"} {
		if _, err := ParseContainerdConfig([]byte(text)); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestContainerdConfigProblems(t *testing.T) {
	t.Parallel()
	replace := func(old, new string) string {
		if !strings.Contains(dumpV3, old) {
			t.Fatalf("%q is not in the fixture", old)
		}
		return strings.Replace(dumpV3, old, new, 1)
	}
	second := dumpV3 + `
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.nvidia]
  runtime_type = 'io.containerd.runc.v2'
`
	for _, tc := range []struct{ name, text, want string }{
		{"good", dumpV3, ""},
		{"false", replace("SystemdCgroup = true", "SystemdCgroup = false"), `handler "runc" (io.containerd.runc.v2): SystemdCgroup = false`},
		{"string", replace("SystemdCgroup = true", "SystemdCgroup = 'true'"), `SystemdCgroup is "true"`},
		{"absent", replace("SystemdCgroup = true", ""), "SystemdCgroup is absent"},
		{"second handler", second, `handler "nvidia" (io.containerd.runc.v2): SystemdCgroup is absent`},
		{"no type", replace("runtime_type = 'io.containerd.runc.v2'", ""), "has no runtime_type"},
		{"cri disabled", replace("disabled_plugins = []", "disabled_plugins = ['io.containerd.grpc.v1.cri']"), "disabled_plugins has io.containerd.grpc.v1.cri"},
		{"default not defined", replace("default_runtime_name = 'runc'", "default_runtime_name = 'nvidia'"), `default handler "nvidia" is not defined`},
	} {
		config, err := ParseContainerdConfig([]byte(tc.text))
		if err != nil {
			t.Fatalf("%s: %v", tc.name, err)
		}
		got := strings.Join(config.Problems(), "\n")
		if tc.want == "" && got != "" || !strings.Contains(got, tc.want) {
			t.Errorf("%s: got %q, want %q", tc.name, got, tc.want)
		}
	}
}

func TestContainerdArgv(t *testing.T) {
	t.Parallel()
	for in, want := range map[string][]string{
		"{ path=/usr/local/bin/containerd ; argv[]=/usr/local/bin/containerd ; ignore_errors=no ; start_time=[n/a] }":                                {"/usr/local/bin/containerd"},
		"{ path=/usr/bin/containerd ; argv[]=/usr/bin/containerd --log-level debug --config /etc/other.toml ; ignore_errors=no ; start_time=[n/a] }": {"/usr/bin/containerd", "--config", "/etc/other.toml"},
		"{ path=/usr/bin/containerd ; argv[]=/usr/bin/containerd -c=/etc/other.toml ; ignore_errors=no }":                                            {"/usr/bin/containerd", "-c=/etc/other.toml"},
		"": {"containerd"},
	} {
		if got := ContainerdArgv(in); !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", in, got, want)
		}
	}
}

func TestParseConfigz(t *testing.T) {
	t.Parallel()
	got, err := parseConfigz([]byte(`{"kubeletconfig":{"cgroupDriver":"systemd","resolvConf":"/run/systemd/resolve/resolv.conf","failSwapOn":true}}`))
	if err != nil || got.CgroupDriver != "systemd" || got.ResolvConf != "/run/systemd/resolve/resolv.conf" || got.FailSwapOn == nil {
		t.Errorf("got %+v, %v", got, err)
	}
	for _, bad := range []string{`{}`, `{"kubeletconfig":{}}`, `Forbidden`} {
		if _, err := parseConfigz([]byte(bad)); err == nil {
			t.Errorf("%s: no error", bad)
		}
	}
}
