package workload

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/oci"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/run"
)

func tarOf(t *testing.T, headers ...tar.Header) *bytes.Buffer {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range headers {
		if h.Typeflag == tar.TypeReg {
			h.Size = 4
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if h.Size > 0 {
			if _, err := w.Write([]byte("text")); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return &b
}

func readTar(t *testing.T, r io.Reader) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	for tr := tar.NewReader(r); ; {
		h, err := tr.Next()
		if err == io.EOF {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		if files[h.Name], err = io.ReadAll(tr); err != nil {
			t.Fatal(err)
		}
	}
}

func TestParseFiles(t *testing.T) {
	t.Parallel()
	got, err := parseFiles(tarOf(t,
		tar.Header{Typeflag: tar.TypeDir, Name: "usr/"},
		tar.Header{Typeflag: tar.TypeReg, Name: "usr/bin/perl", Mode: 0o4755, Uid: 7},
		tar.Header{Typeflag: tar.TypeReg, Name: "./lib/libc.so.6", Mode: 0o600},
		tar.Header{Typeflag: tar.TypeReg, Name: "lib/libc.so.6", Mode: 0o600},
	))
	want := []oci.Entry{
		{Path: "/usr/bin/perl", Kind: oci.File, Mode: 0o755, Content: "text"},
		{Path: "/lib/libc.so.6", Kind: oci.File, Mode: 0o644, Content: "text"},
	}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v (-want +got)\n%s", err, diff)
	}
}

func TestParseFilesRefuses(t *testing.T) {
	t.Parallel()
	for name, rootfs := range map[string]io.Reader{
		"nothing":      tarOf(t),
		"no tar":       strings.NewReader(strings.Repeat("x", 1024)),
		"parent":       tarOf(t, tar.Header{Typeflag: tar.TypeReg, Name: "../etc/passwd"}),
		"absolute":     tarOf(t, tar.Header{Typeflag: tar.TypeReg, Name: "/etc/passwd"}),
		"inner parent": tarOf(t, tar.Header{Typeflag: tar.TypeReg, Name: "usr/../../etc/passwd"}),
		"link":         tarOf(t, tar.Header{Typeflag: tar.TypeSymlink, Name: "usr/x", Linkname: "/etc/passwd"}),
		"device":       tarOf(t, tar.Header{Typeflag: tar.TypeBlock, Name: "dev/sda"}),
	} {
		if _, err := parseFiles(rootfs); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestParseLdd(t *testing.T) {
	t.Parallel()
	got, err := parseLdd(`/usr/bin/perl:
	linux-vdso.so.1 (0x00007ffd2b3f2000)
	libm.so.6 => /lib/x86_64-linux-gnu/libm.so.6 (0x00007f0e0a2c1000)
	libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f0e0a0e0000)
	/lib64/ld-linux-x86-64.so.2 (0x00007f0e0a7d5000)
/usr/lib/x86_64-linux-gnu/perl-base/auto/IO/IO.so:
	linux-vdso.so.1 (0x00007ffd2b3f2000)
	libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f0e0a0e0000)
	statically linked
`)
	want := []string{"/lib/x86_64-linux-gnu/libc.so.6", "/lib/x86_64-linux-gnu/libm.so.6", "/lib64/ld-linux-x86-64.so.2"}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
	for _, bad := range []string{"\tlibcrypt.so.1 => not found\n", "\tnot a dynamic executable\n"} {
		if _, err := parseLdd(bad); err == nil {
			t.Errorf("%q: no error", bad)
		}
	}
}

// thisHost runs commands here, and takes the import for itself.
type thisHost struct {
	t        *testing.T
	imported []byte
}

func (h *thisHost) Run(ctx context.Context, cmd run.Cmd) (run.Result, error) {
	if strings.Join(cmd.Argv, " ") == "ctr --namespace k8s.io images import -" {
		var err error
		h.imported, err = io.ReadAll(cmd.Stdin)
		return run.Result{}, err
	}
	if !slices.Contains([]string{"dpkg", "perl", "ldd", "tar"}, cmd.Argv[0]) {
		h.t.Errorf("unexpected command: %q", cmd.Argv)
	}
	c := exec.CommandContext(ctx, cmd.Argv[0], cmd.Argv[1:]...)
	c.Stdin = cmd.Stdin
	var out bytes.Buffer
	c.Stdout = &out
	if cmd.Stdout != nil {
		c.Stdout = cmd.Stdout
	}
	err := c.Run()
	return run.Result{Stdout: out.String()}, err
}

// The whole way, on this host's own perl; needs a Debian or Ubuntu, as nodes are.
func TestInstall(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("dpkg"); err != nil {
		t.Skip("this host has no dpkg, so its files do not make a node's image")
	}
	host := &thisHost{t: t}
	if err := Install(t.Context(), host); err != nil {
		t.Fatal(err)
	}
	files := readTar(t, bytes.NewReader(host.imported))
	var index v1.IndexManifest
	if err := json.Unmarshal(files["index.json"], &index); err != nil {
		t.Fatal(err)
	}
	manifest, err := v1.ParseManifest(bytes.NewReader(files["blobs/sha256/"+index.Manifests[0].Digest.Hex]))
	if err != nil {
		t.Fatal(err)
	}
	config, err := v1.ParseConfigFile(bytes.NewReader(files["blobs/sha256/"+manifest.Config.Digest.Hex]))
	if err != nil {
		t.Fatal(err)
	}
	if config.OS != "linux" || config.Architecture == "" || !slices.Equal(config.Config.Entrypoint, []string{interpreter, scriptPath}) {
		t.Errorf("config: %+v", config)
	}
	if len(host.imported) < 1<<20 {
		t.Errorf("%d bytes imported: no interpreter fits into that", len(host.imported))
	}
}
