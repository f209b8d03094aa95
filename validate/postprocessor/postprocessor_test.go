package postprocessor

import (
	"archive/tar"
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/validate"
)

// image writes a root file system that the targets' reader takes by its
// content, under the name of an image.
func image(t *testing.T, name string, files map[string]string) string {
	t.Helper()
	p := filepath.Join(t.TempDir(), name)
	f, err := os.Create(p)
	if err != nil {
		t.Fatal(err)
	}
	w := tar.NewWriter(f)
	for _, dir := range []string{"./etc/", "./etc/ssh/", "./etc/sysctl.d/", "./etc/modules-load.d/", "./usr/", "./var/"} {
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir, Mode: 0o755}); err != nil {
			t.Fatal(err)
		}
	}
	for name, content := range files {
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "." + name, Mode: 0o644, Size: int64(len(content))}); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return p
}

func sound() map[string]string {
	return map[string]string{
		"/etc/sysctl.d/90.conf":       "net.ipv4.ip_forward = 1\n",
		"/etc/modules-load.d/90.conf": "overlay\nbr_netfilter\n",
	}
}

func process(t *testing.T, options map[string]any, files ...string) (packersdk.Artifact, string, error) {
	t.Helper()
	p := new(PostProcessor)
	if err := p.Configure(options); err != nil {
		t.Fatal(err)
	}
	var said strings.Builder
	ui := &packersdk.BasicUi{Reader: strings.NewReader(""), Writer: &said, ErrorWriter: &said}
	in := &packersdk.MockArtifact{IdValue: "sha256:1", FilesValue: files}
	out, keep, force, err := p.PostProcess(context.Background(), ui, in)
	if out != packersdk.Artifact(in) || !keep || !force {
		t.Errorf("got artifact %v, keep %t, force %t: want the artifact passed through and kept", out, keep, force)
	}
	return out, said.String(), err
}

func TestPassesArtifactThrough(t *testing.T) {
	t.Parallel()
	report := filepath.Join(t.TempDir(), "report.json")
	_, said, err := process(t, map[string]any{"report": report}, image(t, "node.qcow2", sound()), "node.manifest.json")
	if err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	if !strings.Contains(said, "PASS") {
		t.Errorf("the report is not shown:\n%s", said)
	}
	data, err := os.ReadFile(report)
	if err != nil {
		t.Fatal(err)
	}
	var r validate.Report
	if err := json.Unmarshal(data, &r); err != nil || r.Verdict != validate.Passed {
		t.Errorf("report %s: verdict %q, %v", data, r.Verdict, err)
	}
}

func TestFailsTheBuild(t *testing.T) {
	t.Parallel()
	files := sound()
	files["/etc/ssh/ssh_host_rsa_key"] = "secret"
	report := filepath.Join(t.TempDir(), "report.xml")
	good := image(t, "good.raw", sound())
	bad := image(t, "bad.qcow2", files)
	_, said, err := process(t, map[string]any{"report": report}, good, bad)
	if exitcode.Of(err) != exitcode.Failed {
		t.Fatalf("error %v with exit code %d, want %d", err, exitcode.Of(err), exitcode.Failed)
	}
	if !strings.Contains(said, "ssh-host-keys-present") || !strings.Contains(said, "/etc/ssh/ssh_host_rsa_key") {
		t.Errorf("what is wrong is not shown:\n%s", said)
	}
	for _, name := range []string{"report.good.raw.xml", "report.bad.qcow2.xml"} {
		if _, err := os.Stat(filepath.Join(filepath.Dir(report), name)); err != nil {
			t.Error(err)
		}
	}
}

func TestPolicyLetsItPass(t *testing.T) {
	t.Parallel()
	files := sound()
	files["/etc/ssh/ssh_host_rsa_key"] = "secret"
	policy := filepath.Join(t.TempDir(), "policy.yaml")
	text := "apiVersion: nodeimage.dev/v1alpha1\nkind: ValidationPolicy\nchecks:\n- {id: ssh-host-keys-present, severity: warning, reason: a lab image, expires: 9999-12-31}\n"
	if err := os.WriteFile(policy, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	_, said, err := process(t, map[string]any{"policy": policy}, image(t, "node.qcow2", files))
	if err != nil || !strings.Contains(said, "a lab image") {
		t.Errorf("error %v, want none and the policy's reason:\n%s", err, said)
	}
}

func TestNothingToJudge(t *testing.T) {
	t.Parallel()
	if _, _, err := process(t, nil, "node.manifest.json"); exitcode.Of(err) != exitcode.Usage {
		t.Errorf("an artifact without an image gives %v, want exit code %d", err, exitcode.Usage)
	}
	damaged := filepath.Join(t.TempDir(), "node.qcow2")
	if err := os.WriteFile(damaged, []byte("QFI\xfb and no more"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := process(t, nil, damaged); exitcode.Of(err) != exitcode.Usage {
		t.Errorf("a damaged image gives %v, want exit code %d", err, exitcode.Usage)
	}
}

func TestConfigureNamesEveryProblem(t *testing.T) {
	t.Parallel()
	err := new(PostProcessor).Configure(map[string]any{"profile": "no-such-profile", "policy": "/nonexistent/policy.yaml", "report": "report.txt"})
	if exitcode.Of(err) != exitcode.Usage {
		t.Fatalf("error %v, want exit code %d", err, exitcode.Usage)
	}
	for _, word := range []string{"no-such-profile", "/nonexistent/policy.yaml", "report.txt"} {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("the error does not name %s: %v", word, err)
		}
	}
	if err := new(PostProcessor).Configure(map[string]any{"proflie": "debian-13"}); err == nil {
		t.Error("an unknown option is accepted")
	}
}
