package bundle

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/nodeimage/packer-plugin-nodeimage/e2e/cause"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
)

func TestRedact(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct{ in, secret, stays string }{
		"private key":      {"a\n-----BEGIN RSA PRIVATE KEY-----\nMIIEow\nIBAAK\n-----END RSA PRIVATE KEY-----\nb", "MIIEow", "b"},
		"key in JSON":      {`{"k": "-----BEGIN PRIVATE KEY-----\nMIIEow\n-----END PRIVATE KEY-----\n", "n": 1}`, "MIIEow", `"n": 1}`},
		"key cut off":      {"-----BEGIN PRIVATE KEY-----\nMIIEowIBAAKCAQEA1234567890", "MIIEow", "BEGIN PRIVATE KEY"},
		"kubeconfig key":   {"client-key-data: LS0tLS1CRUdJTg==\nserver: https://10.0.2.15:6443", "LS0tLS1C", "server: https://10.0.2.15:6443"},
		"kubeconfig token": {"users:\n- user:\n    token: abcdefghijklmnop", "abcdefghijklmnop", "users:"},
		"JWT":              {"token eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJrOHMifQ.c2lnbmF0dXJl end", "c2lnbmF0dXJl", "end"},
		"bootstrap token":  {"kubeadm join 10.0.2.15:6443 --token abcdef.0123456789abcdef --discovery", "0123456789abcdef", "kubeadm join 10.0.2.15:6443"},
		"certificate key":  {"--certificate-key " + strings.Repeat("0f", 32), strings.Repeat("0f", 32), "--certificate-key"},
		"bearer":           {"Authorization: Bearer sk-1234567890abcdef1234", "sk-1234567890", "Authorization"},
		"URL":              {"https_proxy=http://me:hunter2@proxy:3128/", "hunter2", "proxy:3128"},
		"password":         {`{"password": "hunter2", "user": "me"}`, "hunter2", `"user": "me"}`},
		"environment":      {"AWS_SECRET_ACCESS_KEY=wJalrXUtnFEMI/K7MDENG\nA=b", "wJalrXUtnFEMI", "A=b"},
		"AWS":              {"id AKIAIOSFODNN7EXAMPLE x", "AKIAIOSFODNN7EXAMPLE", "x"},
		"shadow":           {"root:$6$saltsalt$Zm9vYmFyYmF6cXV4Zm9v:19000:0:::::", "Zm9vYmFy", ":19000:0"},
	} {
		got := string(Redact([]byte(tt.in)))
		if strings.Contains(got, tt.secret) || !strings.Contains(got, tt.stays) || !strings.Contains(got, redacted) {
			t.Errorf("%s: %q became %q", name, tt.in, got)
		}
	}
}

// What a diagnosis is made from must survive.
func TestRedactLeavesEvidence(t *testing.T) {
	t.Parallel()
	for _, line := range []string{
		`/system.slice/kubepods-burstable-pod7d1c2b0b_0d5b_4c1e_a4b5_1d6a9a1c6e8f.slice:cri-containerd:0f3b9c2d7e1a4b5c6d7e8f9001122334455667788990aabbccddeeff00112233`,
		`audit: type=1400 audit(1722681443.231:255): apparmor="DENIED" operation="signal" class="signal" profile="cri-containerd.apparmor.d" pid=6528 comm="runc" requested_mask="receive" denied_mask="receive" signal=kill peer="runc"`,
		`kubelet: failed to parse kubelet flag: unknown flag: --pod-infra-container-image`,
		`kube-system/kube-proxy-abcde SandboxChanged: Pod sandbox changed, it will be killed and re-created.`,
		`[FATAL] plugin/loop: Loop (127.0.0.1:41000 -> :53) detected for zone`,
		`Container image "registry.k8s.io/etcd:3.7.0-0" is not present with pull policy of Never sha256:0f3b9c2d7e1a4b5c6d7e8f9001122334455667788990aabbccddeeff00112233`,
	} {
		if got := string(Redact([]byte(line))); got != line {
			t.Errorf("%q became %q", line, got)
		}
	}
}

func write(t *testing.T, dir, name, text string) {
	t.Helper()
	p := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

const mismatch = `/system.slice/kubepods-burstable-pod1.slice:cri-containerd:0f3b9c2d`

func TestPackAndRead(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, dir, "summary.json", `{"schema":"x","verdict":"failed"}`)
	write(t, dir, "evidence/diagnosis-lines.json", `[{"source":"cgroup","text":"`+mismatch+`"}]`)
	write(t, dir, "evidence/uefi/console.log", "Kernel panic - not syncing: x\r\n")
	write(t, dir, "evidence/uefi/journal-stream.log", `node kernel: audit: apparmor="DENIED" operation="signal" profile="cri-containerd.apparmor.d" peer="runc"`+"\n")
	write(t, dir, "evidence/node/admin.conf", "client-key-data: c2VjcmV0")
	write(t, dir, "bundle.old", "not again")
	if err := os.Symlink("/etc/passwd", filepath.Join(dir, "evidence/link")); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(dir, File)
	if err := Pack(dir, out); err != nil {
		t.Fatal(err)
	}
	if fi, err := os.Stat(out); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("the archive: %v, %v", fi, err)
	}
	b, err := Read(t.Context(), out)
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"evidence/diagnosis-lines.json", "evidence/node/admin.conf", "evidence/uefi/console.log", "evidence/uefi/journal-stream.log", "summary.json"}; !slices.Equal(b.Files, want) {
		t.Errorf("files %q, want %q", b.Files, want)
	}
	var named []string
	for _, f := range cause.Diagnose(cause.Catalogue(), b.Lines) {
		named = append(named, f.Cause.ID)
	}
	for _, want := range []string{"cgroup-driver-mismatch", "apparmor-runc-signal-denied", "kernel-panic"} {
		if !slices.Contains(named, want) {
			t.Errorf("the bundle names %v, not %s", named, want)
		}
	}
	if !strings.Contains(string(b.Summary), "failed") || len(b.Cut) > 0 {
		t.Errorf("summary %s, cut %v", b.Summary, b.Cut)
	}
	packed, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	z, err := zstd.NewReader(bytes.NewReader(packed))
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	var plain bytes.Buffer
	if _, err := plain.ReadFrom(z); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(plain.String(), "c2VjcmV0") || strings.Contains(plain.String(), "root:x:0") {
		t.Error("the archive holds a secret, or what a link leads to")
	}
	left, err := filepath.Glob(filepath.Join(dir, ".*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestPackFails(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := Pack(filepath.Join(dir, "none"), filepath.Join(dir, "out")); exitcode.Of(err) != exitcode.Infrastructure {
		t.Errorf("no directory: %v", err)
	}
	if err := Pack(dir, filepath.Join(dir, "none", "out")); exitcode.Of(err) != exitcode.Infrastructure {
		t.Errorf("no place: %v", err)
	}
}

