//go:build integration

package component

import (
	"archive/tar"
	"debug/buildinfo"
	"debug/elf"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/run"
)

func realMaker(t *testing.T) *Maker {
	t.Helper()
	m, err := New(debian13(t), newStore(t), Options{Logf: t.Logf})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// isStatic tells whether a program needs no loader.
func isStatic(t *testing.T, path string) bool {
	t.Helper()
	f, err := elf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return false
		}
	}
	return true
}

func TestPauseForReal(t *testing.T) {
	t.Parallel()
	m := realMaker(t)
	built, err := m.Component(t.Context(), "pause")
	if err != nil {
		t.Fatal(err)
	}
	pause, ok := built.File("pause")
	if !ok || !isStatic(t, pause.Path) || pause.Size > 1<<20 {
		t.Errorf("files %+v: expected one small static program", built.Files)
	}
}

func TestRuncForReal(t *testing.T) {
	t.Parallel()
	m := realMaker(t)
	built, err := m.Component(t.Context(), "runc")
	if err != nil {
		t.Fatal(err)
	}
	runc, ok := built.File("runc")
	if !ok || !isStatic(t, runc.Path) {
		t.Fatalf("files %+v: expected a static runc", built.Files)
	}
	info, err := buildinfo.ReadFile(runc.Path)
	if err != nil {
		t.Fatal(err)
	}
	tags := ""
	for _, s := range info.Settings {
		if s.Key == "-tags" {
			tags = s.Value
		}
	}
	if !strings.Contains(","+tags+",", ",seccomp,") {
		t.Errorf("build tags %q, expected seccomp among them: validation reads them", tags)
	}
}

// The fault that starts no container at all must not get past the build.
func TestRuncWithoutSeccompIsRefused(t *testing.T) {
	t.Parallel()
	m := realMaker(t)
	g := m.sources["runc"].(*goModule)
	g.recipe.Builds[0].Tags = []string{"urfave_cli_no_docs", "netgo", "osusergo"}
	_, err := m.Component(t.Context(), "runc")
	if exitcode.Of(err) != exitcode.Failed || !strings.Contains(err.Error(), "libseccomp") {
		t.Errorf("exit code %d, %v; expected the probe to miss libseccomp", exitcode.Of(err), err)
	}
	nothingLeft(t, m)
}

// kube-proxy's image, from the real archive, with every program that
// kube-proxy executes run inside it.
func TestKubeProxyImageForReal(t *testing.T) {
	t.Parallel()
	m := realMaker(t)
	m.sources["kubernetes"] = contents{"kubernetes", "1.37.2", map[string]string{"kube-proxy": "#!/nonexistent"}}
	base, err := m.Component(t.Context(), "kube-proxy-base")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(base.Version, "1.8.") || len(base.Record.Files) != len(base.Files) || !strings.HasPrefix(base.Record.Sum, "sha256:") {
		t.Errorf("record %+v", base.Record)
	}
	image, err := m.image(t.Context(), "registry.k8s.io/kube-proxy:v1.37.2")
	if err != nil {
		t.Fatal(err)
	}
	root := t.TempDir()
	unpackLayer(t, image.Path, root)
	for _, tt := range []struct {
		argv []string
		want string
	}{
		{[]string{"/usr/sbin/iptables", "--version"}, "(nf_tables)"},
		{[]string{"/usr/sbin/ip6tables", "--version"}, "(nf_tables)"},
		{[]string{"/usr/sbin/iptables-save", "--version"}, "(nf_tables)"},
		{[]string{"/usr/sbin/iptables-restore", "--version"}, "(nf_tables)"},
		{[]string{"/usr/sbin/ip6tables-restore", "--version"}, "(nf_tables)"},
		{[]string{"/sbin/iptables", "--version"}, "(nf_tables)"},
		{[]string{"/usr/sbin/nft", "--version"}, "nftables v"},
		{[]string{"/usr/sbin/ipset", "--version"}, "ipset v"},
		{[]string{"/usr/sbin/modprobe", "--version"}, "kmod version"},
	} {
		argv := append([]string{"env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "chroot", root}, tt.argv...)
		result, err := (run.Host{}).Run(t.Context(), run.Cmd{Argv: argv})
		if said := result.Stdout + result.Stderr; err != nil || !strings.Contains(said, tt.want) {
			t.Errorf("%s in the image: %q, %v; expected %q", run.Quote(tt.argv), said, err, tt.want)
		}
	}
	again := realMaker(t)
	again.sources["kubernetes"] = m.sources["kubernetes"]
	second, err := again.image(t.Context(), image.Name)
	if err != nil {
		t.Fatal(err)
	}
	if second.Digest != image.Digest {
		t.Errorf("two stores gave %s and %s for the same packages", image.Digest, second.Digest)
	}
}

// unpackLayer unpacks the layer of an image tar as containerd would.
func unpackLayer(t *testing.T, image, root string) {
	t.Helper()
	f, err := os.Open(image)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var largest int64
	for outer := tar.NewReader(f); ; {
		h, err := outer.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Size <= largest || !strings.HasPrefix(h.Name, "blobs/") {
			continue
		}
		largest = h.Size
		z, err := zstd.NewReader(outer)
		if err != nil {
			t.Fatal(err)
		}
		defer z.Close()
		layer := tar.NewReader(z)
		for {
			h, err := layer.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if errors.Is(err, zstd.ErrMagicMismatch) {
				largest = 0 // the manifest or the configuration
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(root, h.Name)
			switch h.Typeflag {
			case tar.TypeDir:
				err = os.MkdirAll(path, os.FileMode(h.Mode))
			case tar.TypeSymlink:
				err = os.Symlink(h.Linkname, path)
			default:
				var content []byte
				if content, err = io.ReadAll(layer); err == nil {
					err = os.WriteFile(path, content, os.FileMode(h.Mode))
				}
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
}
