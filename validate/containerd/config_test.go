package containerd

import (
	"errors"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/validate/source"
)

func effective(t *testing.T, version string, files map[string]string) *Config {
	t.Helper()
	root := fstest.MapFS{}
	for name, data := range files {
		root["etc/containerd/"+name] = &fstest.MapFile{Data: []byte(data)}
	}
	c, err := Effective(root, DefaultPath, version)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestProvenanceSurvivesMigration(t *testing.T) {
	t.Parallel()
	main := "version = 2\n# comment\n[plugins.\"io.containerd.grpc.v1.cri\"]\n  sandbox_image = \"example.test/pause:1\"\n" +
		"[plugins.\"io.containerd.grpc.v1.cri\".cni]\n  bin_dir = \"/usr/lib/cni\"\n" +
		"[plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.runc.options]\n\n  SystemdCgroup = true\n"
	want := Setting[string]{"example.test/pause:1", `plugins."io.containerd.grpc.v1.cri".sandbox_image`, source.Position{File: DefaultPath, Line: 4}}
	for _, v := range []string{"1.7.24", "2.1.9", "2.2.2", "2.3.7", "2.4.2"} {
		c := effective(t, v, map[string]string{"config.toml": main})
		if diff := cmp.Diff(want, c.SandboxImage); diff != "" {
			t.Errorf("%s: sandbox image: %s", v, diff)
		}
		s := c.Handlers["runc"].SystemdCgroup
		if s.Pos != (source.Position{File: DefaultPath, Line: 9}) || s.Key != `plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options.SystemdCgroup` {
			t.Errorf("%s: SystemdCgroup from %s key %s", v, s.Pos, s.Key)
		}
		if diff := cmp.Diff([]string{"/usr/lib/cni"}, c.CNIBinDirs.Value); diff != "" || c.CNIBinDirs.Pos.Line != 6 {
			t.Errorf("%s: CNI directories %v from %s", v, c.CNIBinDirs.Value, c.CNIBinDirs.Pos)
		}
		if c.FileVersion.Value != 2 || c.FileVersion.Pos.Line != 1 {
			t.Errorf("%s: file version %+v", v, c.FileVersion)
		}
	}
}

func TestIgnoredKeys(t *testing.T) {
	t.Parallel()
	find := func(c *Config, key string) *Ignored {
		for _, i := range c.Ignored {
			if i.Key == key {
				return &i
			}
		}
		return nil
	}
	for _, tt := range []struct {
		name, version, file, key string
		line                     int
		logged                   bool
	}{
		{"old path in v3, 2.1", "2.1.9", "version = 3\n" + v2Full, `plugins."io.containerd.grpc.v1.cri".containerd`, 2, true},
		{"new path on 1.7.12", "1.7.12", "version = 3\n" + v3opts + on, `plugins."io.containerd.cri.v1.runtime"`, 2, false},
		{"no version on 1.7.24", "1.7.24", v2Full, `plugins."io.containerd.grpc.v1.cri"`, 1, false},
		{"typo at the top", "2.3.7", "version = 3\nimport = []\n", "import", 2, true},
		{"typo in a handler", "1.7.24", "version = 2\n" + v2runc + runcType + "runtime_typ = 1\n", `plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.runtime_typ`, 4, false},
		{"legacy switch on 2.x", "2.2.9", "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\"]\nsystemd_cgroup = true\n", `plugins."io.containerd.grpc.v1.cri".systemd_cgroup`, 3, true},
		{"bin_dir in v3 on 2.4", "2.4.2", "version = 3\n[plugins.'io.containerd.cri.v1.runtime'.cni]\nbin_dir = \"/x\"\n", `plugins."io.containerd.cri.v1.runtime".cni.bin_dir`, 3, true},
		{"v1 section in a v2 file on 2.x", "2.2.9", "version = 2\n[plugins.cri]\nsandbox_image = \"x\"\n", `plugins.cri`, 2, false},
	} {
		c := effective(t, tt.version, map[string]string{"config.toml": tt.file})
		got := find(c, tt.key)
		if got == nil {
			t.Errorf("%s: %s is not reported, only %+v", tt.name, tt.key, c.Ignored)
			continue
		}
		if got.Pos.Line != tt.line || got.Logged != tt.logged || got.Reason == "" {
			t.Errorf("%s: %+v, want line %d logged %v", tt.name, got, tt.line, tt.logged)
		}
		warned := false
		for _, w := range c.Log {
			warned = warned || w.Key == tt.key && strings.HasPrefix(w.Text, "Ignoring unknown key in TOML")
		}
		if warned != tt.logged {
			t.Errorf("%s: logged %v, want %v: %+v", tt.name, warned, tt.logged, c.Log)
		}
	}
	c := effective(t, "2.4.2", map[string]string{"config.toml": "version = 2\n" + v2Full})
	if len(c.Ignored) != 0 {
		t.Errorf("a clean file has ignored keys: %+v", c.Ignored)
	}
}

// NVIDIA/nvidia-docker#1788: on 1.x a drop-in throws the main file's section away.
func TestLostByDropIn(t *testing.T) {
	t.Parallel()
	files := map[string]string{
		"config.toml":          "version = 2\n" + imports + v2Full,
		"conf.d/99-other.toml": "version = 2\n" + v2runc + runcType,
	}
	c := effective(t, "1.7.24", files)
	if h := c.Handlers["runc"]; h.Driver() != Cgroupfs || h.Pos.File != "/etc/containerd/conf.d/99-other.toml" {
		t.Errorf("runc: %+v", h)
	}
	var lost []string
	for _, i := range c.Ignored {
		if strings.Contains(i.Reason, "99-other.toml") {
			lost = append(lost, i.Pos.String())
		}
	}
	if diff := cmp.Diff([]string{"/etc/containerd/config.toml:6", "/etc/containerd/config.toml:4"}, lost); diff != "" {
		t.Error(diff)
	}
	if c = effective(t, "2.2.9", files); c.Handlers["runc"].Driver() != Systemd {
		t.Error("2.x has to merge")
	}
}

func TestRefusalsNameTheLine(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, version, file, text string
		line                      int
	}{
		{"syntax", "2.3.7", "version = 3\nfoo = = 1\n", "failed to unmarshal TOML at row 2", 2},
		{"duplicate", "2.3.7", "version = 3\nversion = 3\n", "version", 2},
		{"type in section", "2.3.7", "version = 3\n[plugins.'io.containerd.cri.v1.images']\nsnapshotter = 3\n", "cannot decode TOML integer into a field of type string", 3},
		{"type in section, 1.x", "1.7.24", "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\"]\nsandbox_image = 3\n", "Can't convert a TOML integer to string", 3},
		{"type at the top", "2.3.7", "version = \"3\"\n", "of type int", 1},
		{"bin_dir no string", "2.2.9", "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".cni]\nbin_dir = 3\n", "panic", 3},
		{"missing import", "2.2.9", "version = 3\nimports = [\"/etc/none.toml\"]\n", "open /etc/none.toml: no such file or directory", 0},
		{"required CRI that is disabled", "2.2.9", "version = 3\nrequired_plugins = [\"io.containerd.grpc.v1.cri\"]\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n", "required plugin", 2},
		{"deep keys", "2.3.7", strings.Repeat("a.", 70) + "b = 1\n", "nested more than", 1},
	} {
		c := effective(t, tt.version, map[string]string{"config.toml": tt.file})
		if c.Refusal == nil || !strings.Contains(c.Refusal.Text, tt.text) || c.Refusal.Pos.Line != tt.line {
			t.Errorf("%s: %+v, want %q in line %d", tt.name, c.Refusal, tt.text, tt.line)
		}
		if c.CRIServed() {
			t.Errorf("%s: the CRI is served in spite of the refusal", tt.name)
		}
	}
}

