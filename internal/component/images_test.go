package component

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/manifest"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/oci"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/run"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/run/runtest"
)

// contents is a source whose files are given.
type contents struct {
	name    string
	version string
	files   map[string]string
}

func (c contents) keyParts(context.Context) ([]any, error) { return []any{c.version, c.files}, nil }

func (c contents) make(_ context.Context, dir string) (manifest.Component, error) {
	for name, text := range c.files {
		if err := os.WriteFile(filepath.Join(dir, filesDir, name), []byte(text), 0o755); err != nil {
			return manifest.Component{}, err
		}
	}
	return manifest.Component{Name: c.name, Version: c.version, Source: "test"}, nil
}

// debTar is what dpkg-deb prints for the fake iptables package.
func debTar(t *testing.T) []byte {
	t.Helper()
	var b bytes.Buffer
	tw := tar.NewWriter(&b)
	for _, h := range []tar.Header{
		{Name: "./", Typeflag: tar.TypeDir, Mode: 0o755},
		{Name: "./usr/", Typeflag: tar.TypeDir, Mode: 0o755},
		{Name: "./usr/sbin/xtables-nft-multi", Typeflag: tar.TypeReg, Mode: 0o755, Size: 5},
		{Name: "./usr/sbin/iptables-nft", Typeflag: tar.TypeSymlink, Linkname: "xtables-nft-multi"},
		{Name: "./usr/sbin/iptables-nft-save", Typeflag: tar.TypeSymlink, Linkname: "xtables-nft-multi"},
		{Name: "./sbin/modprobe", Typeflag: tar.TypeSymlink, Linkname: "../bin/kmod"},
		{Name: "./lib/x86_64-linux-gnu/libkmod.so.2", Typeflag: tar.TypeReg, Mode: 0o644, Size: 5},
		{Name: "./usr/lib64/ld-linux-x86-64.so.2", Typeflag: tar.TypeLink, Linkname: "./lib/x86_64-linux-gnu/libkmod.so.2"},
		{Name: "./usr/share/doc/iptables/copyright", Typeflag: tar.TypeReg, Mode: 0o644, Size: 5},
		{Name: "./usr/share/doc/iptables/changelog.gz", Typeflag: tar.TypeReg, Mode: 0o644, Size: 5},
		{Name: "./usr/share/man/man8/iptables.8.gz", Typeflag: tar.TypeReg, Mode: 0o644, Size: 5},
		{Name: "./etc/passwd", Typeflag: tar.TypeReg, Mode: 0o600, Size: 5},
		{Name: "./var/lib/x/", Typeflag: tar.TypeDir, Mode: 0o700},
	} {
		if err := tw.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if h.Size > 0 {
			if _, err := tw.Write([]byte("12345")); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// fakeImages returns a Maker for debian-13 whose components are small files,
// on a host whose kubeadm prints list.
func fakeImages(t *testing.T, list string) (*Maker, *runtest.Fake) {
	t.Helper()
	f := runtest.New(t)
	m, err := New(debian13(t), newStore(t), Options{Runner: f, Logf: t.Logf})
	if err != nil {
		t.Fatal(err)
	}
	m.sources["kubernetes"] = contents{"kubernetes", "1.37.2", map[string]string{
		"kubeadm": "kubeadm", "kubelet": "kubelet", "kube-apiserver": "api", "kube-controller-manager": "kcm", "kube-scheduler": "sched", "kube-proxy": "proxy"}}
	m.sources["etcd"] = contents{"etcd", "3.7.0", map[string]string{"etcd": "etcd", "etcdctl": "etcdctl", "etcdutl": "etcdutl"}}
	m.sources["coredns"] = contents{"coredns", "1.14.6", map[string]string{"coredns": "coredns"}}
	m.sources["pause"] = contents{"pause", "3.10.2", map[string]string{"pause": "pause"}}
	m.sources["kube-proxy-base"] = contents{"kube-proxy-base", "", map[string]string{"iptables.deb": "deb"}}
	f.ExpectFunc("kubeadm config images list", func(c run.Cmd) bool {
		return strings.Contains(run.Quote(c.Argv), "config images list --kubernetes-version=v1.37.2 --image-repository=registry.k8s.io")
	}).Returns(list)
	return m, f
}

func expectDpkgDeb(t *testing.T, f *runtest.Fake) {
	t.Helper()
	data := debTar(t)
	f.ExpectFunc("dpkg-deb", func(c run.Cmd) bool { return c.Argv[0] == "dpkg-deb" && c.Argv[1] == "--fsys-tarfile" }).
		Does(func(_ context.Context, c run.Cmd) error {
			_, err := c.Stdout.Write(data)
			return err
		})
}

const kubeadm137 = `registry.k8s.io/kube-apiserver:v1.37.2
registry.k8s.io/kube-controller-manager:v1.37.2
registry.k8s.io/kube-scheduler:v1.37.2
registry.k8s.io/kube-proxy:v1.37.2
registry.k8s.io/coredns/coredns:v1.14.6
registry.k8s.io/pause:3.10.2
registry.k8s.io/etcd:3.7.0-0
`

func TestImages(t *testing.T) {
	t.Parallel()
	m, f := fakeImages(t, kubeadm137)
	expectDpkgDeb(t, f)
	images, err := m.Images(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, image := range images {
		names = append(names, image.Name)
		if image.Size == 0 || !strings.HasPrefix(image.Digest, "sha256:") {
			t.Errorf("image %+v", image)
		}
	}
	if diff := cmp.Diff(strings.Fields(kubeadm137), names); diff != "" {
		t.Errorf("names (-want +got):\n%s", diff)
	}
	byName := map[string]Image{}
	for _, image := range images {
		byName[programOf(image.Name)] = image
	}
	configs := map[string]map[string]any{
		"etcd":       {"Entrypoint": []any{"/usr/local/bin/etcd"}, "User": nil},
		"coredns":    {"Entrypoint": []any{"/coredns"}, "User": "65532:65532"},
		"pause":      {"Entrypoint": []any{"/pause"}, "User": "65535:65535"},
		"kube-proxy": {"Entrypoint": []any{"/usr/local/bin/kube-proxy"}, "User": nil},
	}
	for program, want := range configs {
		got := imageConfig(t, byName[program].Path)
		for key, value := range want {
			if diff := cmp.Diff(value, got[key]); diff != "" {
				t.Errorf("%s: %s (-want +got):\n%s", program, key, diff)
			}
		}
	}

	// The same again comes from the store: neither kubeadm nor dpkg-deb are asked.
	again, err := m.Images(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(images, again); diff != "" {
		t.Errorf("the second time (-want +got):\n%s", diff)
	}

	// Another kubelet makes no image anew, nor does another kubeadm, which is
	// asked itself.
	for _, program := range []string{"kubelet", "kubeadm"} {
		k := m.sources["kubernetes"].(contents)
		k.files = maps.Clone(k.files)
		k.files[program] = "another"
		m.sources["kubernetes"] = k
		if program == "kubeadm" {
			f.ExpectFunc("kubeadm", func(c run.Cmd) bool { return strings.Contains(run.Quote(c.Argv), "kubeadm config") }).Returns(kubeadm137)
		}
		if again, err = m.Images(t.Context()); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(images, again); diff != "" {
			t.Errorf("with another %s (-want +got):\n%s", program, diff)
		}
	}
}

// imageConfig returns the config object of an image in a layout tar.
func imageConfig(t *testing.T, path string) map[string]any {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	tr := tar.NewReader(f)
	for {
		_, err := tr.Next()
		if errors.Is(err, io.EOF) {
			t.Fatalf("%s has no configuration", path)
		}
		if err != nil {
			t.Fatal(err)
		}
		var blob struct {
			OS     string
			Config map[string]any
		}
		if json.NewDecoder(tr).Decode(&blob) == nil && blob.OS == "linux" {
			return blob.Config
		}
	}
}

func TestAll(t *testing.T) {
	t.Parallel()
	m, f := fakeImages(t, kubeadm137)
	for _, name := range []string{"containerd", "runc", "cni-plugins"} {
		m.sources[name] = contents{name, "1.0.0", map[string]string{name: name}}
	}
	expectDpkgDeb(t, f)
	if err := m.All(t.Context()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff("kubernetes", m.byCost()[0]); diff != "" {
		t.Errorf("what takes longest comes first (-want +got):\n%s", diff)
	}
	entries, err := os.ReadDir(filepath.Join(m.store.Dir(), "entries"))
	if err != nil {
		t.Fatal(err)
	}
	// One more is what kubeadm said.
	if want := len(m.sources) + len(strings.Fields(kubeadm137)) + 1; len(entries) != want {
		t.Errorf("%d entries in the store, expected %d", len(entries), want)
	}
}

func TestImagesDisagreeWithKubeadm(t *testing.T) {
	t.Parallel()
	m, _ := fakeImages(t, strings.Replace(kubeadm137, "etcd:3.7.0-0", "etcd:3.7.1-0", 1))
	_, err := m.Images(t.Context())
	if exitcode.Of(err) != exitcode.Usage || !strings.Contains(err.Error(), "etcd:3.7.1-0") || !strings.Contains(err.Error(), "etcd:3.7.0-0") {
		t.Errorf("exit code %d, %v", exitcode.Of(err), err)
	}
}

func TestUnpackDebs(t *testing.T) {
	t.Parallel()
	data := filepath.Join(t.TempDir(), "data.tar")
	if err := os.WriteFile(data, debTar(t), 0o644); err != nil {
		t.Fatal(err)
	}
	u := unpacker{byPath: map[string]oci.Entry{}}
	if err := u.add(data, t.TempDir()); err != nil {
		t.Fatal(err)
	}
	entries, err := u.finish()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		line := fmt.Sprintf("%s %o", e.Path, e.Mode)
		if e.Kind == oci.Symlink {
			line = e.Path + " -> " + e.Target
		}
		got = append(got, line)
	}
	want := []string{
		"/bin -> usr/bin",
		"/etc/passwd 600",
		"/lib -> usr/lib",
		"/lib64 -> usr/lib64",
		"/sbin -> usr/sbin",
		"/usr/lib/x86_64-linux-gnu/libkmod.so.2 644",
		"/usr/lib64/ld-linux-x86-64.so.2 644",
		"/usr/sbin/iptables -> iptables-nft",
		"/usr/sbin/iptables-nft -> xtables-nft-multi",
		"/usr/sbin/iptables-nft-save -> xtables-nft-multi",
		"/usr/sbin/iptables-save -> iptables-nft-save",
		"/usr/sbin/modprobe -> ../bin/kmod",
		"/usr/sbin/xtables-nft-multi 755",
		"/usr/share/doc/iptables/copyright 644",
		"/var/lib/x 700",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("entries (-want +got):\n%s", diff)
	}
}

func TestUnpackRefusesDevices(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	tw := tar.NewWriter(&b)
	if err := errors.Join(tw.WriteHeader(&tar.Header{Name: "./dev/null", Typeflag: tar.TypeChar}), tw.Close()); err != nil {
		t.Fatal(err)
	}
	data := filepath.Join(t.TempDir(), "data.tar")
	if err := os.WriteFile(data, b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	u := unpacker{byPath: map[string]oci.Entry{}}
	if err := u.add(data, t.TempDir()); err == nil || !strings.Contains(err.Error(), "/dev/null") {
		t.Errorf("a device in a package: %v", err)
	}
}
