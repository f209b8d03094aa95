package containerd

import (
	"fmt"
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"
)

// A row is one set of files and what each containerd makes of them. The
// outcomes were first seen with the distributions' binaries; the integration
// test repeats them with binaries built from the Go modules.
type row struct {
	name string
	main string            // config.toml; "" is no such file
	drop map[string]string // other files below /etc/containerd
	want map[string]string // version -> outcome, see outcome()
}

// columns are the versions every row must have an outcome for.
func columns() []string {
	return []string{"1.6.20", "1.7.12", "1.7.18", "1.7.24", "1.6.36", "2.0.14", "2.1.9", "2.2.2", "2.3.4", "2.3.7", "2.4.2"}
}

// expect spreads one outcome a group of versions over the columns.
func expect(old, refusing1x, v20to22, v234, later string) map[string]string {
	return map[string]string{
		"1.6.20": old, "1.7.12": old,
		"1.7.18": refusing1x, "1.7.24": refusing1x, "1.6.36": refusing1x,
		"2.0.14": v20to22, "2.1.9": v20to22, "2.2.2": v20to22,
		"2.3.4": v234, "2.3.7": later, "2.4.2": later,
	}
}

const (
	v2runc    = `[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]`
	v2opts    = `[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]`
	v3opts    = `[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]`
	runcType  = "\nruntime_type = \"io.containerd.runc.v2\"\n"
	on        = "\nSystemdCgroup = true\n"
	v2Full    = v2runc + runcType + v2opts + on
	v3nvidia  = "[plugins.'io.containerd.cri.v1.runtime'.containerd]\ndefault_runtime_name = \"nvidia\"\n[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.nvidia]" + runcType
	v2nvidia  = "[plugins.\"io.containerd.grpc.v1.cri\".containerd]\ndefault_runtime_name = \"nvidia\"\n[plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.nvidia]" + runcType
	v3nvopts  = "[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.nvidia.options]\nBinaryName = \"/usr/bin/nvidia-container-runtime\"\n"
	v2nvopts  = "[plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.nvidia.options]\nBinaryName = \"/usr/bin/nvidia-container-runtime\"\n"
	imports   = "imports = ['/etc/containerd/conf.d/*.toml']\n"
	refuses12 = "refuses: unsupported config version"
	refuses23 = "refuses: drop-in config version 3 higher than root config version 2"
)