func TestCNIDirectories(t *testing.T) {
	t.Parallel()
	both := "version = 3\n[plugins.'io.containerd.cri.v1.runtime'.cni]\nbin_dir = \"/a\"\nbin_dirs = [\"/b\"]\n"
	c := effective(t, "2.2.9", map[string]string{"config.toml": both})
	if c.CRIFault == nil || !strings.Contains(c.CRIFault.Text, "cannot be set at the same time") || c.CRIFault.Pos.Line != 3 {
		t.Errorf("both directories: %+v", c.CRIFault)
	}
	for _, tt := range []struct {
		version, file string
		want          []string
	}{
		{"1.7.24", "", []string{"/opt/cni/bin"}},
		{"1.7.24~ds1", "", []string{"/usr/lib/cni"}},
		{"1.6.20~ds1", "", []string{"/opt/cni/bin"}},
		{"2.1.9+ds1", "", []string{"/usr/lib/cni", "/opt/cni/bin"}},
		{"2.3.4+dfsg1-0ubuntu2", "", []string{"/opt/cni/bin"}},
		{"2.1.9+ds1", "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".cni]\nbin_dir = \"/x\"\n", []string{"/x"}},
		{"2.2.9", "version = 3\n[plugins.'io.containerd.cri.v1.runtime'.cni]\nbin_dir = \"/a\"\n", []string{"/a"}},
		{"2.0.14", "version = 3\n[plugins.'io.containerd.cri.v1.runtime'.cni]\nbin_dirs = [\"/b\"]\n", []string{"/opt/cni/bin"}},
	} {
		files := map[string]string{}
		if tt.file != "" {
			files["config.toml"] = tt.file
		}
		if diff := cmp.Diff(tt.want, effective(t, tt.version, files).CNIBinDirs.Value); diff != "" {
			t.Errorf("%s %q: %s", tt.version, tt.file, diff)
		}
	}
}

