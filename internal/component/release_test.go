package component

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/manifest"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/run/runtest"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/store"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/upstreamtest"
	"github.com/nodeimage/packer-plugin-nodeimage/profiles"
)

// upstream is a stand-in and a profile whose components come from it.
type upstream struct {
	t       *testing.T
	server  *upstreamtest.Server
	profile *profiles.Profile
	store   *store.Store
}

func newUpstream(t *testing.T) *upstream {
	t.Helper()
	u := &upstream{t: t, server: upstreamtest.New(t.TempDir()), profile: debian13(t), store: newStore(t)}
	t.Cleanup(u.server.Close)
	return u
}

// release makes a component's release and pins it in the profile.
func (u *upstream) release(name, version string, programs ...string) {
	u.t.Helper()
	arch := u.profile.OS.Arch
	all := upstreamtest.Programs{}
	for _, program := range programs {
		all[program] = upstreamtest.Program{Content: upstreamtest.ELF(arch, program+" "+version)}
	}
	files, err := u.server.Release(name, version, arch, all)
	if err != nil {
		u.t.Fatal(err)
	}
	u.profile.Components[name] = profiles.Component{Version: version, Source: profiles.SourceRelease, Files: files}
}

func (u *upstream) get(name string) (Built, error) {
	u.t.Helper()
	m, err := New(u.profile, u.store, Options{Runner: runtest.New(u.t), Mirrors: u.server.Settings(), Logf: u.t.Logf})
	if err != nil {
		u.t.Fatal(err)
	}
	return m.Component(u.t.Context(), name)
}

// anonymous replaces what differs from run to run.
func (u *upstream) anonymous(text string) string {
	return strings.NewReplacer(u.server.URL, "URL", u.store.Dir(), "STORE").Replace(text)
}

// wantNothingLeft wants no trace of what went wrong in the store.
func (u *upstream) wantNothingLeft() {
	u.t.Helper()
	for _, dir := range []string{"entries", "tmp", "downloads"} {
		left, err := os.ReadDir(filepath.Join(u.store.Dir(), dir))
		if err != nil && !os.IsNotExist(err) {
			u.t.Fatal(err)
		}
		for _, f := range left {
			u.t.Errorf("left in the store: %s/%s", dir, f.Name())
		}
	}
}

