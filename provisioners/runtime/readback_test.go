package runtime

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/run"
	"github.com/nodeimage/packer-plugin-nodeimage/profiles"
)

// answering is a machine whose containerd prints one dump.
type answering struct {
	t   *testing.T
	res run.Result
	err error
}

func (a answering) Run(_ context.Context, cmd run.Cmd) (run.Result, error) {
	a.t.Helper()
	if got, want := run.Quote(cmd.Argv), "/usr/local/bin/containerd --config /etc/containerd/config.toml config dump"; got != want {
		a.t.Errorf("unexpected command %s, want %s", got, want)
	}
	return a.res, a.err
}

// profileWithHandlers is the profile that the dumps in testdata were made
// for: the golden file of TestConfigTOML, read back by the containerd of
// Debian 13 (1.7.24), of Debian forky (2.1.9) and our own build of 2.3.7.
func profileWithHandlers(t *testing.T, containerd string) *profiles.Profile {
	t.Helper()
	p := debian13(t, containerd)
	p.Runtime.Handlers = append(p.Runtime.Handlers,
		profiles.Handler{Name: "nvidia", Type: "io.containerd.runc.v2"},
		profiles.Handler{Name: "kata", Type: "io.containerd.kata.v2"})
	return p
}

func dump(t *testing.T, version string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", "dump", version+".toml"))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestReadBackGood(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"1.7.24", "2.1.9", "2.3.7"} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			machine := answering{t: t, res: run.Result{Stdout: dump(t, version)}}
			if err := ReadBack(t.Context(), machine, profileWithHandlers(t, version)); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestReadBackBroken(t *testing.T) {
	t.Parallel()
	const warning = `level=warning msg="Ignoring unknown key in TOML for plugin" error="strict mode: fields in the document are missing in the target struct" key=containerd plugin=io.containerd.grpc.v1.cri`
	for _, test := range []struct {
		name, version string
		old, new      string // in the dump; the first one
		stderr        string
		want          []string
	}{
		{"string instead of boolean", "2.1.9", "SystemdCgroup = true", `SystemdCgroup = "true"`, "",
			[]string{"plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.nvidia.options.SystemdCgroup", `the string "true"`, "want the boolean true"}},
		{"second handler without the key", "2.1.9", "SystemdCgroup = true", "", "",
			[]string{"runtimes.nvidia.options.SystemdCgroup is absent"}},
		{"default driver", "2.1.9", "            SystemdCgroup = true\n\n    [", "            SystemdCgroup = false\n\n    [", "",
			[]string{"runtimes.runc.options.SystemdCgroup is the boolean false"}},
		{"handler missing", "2.1.9", "containerd.runtimes.nvidia", "containerd.runtimes.other", "",
			[]string{"runtimes.nvidia.runtime_type is absent", "runtimes.other is a handler of type", "no handler of this name"}},
		{"no options at all", "1.7.24", ".runtimes.nvidia.options]", ".runtimes.nvidia.opts]", "",
			[]string{"runtimes.nvidia.options.SystemdCgroup is absent", "runtimes.nvidia.options.BinaryName is absent"}},
		{"other pause image", "2.1.9", "pause:3.10.2", "pause:3.10", "",
			[]string{"pinned_images.sandbox is the string \"registry.k8s.io/pause:3.10\""}},
		{"other pause image in 1.x", "1.7.24", "pause:3.10.2", "pause:3.8", "", []string{"'io.containerd.grpc.v1.cri'.sandbox_image"}},
		{"CNI directory of Debian", "1.7.24", `bin_dir = "/opt/cni/bin"`, `bin_dir = "/usr/lib/cni"`, "", []string{"cni.bin_dir is the string \"/usr/lib/cni\""}},
		{"another CNI directory first", "2.1.9", "bin_dirs = ['/opt/cni/bin']", "bin_dirs = ['/usr/lib/cni', '/opt/cni/bin']", "", []string{"cni.bin_dirs is [/usr/lib/cni /opt/cni/bin]"}},
		{"CNI configuration elsewhere", "2.1.9", "conf_dir = '/etc/cni/net.d'", "conf_dir = '/etc/cni'", "", []string{"cni.conf_dir"}},
		{"CRI disabled as in Docker's package", "2.1.9", "disabled_plugins = []", "disabled_plugins = ['cri']", "", []string{"disabled_plugins is the string \"cri\""}},
		{"CRI disabled by its full name", "2.1.9", "disabled_plugins = []", "disabled_plugins = ['io.containerd.cri.v1.runtime']", "", []string{"disabled_plugins"}},
		{"other default handler", "2.1.9", "default_runtime_name = 'runc'", "default_runtime_name = 'nvidia'", "", []string{"default_runtime_name"}},
		{"runc elsewhere", "1.7.24", `BinaryName = "/usr/local/sbin/runc"`, `BinaryName = ""`, "", []string{"BinaryName is the string \"\""}},
		{"file of another version", "2.1.9", "version = 3", "version = 2", "", []string{"effective version is 2, want 3"}},
		{"all of CRI in the old place", "2.1.9", "io.containerd.cri.v1.runtime'.containerd.runtimes", "io.containerd.grpc.v1.cri'.containerd.runtimes", warning,
			[]string{"effective plugins.'io.containerd.grpc.v1.cri'.containerd is ignored"}},
		{"not TOML", "2.1.9", "version = 3", "version = ", "", []string{"reading containerd's configuration dump"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			good := dump(t, test.version)
			broken := strings.Replace(good, test.old, test.new, 1)
			if broken == good {
				t.Fatalf("the dump has no %q to break", test.old)
			}
			machine := answering{t: t, res: run.Result{Stdout: broken, Stderr: test.stderr}}
			err := ReadBack(t.Context(), machine, profileWithHandlers(t, test.version))
			if err == nil {
				t.Fatal("ReadBack saw nothing")
			}
			if code := exitcode.Of(err); code != exitcode.Failed {
				t.Errorf("exit code %d, want %d", code, exitcode.Failed)
			}
			for _, part := range test.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("error lacks %q:\n%v", part, err)
				}
			}
		})
	}
}