func TestVersions(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"v2.3.7": "2.3.7", "1.7.24~ds1-6+deb13u1": "1.7.24~ds1-6+deb13u1", "2:1.6.12-0ubuntu1": "1.6.12-0ubuntu1", "2.0.0-rc.2": "2.0.0-rc.2",
	} {
		if v, err := ParseVersion(in); err != nil || v.String() != want {
			t.Errorf("ParseVersion(%q) = %v, %v", in, v, err)
		}
	}
	for _, in := range []string{"", "latest", "2.3", "-1.2.3", "99999.1.1"} {
		if _, err := ParseVersion(in); err == nil || exitcode.Of(err) != exitcode.Usage {
			t.Errorf("ParseVersion(%q): %v", in, err)
		}
	}
	for v, want := range map[string]bool{"1.4.13": true, "1.5.9": false, "2.4.9": false, "2.5.0": true, "3.0.0": true} {
		if c := effective(t, v, nil); c.Extrapolated != want {
			t.Errorf("%s: extrapolated %v", v, c.Extrapolated)
		}
	}
}

func TestOversizedFile(t *testing.T) {
	t.Parallel()
	root := fstest.MapFS{"etc/containerd/config.toml": {Data: make([]byte, source.MaxFile+1)}}
	if _, err := Effective(root, DefaultPath, "2.3.7"); !errors.Is(err, source.ErrTooLarge) || exitcode.Of(err) != exitcode.Usage {
		t.Errorf("oversized file: %v", err)
	}
}

func TestImportBomb(t *testing.T) {
	t.Parallel()
	root := fstest.MapFS{"etc/containerd/config.toml": {Data: []byte("version = 3\nimports = [\"d/*.toml\"]\n")}}
	for i := range maxFiles + 10 {
		root["etc/containerd/d/"+strings.Repeat("a", i+1)+".toml"] = &fstest.MapFile{Data: []byte("version = 3\n")}
	}
	c, err := Effective(root, DefaultPath, "2.3.7")
	if err != nil || c.Refusal == nil || !strings.Contains(c.Refusal.Text, "more than 256") {
		t.Errorf("%v %+v", err, c.Refusal)
	}
}