func matrix() []row {
	return []row{
		{"default", "", nil, expect("false", "false", "CGROUPFS", "CGROUPFS", "CGROUPFS")},
		{"v2, old path, full", "version = 2\n" + v2Full, nil, expect("true", "true", "SYSTEMD", "SYSTEMD", "SYSTEMD")},
		{"v2, old path, options only", "version = 2\n" + v2opts + on, nil,
			expect("no runtime name", "no runtime name", "SYSTEMD", "SYSTEMD", "SYSTEMD")},
		{"v3, new path", "version = 3\n" + v3opts + on, nil, expect("false", refuses12, "SYSTEMD", "SYSTEMD", "SYSTEMD")},
		{"v3, old path", "version = 3\n" + v2Full, nil, expect("true", refuses12, "CGROUPFS", "SYSTEMD", "SYSTEMD")},
		{"v2, new path", "version = 2\n" + v3opts + on, nil, expect("false", "false", "SYSTEMD", "SYSTEMD", "SYSTEMD")},
		{"no version, v2 path", v2Full, nil, expect("false", "false", "CGROUPFS", "SYSTEMD", "SYSTEMD")},
		{"v1", "[plugins.cri.containerd.runtimes.runc]" + runcType + "[plugins.cri.containerd.runtimes.runc.options]" + on, nil,
			expect("true", "true", "CGROUPFS", "SYSTEMD", "SYSTEMD")},
		{"v4", "version = 4\n" + v3opts + on, nil,
			expect("false", refuses12, "refuses: expected containerd config version equal to or less than `3`, got `4`", "SYSTEMD", "SYSTEMD")},
		{"legacy systemd_cgroup", "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\"]\nsystemd_cgroup = true\n", nil,
			expect("CRI fails: `systemd_cgroup` only works for runtime", "CRI fails: `systemd_cgroup` only works for runtime", "CGROUPFS", "CGROUPFS", "CGROUPFS")},
		// The dump of 1.x shows the lower-case key as it stands and no
		// SystemdCgroup; the shim's options are decoded by go-toml 1, which
		// takes that spelling too, so it does have effect.
		{"lower-case key", "version = 2\n" + v2runc + runcType + v2opts + "\nsystemdCgroup = true\n", nil,
			expect("true", "true", "SYSTEMD", "SYSTEMD", "SYSTEMD")},
		{"string", "version = 2\n" + v2runc + runcType + v2opts + "\nSystemdCgroup = \"true\"\n", nil,
			expect("cannot be decoded", "cannot be decoded", "auto, cannot be decoded", "auto, cannot be decoded", "auto, cannot be decoded")},
		{"default nvidia without SystemdCgroup, v2", "version = 2\n" + v2Full + v2nvidia + v2nvopts, nil,
			expect("false", "false", "CGROUPFS", "CGROUPFS", "CGROUPFS")},
		{"default nvidia without SystemdCgroup, v3", "version = 3\n" + v3opts + on + v3nvidia + v3nvopts, nil,
			expect("false", refuses12, "CGROUPFS", "CGROUPFS", "CGROUPFS")},
		{"default nvidia without options, v2", "version = 2\n" + v2Full + v2nvidia, nil,
			expect("false", "false", "SYSTEMD, default handler cgroupfs", "SYSTEMD, default handler cgroupfs", "SYSTEMD, default handler cgroupfs")},
		{"second handler without", "version = 2\n" + v2Full + strings.Replace(v2nvidia, "default_runtime_name = \"nvidia\"\n", "", 1) + v2nvopts, nil,
			expect("true, nvidia cgroupfs", "true, nvidia cgroupfs", "SYSTEMD, nvidia cgroupfs", "SYSTEMD, nvidia cgroupfs", "SYSTEMD, nvidia cgroupfs")},
		{"sandbox_image in v3", "version = 3\n[plugins.\"io.containerd.grpc.v1.cri\"]\nsandbox_image = \"example.test/pause:3.99\"\n", nil,
			map[string]string{
				"1.6.20": "false, pause 3.99", "1.7.12": "false, pause 3.99", "1.7.18": refuses12, "1.7.24": refuses12, "1.6.36": refuses12,
				"2.0.14": "CGROUPFS, pause 3.10", "2.1.9": "CGROUPFS, pause 3.10", "2.2.2": "CGROUPFS, pause 3.10.1", "2.3.4": "CGROUPFS, pause 3.99", "2.3.7": "CGROUPFS, pause 3.99", "2.4.2": "CGROUPFS, pause 3.99"}},
		{"docker's file", "disabled_plugins = [\"cri\"]\n", nil,
			expect("CRI disabled", "CRI disabled", "CRI disabled", "CRI disabled", "CRI disabled")},
		{"cri disabled by its old name in v2", "version = 2\ndisabled_plugins = [\"cri\"]\n", nil,
			expect("refuses: invalid disabled plugin URI \"cri\"", "refuses: invalid disabled plugin URI \"cri\"", "refuses: invalid disabled plugin URI \"cri\"", "refuses: invalid disabled plugin URI \"cri\"", "refuses: invalid disabled plugin URI \"cri\"")},

		{"both paths in v2", "version = 2\n" + v2Full + v3opts + "\nSystemdCgroup = false\n", nil,
			expect("true", "true", "CGROUPFS", "CGROUPFS", "CGROUPFS")},
		{"empty options", "version = 2\n" + v2runc + runcType + v2opts + "\n", nil,
			expect("false", "false", "CGROUPFS", "CGROUPFS", "CGROUPFS")},
		{"default nvidia with empty options", "version = 2\n" + v2Full + v2nvidia + strings.Replace(v2nvopts, "BinaryName", "#", 1), nil,
			expect("false", "false", "SYSTEMD, default handler cgroupfs", "SYSTEMD, default handler cgroupfs", "SYSTEMD, default handler cgroupfs")},
		{"type without options", "version = 2\n" + v2runc + runcType, nil,
			expect("false", "false", "CGROUPFS", "CGROUPFS", "CGROUPFS")},

		// Drop-ins.
		{"v2 sandbox, v2 drop-in with runc", "version = 2\n" + imports + "[plugins.\"io.containerd.grpc.v1.cri\"]\nsandbox_image = \"example.test/pause:3.99\"\n",
			map[string]string{"conf.d/10.toml": "version = 2\n" + v2Full},
			map[string]string{
				"1.6.20": "true, pause 3.6", "1.7.12": "true, pause 3.8", "1.7.18": "true, pause 3.8", "1.7.24": "true, pause 3.8", "1.6.36": "true, pause 3.6",
				"2.0.14": "SYSTEMD, pause 3.99", "2.1.9": "SYSTEMD, pause 3.99", "2.2.2": "SYSTEMD, pause 3.99", "2.3.4": "SYSTEMD, pause 3.99", "2.3.7": "SYSTEMD, pause 3.99", "2.4.2": "SYSTEMD, pause 3.99"}},
		{"v2 runc, nvidia drop-in", "version = 2\n" + imports + v2Full,
			map[string]string{"conf.d/99-nvidia.toml": "version = 2\n" + v2nvidia + v2nvopts + v2runc + runcType},
			expect("false", "false", "CGROUPFS", "CGROUPFS", "CGROUPFS")},
		{"v2 runc, drop-in with another handler only", "version = 2\n" + imports + v2Full,
			map[string]string{"conf.d/99.toml": "version = 2\n" + strings.Replace(v2nvidia, "default_runtime_name = \"nvidia\"\n", "", 1)},
			expect("CRI fails: no corresponding runtime configured", "CRI fails: no corresponding runtime configured", "SYSTEMD, nvidia cgroupfs", "SYSTEMD, nvidia cgroupfs", "SYSTEMD, nvidia cgroupfs")},
		{"v2 main, v3 drop-in", "version = 2\n" + imports + v2Full,
			map[string]string{"conf.d/10.toml": "version = 3\n[plugins.'io.containerd.cri.v1.runtime'.cni]\nconf_dir = \"/etc/cni/net.d\"\n"},
			expect("true", refuses12, "CGROUPFS", refuses23, "SYSTEMD")},
		{"v3 main, v2 drop-in", "version = 3\n" + imports + v3opts + on,
			map[string]string{"conf.d/10.toml": "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\"]\nsandbox_image = \"example.test/pause:3.99\"\n"},
			map[string]string{
				"1.6.20": "false, pause 3.99", "1.7.12": "false, pause 3.99", "1.7.18": "false, pause 3.99", "1.7.24": "false, pause 3.99", "1.6.36": "false, pause 3.99",
				"2.0.14": "SYSTEMD, pause 3.99", "2.1.9": "SYSTEMD, pause 3.99", "2.2.2": "SYSTEMD, pause 3.99", "2.3.4": "SYSTEMD, pause 3.99", "2.3.7": "SYSTEMD, pause 3.99", "2.4.2": "SYSTEMD, pause 3.99"}},
		{"drop-in turns it off", "version = 2\n" + imports + v2Full,
			map[string]string{"conf.d/10.toml": "version = 2\n" + v2runc + runcType + v2opts + "\nSystemdCgroup = false\n"},
			expect("false", "false", "CGROUPFS", "CGROUPFS", "CGROUPFS")},
		{"drop-in without imports line", "version = 2\n",
			map[string]string{"conf.d/10.toml": "version = 2\n" + v2Full},
			expect("false", "false", "CGROUPFS", "CGROUPFS", "CGROUPFS")},
		{"drop-in without config.toml", "",
			map[string]string{"conf.d/10.toml": "version = 2\n" + v2Full},
			expect("false", "false", "CGROUPFS", "CGROUPFS", "CGROUPFS")},
		{"relative import", "version = 2\nimports = ['conf.d/10.toml']\n",
			map[string]string{"conf.d/10.toml": "version = 2\n" + v2Full},
			expect("true", "true", "SYSTEMD", "SYSTEMD", "SYSTEMD")},
		{"relative glob", "version = 2\nimports = ['conf.d/*.toml']\n",
			map[string]string{"conf.d/10.toml": "version = 2\n" + v2Full},
			expect("false", "true", "SYSTEMD", "SYSTEMD", "SYSTEMD")},
		{"circular import", "version = 2\nimports = ['/etc/containerd/config.toml', '/etc/containerd/conf.d/10.toml']\n",
			map[string]string{"conf.d/10.toml": "version = 2\nimports = ['../config.toml']\n" + v2Full},
			expect("true", "true", "SYSTEMD", "SYSTEMD", "SYSTEMD")},
	}
}

