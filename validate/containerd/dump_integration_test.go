//go:build integration && slow

package containerd

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/pelletier/go-toml/v2"
)

// modules are the releases whose binaries the matrix is compared with.
func modules() []string {
	return columns()
}

// buildBinary makes a containerd from its Go module, with the dependencies
// that the module's own go.mod and go.sum name, and keeps it in the user's
// cache. One compiler at a time, so that a machine stays usable meanwhile.
func buildBinary(t *testing.T, version string) string {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(cache, "nodeimage", "containerd-matrix", version)
	bin := filepath.Join(dir, "containerd")
	if _, err := os.Stat(bin); err == nil {
		return bin
	}
	path := "github.com/containerd/containerd"
	if version[0] == '2' {
		path += "/v2"
	}
	out, err := exec.Command("go", "mod", "download", "-json", path+"@v"+version).Output()
	if err != nil {
		t.Fatalf("download %s@v%s: %v\n%s", path, version, err, out)
	}
	var mod struct{ Dir string }
	if err := json.Unmarshal(out, &mod); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	tmp, err := os.MkdirTemp(dir, "build-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(tmp)
	cmd := exec.Command("go", "build", "-p", "1", "-mod=readonly", "-trimpath", "-tags", "no_btrfs,no_devmapper,no_zfs", "-o", tmp, "./cmd/containerd")
	cmd.Dir = mod.Dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build containerd %s: %v\n%s", version, err, out)
	}
	if err := os.Rename(filepath.Join(tmp, "containerd"), bin); err != nil {
		t.Fatal(err)
	}
	return bin
}

// place writes a row's files below dir, with the paths in them moved there.
func place(t *testing.T, r row, dir string) string {
	t.Helper()
	write := func(name, text string) {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		text = strings.ReplaceAll(text, "/etc/containerd/", dir+"/")
		if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if r.main != "" {
		write("config.toml", r.main)
	}
	for name, text := range r.drop {
		write(name, text)
	}
	return filepath.Join(dir, "config.toml")
}

// dumped is what `config dump` prints, as far as it is compared.
type dumped struct {
	refused  string
	handlers map[string]string // name -> "type SystemdCgroup"
	def      string
	sandbox  string
	binDirs  []string
	confDir  string
	ignored  bool // some key, and containerd says so
}

func (d dumped) text() string {
	type plain dumped
	return fmt.Sprintf("%+v", plain(d))
}

func dump(t *testing.T, bin, version, config string) dumped {
	t.Helper()
	argv := []string{bin, "-c", config, "config", "dump"}
	if _, err := os.Stat(config); err != nil {
		// A file that was asked for must be there, so ask for none, with the
		// row's directory in place of the machine's own in a mount namespace.
		script := `set -e; mount --make-rprivate /; mount --bind "$2" /mnt; mount -t tmpfs none /etc
mkdir /etc/containerd; mount --bind /mnt /etc/containerd; exec "$1" config dump`
		argv = []string{"unshare", "--mount", "sh", "-c", script, "sh", bin, filepath.Dir(config)}
		if strings.HasPrefix(version, "1.") {
			// Here the daemon does without a file, and config dump does not.
			argv = []string{bin, "config", "default"}
		}
	}
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir = "/" // as for a service: 1.7.12 looks for relative patterns here
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return dumped{refused: stderr.String() + stdout.String()}
	}
	var doc map[string]any
	if err := toml.Unmarshal(stdout.Bytes(), &doc); err != nil {
		t.Fatalf("%s config dump prints no TOML: %v\n%s", bin, err, stdout.String())
	}
	get := func(keys ...string) any {
		var v any = doc
		for _, k := range keys {
			m, ok := v.(map[string]any)
			if !ok {
				return nil
			}
			v = m[k]
		}
		return v
	}
	runtime, sandbox := criRuntime, []string{"plugins", criImages, "pinned_images", "sandbox"}
	if get("plugins", criRuntime) == nil {
		runtime, sandbox = criGRPC, []string{"plugins", criGRPC, "sandbox_image"}
	}
	d := dumped{handlers: map[string]string{}, ignored: strings.Contains(stderr.String(), "Ignoring unknown key")}
	d.def, _ = get("plugins", runtime, "containerd", "default_runtime_name").(string)
	d.sandbox, _ = get(sandbox...).(string)
	d.confDir, _ = get("plugins", runtime, "cni", "conf_dir").(string)
	if s, ok := get("plugins", runtime, "cni", "bin_dir").(string); ok && s != "" {
		d.binDirs = []string{s}
	} else if list, ok := get("plugins", runtime, "cni", "bin_dirs").([]any); ok {
		for _, e := range list {
			d.binDirs = append(d.binDirs, fmt.Sprint(e))
		}
	}
	rts, _ := get("plugins", runtime, "containerd", "runtimes").(map[string]any)
	for name := range rts {
		typ, _ := get("plugins", runtime, "containerd", "runtimes", name, "runtime_type").(string)
		opts, has := get("plugins", runtime, "containerd", "runtimes", name, "options").(map[string]any)
		// 1.x prints an options table for a handler without one, too.
		d.handlers[name] = fmt.Sprintf("%s %v options=%v", typ, printed(opts), has || runtime == criGRPC)
	}
	return d
}