func TestReleases(t *testing.T) {
	t.Parallel()
	u := newUpstream(t)
	u.release("containerd", "2.2.7", "containerd", "ctr", "containerd-shim-runc-v2", "containerd-stress")
	u.release("runc", "1.4.3", "runc")
	u.release("cni-plugins", "1.9.1", "bridge", "host-local", "loopback", "portmap", "firewall")
	u.release("kubernetes", "1.36.4", "kubeadm", "kubelet", "kubectl")
	u.release("etcd", "3.6.8", "etcd", "etcdctl", "etcdutl")
	u.release("crictl", "1.36.0", "crictl")
	for name, want := range map[string][]string{
		"containerd":  {"containerd", "containerd-shim-runc-v2", "ctr"},
		"runc":        {"runc"},
		"cni-plugins": {"bridge", "firewall", "host-local", "loopback", "portmap"},
		"kubernetes":  {"kubeadm", "kubectl", "kubelet"},
		"etcd":        {"etcd", "etcdctl", "etcdutl"},
		"crictl":      {"crictl"},
	} {
		built, err := u.get(name)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		var names []string
		for _, f := range built.Files {
			names = append(names, f.Name)
			if info, err := os.Stat(f.Path); err != nil || info.Mode().Perm() != 0o755 {
				t.Errorf("%s: mode %v, %v", f.Path, info.Mode(), err)
			}
		}
		slices.Sort(names)
		if diff := cmp.Diff(want, names); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	built, err := u.get("runc")
	if err != nil {
		t.Fatal(err)
	}
	const address = "https://github.com/opencontainers/runc/releases/download/v1.4.3/runc.amd64"
	sum := u.profile.Components["runc"].Files[0].SHA256["amd64"]
	want := manifest.Component{Name: "runc", Version: "1.4.3", Source: "release", Module: address, Sum: "sha256:" + sum,
		Downloads: []manifest.Download{{From: address, SHA256: sum, Size: int64(len(upstreamtest.ELF("amd64", "runc 1.4.3")))}}}
	if diff := cmp.Diff(want, built.Record); diff != "" {
		t.Errorf("record (-want +got):\n%s", diff)
	}
	kubernetes, err := u.get("kubernetes")
	if err != nil {
		t.Fatal(err)
	}
	if n := len(kubernetes.Record.Downloads); n != 3 || !strings.HasPrefix(kubernetes.Record.Sum, "sha256:") {
		t.Errorf("record of kubernetes: %d downloads, sum %q", n, kubernetes.Record.Sum)
	}
	// All of it was asked for once, however often it was wanted.
	if n := len(u.server.Requests(address)); n != 1 {
		t.Errorf("%d requests for runc, expected one", n)
	}
}

func TestReleaseForArm64(t *testing.T) {
	t.Parallel()
	u := newUpstream(t)
	u.profile.OS.Arch = "arm64"
	u.profile.Components = map[string]profiles.Component{}
	u.release("kubernetes", "1.36.4", "kubeadm", "kubelet", "kubectl")
	if _, err := u.get("kubernetes"); err != nil {
		t.Fatal(err)
	}
	if n := len(u.server.Requests("https://dl.k8s.io/release/v1.36.4/bin/linux/arm64/kubelet")); n != 1 {
		t.Errorf("%d requests for arm64's kubelet, expected one", n)
	}
}

func TestFiles(t *testing.T) {
	t.Parallel()
	u := newUpstream(t)
	u.release("containerd", "2.2.7", "containerd", "ctr", "containerd-shim-runc-v2")
	c := u.profile.Components["containerd"]
	sum := c.Files[0].SHA256["amd64"]
	// The same archive, on this host.
	dir := t.TempDir()
	found, err := u.get("containerd")
	if err != nil {
		t.Fatal(err)
	}
	text := packPrograms(t, map[string]string{"bin/containerd": upstreamtest.ELF("amd64", "c"), "bin/ctr": upstreamtest.ELF("amd64", "t"), "bin/containerd-shim-runc-v2": upstreamtest.ELF("amd64", "s")})
	if err := os.WriteFile(filepath.Join(dir, "containerd-2.2.7-amd64.tgz"), text, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "dir.tgz"), 0o755); err != nil {
		t.Fatal(err)
	}
	file := profiles.ReleaseFile{Path: dir + "/containerd-{version}-{arch}.tgz", SHA256: map[string]string{"amd64": sumOf(text)}}
	u.profile.Components["containerd"] = profiles.Component{Version: "2.2.7", Source: profiles.SourceFile, Files: []profiles.ReleaseFile{file}}
	built, err := u.get("containerd")
	if err != nil {
		t.Fatal(err)
	}
	if len(built.Files) != len(found.Files) || built.Record.Source != "file" {
		t.Errorf("%d files of source %q", len(built.Files), built.Record.Source)
	}
	for name, tt := range map[string]struct {
		change func(f *profiles.ReleaseFile)
		want   string
	}{
		"another sum": {func(f *profiles.ReleaseFile) { f.SHA256 = map[string]string{"amd64": sum} },
			"component containerd: DIR/containerd-2.2.7-amd64.tgz: sha256 is " + sumOf(text) + ", expected " + sum + ": put the file there that is pinned, or pin this one"},
		"not there": {func(f *profiles.ReleaseFile) { f.Path = dir + "/none.tgz" },
			"component containerd: stat DIR/none.tgz: no such file or directory: expected the file that `path` names, with sha256 " + sumOf(text)},
		"a directory": {func(f *profiles.ReleaseFile) { f.Path = dir + "/dir.tgz" },
			"component containerd: read DIR/dir.tgz: it is no regular file: expected the file that `path` names, with sha256 " + sumOf(text)},
	} {
		changed := file
		tt.change(&changed)
		u.profile.Components["containerd"] = profiles.Component{Version: "2.2.7", Source: profiles.SourceFile, Files: []profiles.ReleaseFile{changed}}
		_, err := u.get("containerd")
		if err == nil || strings.ReplaceAll(err.Error(), dir, "DIR") != tt.want || exitcode.Of(err) != exitcode.Usage {
			t.Errorf("%s: exit code %d, found\n%v\nexpected\n%s", name, exitcode.Of(err), err, tt.want)
		}
	}
}