func (r row) fs() fstest.MapFS {
	root := fstest.MapFS{"etc/containerd": {Mode: 0o755 | fs.ModeDir}}
	if r.main != "" {
		root["etc/containerd/config.toml"] = &fstest.MapFile{Data: []byte(r.main)}
	}
	for name, data := range r.drop {
		root["etc/containerd/"+name] = &fstest.MapFile{Data: []byte(data)}
	}
	return root
}

// outcome puts the effective configuration in the words of the table.
func outcome(c *Config, want string) string {
	switch {
	case c.Refusal != nil:
		return "refuses: " + c.Refusal.Text
	case c.CRIDisabled != nil:
		return "CRI disabled"
	case c.CRIFault != nil:
		return "CRI fails: " + c.CRIFault.Text
	}
	h := c.Handlers[c.DefaultHandler.Value]
	var out string
	if c.Version.Major < 2 {
		out = fmt.Sprint(h.SystemdCgroup.Effective)
		if h.PodFault != "" {
			return h.PodFault
		}
	} else {
		a := c.RuntimeConfig(true)
		out = map[Driver]string{Systemd: "SYSTEMD", Cgroupfs: "CGROUPFS"}[a.Driver]
		if a.Handler == "" {
			out = "auto"
		}
		if h.PodFault != "" {
			return out + ", " + h.PodFault
		}
		if a.Handler != "" && h.Driver() != a.Driver {
			out += ", default handler " + string(h.Driver())
		}
	}
	for _, n := range c.HandlerNames()[1:] {
		if d := c.Handlers[n].Driver(); d != h.Driver() && n != "runc" {
			out += ", " + n + " " + string(d)
		}
	}
	if strings.Contains(want, "pause") {
		_, tag, _ := strings.Cut(c.SandboxImage.Value, "pause:")
		out += ", pause " + tag
	}
	return out
}

func matches(got, want string) bool {
	for _, prefix := range []string{"refuses: ", "CRI fails: ", "auto, "} {
		if w, ok := strings.CutPrefix(want, prefix); ok {
			g, ok := strings.CutPrefix(got, prefix)
			return ok && strings.Contains(g, w)
		}
	}
	if want == "no runtime name" || want == "cannot be decoded" {
		return strings.Contains(got, want)
	}
	return got == want
}

func TestMatrix(t *testing.T) {
	t.Parallel()
	for _, r := range matrix() {
		for _, v := range columns() {
			want, ok := r.want[v]
			if !ok {
				t.Fatalf("%s: no outcome for %s", r.name, v)
			}
			c, err := Effective(r.fs(), DefaultPath, v)
			if err != nil {
				t.Fatalf("%s on %s: %v", r.name, v, err)
			}
			if got := outcome(c, want); !matches(got, want) {
				t.Errorf("%s on %s:\n got %s\nwant %s", r.name, v, got, want)
			}
		}
	}
}