// printed is the value that decides, among the spellings that are dumped.
func printed(opts map[string]any) any {
	var out any
	for _, k := range slices.Sorted(maps.Keys(opts)) {
		if strings.EqualFold(k, "SystemdCgroup") {
			out = opts[k]
		}
	}
	return out
}

// predicted is the same from the model.
func predicted(c *Config) dumped {
	if c.Refusal != nil {
		return dumped{refused: c.Refusal.Text}
	}
	if c.CRIDisabled != nil && c.Version.Major < 2 {
		return dumped{handlers: map[string]string{}} // the dump has only what is loaded
	}
	d := dumped{handlers: map[string]string{}, def: c.DefaultHandler.Value, sandbox: c.SandboxImage.Value, binDirs: c.CNIBinDirs.Value, confDir: c.CNIConfDir.Value}
	for n, h := range c.Handlers {
		d.handlers[n] = fmt.Sprintf("%s %v options=%v", h.Type.Value, h.SystemdCgroup.Written, h.HasOptions || c.Version.Major < 2)
	}
	for _, i := range c.Ignored {
		d.ignored = d.ignored || i.Logged
	}
	return d
}

func sameRefusal(model, real string) bool {
	if (model == "") != (real == "") {
		return false
	}
	// The same words, whatever the logger put around and the paths were.
	for _, phrase := range []string{"unsupported config version", "equal to or less than", "higher than root config version", "invalid disabled plugin URI"} {
		if strings.Contains(model, phrase) != strings.Contains(real, phrase) {
			return false
		}
	}
	return true
}

// TestAgainstRealBinaries compares every row with `containerd config dump` of
// every release.
func TestAgainstRealBinaries(t *testing.T) {
	for _, v := range modules() {
		t.Run(v, func(t *testing.T) {
			compare(t, buildBinary(t, v), v)
		})
	}
}

func compare(t *testing.T, bin, version string) {
	for _, r := range matrix() {
		dir := t.TempDir()
		config := place(t, r, dir)
		got := dump(t, bin, version, config)
		c, err := Effective(os.DirFS("/"), config, version)
		if err != nil {
			t.Fatal(err)
		}
		if r.main == "" {
			// Only the default path may have no file.
			if c, err = Effective(r.fs(), DefaultPath, version); err != nil {
				t.Fatal(err)
			}
		}
		want := predicted(c)
		if !sameRefusal(want.refused, got.refused) {
			t.Errorf("%s: containerd says %q, the model %q", r.name, got.refused, want.refused)
			continue
		}
		want.refused, got.refused = "", ""
		if c.Refusal != nil {
			continue
		}
		if got.text() != want.text() {
			t.Errorf("%s:\n real %s\nmodel %s", r.name, got.text(), want.text())
		}
	}
}