// packPrograms is a .tar.gz of files.
func packPrograms(t *testing.T, files map[string]string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	for name, content := range files {
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o755, Size: int64(len(content))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// What goes wrong with a release, in the words that people get to read. What
// goes wrong on the way is package fetch's.
func TestReleaseBadDays(t *testing.T) {
	t.Parallel()
	const (
		containerd = "https://github.com/containerd/containerd/releases/download/v2.2.7/containerd-2.2.7-linux-amd64.tar.gz"
		unpacking  = "component containerd: unpacking " + containerd + ": "
		pinAnother = ": nothing of it was kept: this is no archive that containerd releases, though its sha256 is the pinned SUM: pin another one"
	)
	program := upstreamtest.ELF("amd64", "containerd")
	whole := map[string]string{"bin/containerd": program, "bin/ctr": program, "bin/containerd-shim-runc-v2": program}
	with := func(name, content string) map[string]string {
		files := map[string]string{name: content}
		for other, content := range whole {
			if _, ok := files[other]; !ok {
				files[other] = content
			}
		}
		return files
	}
	for name, tt := range map[string]struct {
		content []byte
		want    string
	}{
		"path out of the archive": {packPrograms(t, with("../../etc/cron.d/x", "x")), unpacking + `entry "../../etc/cron.d/x": its path leads out of the archive` + pinAnother},
		"no archive":              {bytes.Repeat([]byte("binary\x00\x01"), 1000), unpacking + `it is no tar archive, or a damaged one` + pinAnother},
		"archive cut short":       {packPrograms(t, whole)[:100], unpacking + `it ends too early` + pinAnother},
		"program missing":         {packPrograms(t, map[string]string{"bin/containerd": program, "bin/ctr": program}), "component containerd: no containerd-shim-runc-v2 in " + containerd + ": found containerd, ctr"},
		"another architecture": {packPrograms(t, with("bin/ctr", upstreamtest.ELF("arm64", "ctr"))),
			"component containerd: ctr is made for EM_AARCH64, and the profile is for amd64 (EM_X86_64): compare the sums that are pinned for the two"},
		"no program": {packPrograms(t, with("bin/ctr", "#!/bin/sh\n")),
			"component containerd: ctr is no program for Linux: expected an ELF file (EOF)"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			u := newUpstream(t)
			sum, err := u.server.Add(containerd, tt.content)
			if err != nil {
				t.Fatal(err)
			}
			u.profile.Components["containerd"] = profiles.Component{Version: "2.2.7", Source: profiles.SourceRelease, Files: []profiles.ReleaseFile{
				{URL: "https://github.com/containerd/containerd/releases/download/v{version}/containerd-{version}-linux-{arch}.tar.gz", SHA256: map[string]string{"amd64": sum}}}}
			_, err = u.get("containerd")
			want := strings.Replace(tt.want, "SUM", sum, 1)
			if err == nil || u.anonymous(err.Error()) != want || exitcode.Of(err) != exitcode.Usage {
				t.Errorf("exit code %d, found\n%v\nexpected\n%s", exitcode.Of(err), err, want)
			}
			u.wantNothingLeft()
		})
	}
}

// A component of several files is all of them or nothing.
func TestOneOfThreeFilesIsWrong(t *testing.T) {
	t.Parallel()
	u := newUpstream(t)
	u.release("kubernetes", "1.36.4", "kubeadm", "kubelet", "kubectl")
	u.server.Misbehave("https://dl.k8s.io/release/v1.36.4/bin/linux/amd64/kubelet", upstreamtest.WrongBytes())
	_, err := u.get("kubernetes")
	want := "component kubernetes: fetching kubelet 1.36.4 from URL/dl.k8s.io/release/v1.36.4/bin/linux/amd64/kubelet: sha256 is "
	if err == nil || !strings.HasPrefix(u.anonymous(err.Error()), want) || exitcode.Of(err) != exitcode.Usage {
		t.Errorf("exit code %d, found\n%v\nexpected\n%s…", exitcode.Of(err), err, want)
	}
}

func sumOf(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}

func TestReleaseRefused(t *testing.T) {
	t.Parallel()
	sum := map[string]string{"amd64": strings.Repeat("0", 64)}
	for name, tt := range map[string]struct {
		component string
		files     []profiles.ReleaseFile
		want      string
	}{
		"not a program of it": {"runc", []profiles.ReleaseFile{{URL: "https://example.org/runc.{arch}", SHA256: sum}},
			"component runc: files[0]: runc.amd64 is no program of it: expected one of runc: say which with `name`, or give an archive that ends in .tar.gz, .tgz or .tar.zst"},
		"no sum for the architecture": {"runc", []profiles.ReleaseFile{{Name: "runc", URL: "https://example.org/runc.{arch}", SHA256: map[string]string{"arm64": strings.Repeat("0", 64)}}},
			"component runc: files[0]: no sha256 for amd64"},
		"no file":  {"runc", nil, `component runc: source "release" needs a list of files`},
		"packages": {"kube-proxy-base", []profiles.ReleaseFile{{URL: "https://example.org/x.tgz", SHA256: sum}}, "component kube-proxy-base: cannot come from a file: it is no set of programs"},
	} {
		p := debian13(t)
		p.Components[tt.component] = profiles.Component{Version: "1.4.3", Source: profiles.SourceRelease, Files: tt.files}
		_, err := New(p, newStore(t), Options{})
		if err == nil || err.Error() != tt.want || exitcode.Of(err) != exitcode.Usage {
			t.Errorf("%s: found\n%v\nexpected\n%s", name, err, tt.want)
		}
	}
}