type member struct {
	tar.Header
	text string
}

func archive(t testing.TB, members ...member) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, m := range members {
		h := m.Header
		if h.Typeflag == 0 {
			h.Typeflag, h.Size = tar.TypeReg, int64(len(m.text))
		}
		h.Mode = 0o644
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(m.text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func regular(name, text string) member { return member{tar.Header{Name: name}, text} }

func TestReadHostile(t *testing.T) {
	t.Parallel()
	var bomb bytes.Buffer
	z, err := zstd.NewWriter(&bomb)
	if err != nil {
		t.Fatal(err)
	}
	huge := tar.Header{Name: "bundle/evidence/uefi/console.log", Typeflag: tar.TypeReg, Mode: 0o644, Size: maxUnpacked + 1}
	w := tar.NewWriter(z)
	if err := w.WriteHeader(&huge); err != nil {
		t.Fatal(err)
	}
	zeros := make([]byte, 1<<20)
	for range maxUnpacked>>20 + 1 {
		if _, err := z.Write(zeros); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	var many []member
	for range maxFiles + 1 {
		many = append(many, regular("bundle/x", ""))
	}
	whole := archive(t, regular("bundle/summary.json", `{}`), regular("bundle/evidence/uefi/console.log", strings.Repeat("x", 4096)))
	for name, tt := range map[string]struct {
		data []byte
		want string
	}{
		"a bomb":     {bomb.Bytes(), "MiB when unpacked"},
		"many files": {archive(t, many...), "more than 10000 files"},
		"cut off":    {whole[:len(whole)-2000], "unexpected EOF"},
		"empty":      {nil, "neither summary.json nor evidence"},
		"no archive": {bytes.Repeat([]byte("x"), 2048), "tar"},
		"zstd junk":  {[]byte("\x28\xb5\x2f\xfd junk that is none"), ""},
		"gzip junk":  {[]byte("\x1f\x8b junk"), ""},
		"no bundle":  {archive(t, regular("a/b", "c")), "neither summary.json nor evidence"},
	} {
		file := filepath.Join(t.TempDir(), "b")
		if err := os.WriteFile(file, tt.data, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Read(t.Context(), file); exitcode.Of(err) != exitcode.Usage || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want bad input with %q", name, err, tt.want)
		}
	}
	if _, err := Read(t.Context(), t.TempDir()); exitcode.Of(err) != exitcode.Usage {
		t.Errorf("a directory: %v", err)
	}
}

func TestReadTolerates(t *testing.T) {
	t.Parallel()
	var gz bytes.Buffer
	w := gzip.NewWriter(&gz)
	if _, err := w.Write(archive(t,
		regular("../../../../etc/evil/summary.json", `{"verdict":"failed"}`), // a name is only a name
		member{tar.Header{Name: "bundle/link", Typeflag: tar.TypeSymlink, Linkname: "/etc/passwd"}, ""},
		regular("bundle/summary.json", "no JSON"),
		regular("bundle/evidence/diagnosis-lines.json", "[{]"),
		regular("bundle/evidence/uefi/console.log", strings.Repeat("y", 3*maxLine)+"\nKernel panic - not syncing\n"),
	)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "b.tar.gz")
	if err := os.WriteFile(file, gz.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	b, err := Read(t.Context(), file)
	if err != nil {
		t.Fatal(err)
	}
	if len(b.Cut) != 2 || len(b.Lines) != 2 || len(b.Lines[0].Text) > maxLine || b.Lines[1].Text != "Kernel panic - not syncing" {
		t.Errorf("cut %q, %d lines, the last %q", b.Cut, len(b.Lines), b.Lines[len(b.Lines)-1].Text)
	}
	if slices.ContainsFunc(b.Files, func(name string) bool { return strings.Contains(name, "..") || strings.HasPrefix(name, "/") }) {
		t.Errorf("names lead elsewhere: %q", b.Files)
	}
}

func FuzzRead(f *testing.F) {
	f.Add(archive(f, regular("bundle/summary.json", `{}`), regular("bundle/evidence/diagnosis-lines.json", `[{"source":"event","text":"x"}]`)))
	f.Fuzz(func(t *testing.T, data []byte) {
		b, err := readTar(t.Context(), bytes.NewReader(data))
		if err != nil && exitcode.Of(err) != exitcode.Usage {
			t.Fatalf("not bad input: %v", err)
		}
		if len(b.Lines) > maxLines || len(b.Files) > maxFiles {
			t.Fatal("not bounded")
		}
	})
}