// The fault profiles ask for what is wrong, and get exactly that.
func TestReadBackFaultProfile(t *testing.T) {
	t.Parallel()
	p := profileWithHandlers(t, "2.1.9")
	p.Runtime.CgroupDriver = "cgroupfs"
	good := answering{t: t, res: run.Result{Stdout: dump(t, "2.1.9")}}
	if err := ReadBack(t.Context(), good, p); err == nil {
		t.Error("a systemd containerd passes for a cgroupfs profile")
	}
	asked := answering{t: t, res: run.Result{Stdout: strings.ReplaceAll(dump(t, "2.1.9"), "SystemdCgroup = true", "SystemdCgroup = false")}}
	if err := ReadBack(t.Context(), asked, p); err != nil {
		t.Error(err)
	}
}

func TestReadBackRefused(t *testing.T) {
	t.Parallel()
	refused := &run.Error{Where: "guest", Argv: []string{"containerd"}, Err: errors.New("exit status 1"),
		Result: run.Result{ExitCode: 1, Stderr: "containerd: expected containerd config version equal to or less than `3`, got `4`"}}
	err := ReadBack(t.Context(), answering{t: t, res: refused.Result, err: refused}, debian13(t, "2.1.9"))
	if exitcode.Of(err) != exitcode.Failed || !strings.Contains(err.Error(), "got `4`") {
		t.Errorf("ReadBack = %v (exit code %d), want containerd's own words as a verdict", err, exitcode.Of(err))
	}
	lost := &run.Error{Where: "guest", Err: exitcode.Transient(errors.New("connection lost"))}
	err = ReadBack(t.Context(), answering{t: t, err: lost}, debian13(t, "2.1.9"))
	if exitcode.Of(err) != exitcode.Infrastructure {
		t.Errorf("a lost machine gives exit code %d, want %d", exitcode.Of(err), exitcode.Infrastructure)
	}
}
