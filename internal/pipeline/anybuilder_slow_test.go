//go:build integration && slow

package pipeline_test

import (
	"bytes"
	"cmp"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"github.com/nodeimage/packer-plugin-nodeimage/builder"
	"github.com/nodeimage/packer-plugin-nodeimage/e2e"
	"github.com/nodeimage/packer-plugin-nodeimage/e2e/machine"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/console"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/run"
)

// plainVariable may name an image to start from, in place of a fresh one.
const plainVariable = "NODEIMAGE_TEST_PLAIN_IMAGE"

// networked turns on what configures the links: a base alone has it off, and
// clouds' images have it on.
type networked struct{}

func (networked) Run(ctx context.Context, name string, _ packersdk.Ui, comm packersdk.Communicator, _ any) error {
	if name != packersdk.HookProvision {
		return nil
	}
	cmd := &packersdk.RemoteCmd{Command: "systemctl enable systemd-networkd.service"}
	if err := comm.Start(ctx, cmd); err != nil {
		return err
	}
	if code := cmd.Wait(); code != 0 {
		return fmt.Errorf("%s: exit status %d", cmd.Command, code)
	}
	return nil
}

// plainDebian is a bootable Debian with cloud-init and without anything of
// Kubernetes', as clouds offer them.
func plainDebian(t *testing.T) string {
	t.Helper()
	if image := os.Getenv(plainVariable); image != "" {
		return image
	}
	dir := filepath.Join(t.TempDir(), "plain")
	b := new(builder.Builder)
	if _, _, err := b.Prepare(map[string]any{"profile": "debian-13", "output_directory": dir}); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Run(t.Context(), console.New(os.Stderr), networked{}); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "debian-13.qcow2")
}

// newKey makes an SSH key and returns its file and its authorized_keys line.
func newKey(t *testing.T, dir string) (file, public string) {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromSigner(private)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(private, "test")
	if err != nil {
		t.Fatal(err)
	}
	file = filepath.Join(dir, "key")
	if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
		t.Fatal(err)
	}
	return file, strings.TrimSpace(string(ssh.MarshalAuthorizedKey(signer.PublicKey())))
}

// buildProgram makes the command line in dir. It needs no library.
func buildProgram(t *testing.T, dir string) string {
	t.Helper()
	program := filepath.Join(dir, "nodeimage")
	command(t, append(os.Environ(), "CGO_ENABLED=0"), "go", "build", "-trimpath", "-o", program, filepath.Join(repository, "cmd/nodeimage"))
	return program
}

// The four provisioners make a node of a machine that another builder, here
// Packer's null, reaches over SSH as an ordinary user; the node then passes the
// checks from inside and the suite from outside. E2E_FILTER chooses other specs
// than all but the slow ones.
func TestAnyBuilder(t *testing.T) {
	ctx := t.Context()
	env := hermetic(t)
	installPlugin(t, env)
	dir := t.TempDir()
	program := buildProgram(t, dir) // it runs in the machine, too
	key, public := newKey(t, dir)
	plain := plainDebian(t)
	m, err := machine.Start(ctx, machine.Options{
		Image: plain, Dir: filepath.Join(dir, "machine"), Firmware: machine.UEFI, DiskSize: 14 << 30, Hostname: "cloud-vm",
		UserData: []string{"#cloud-config\nusers:\n- name: admin\n  shell: /bin/bash\n  sudo: \"ALL=(ALL) NOPASSWD:ALL\"\n  ssh_authorized_keys: [" + public + "]\n"},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = m.Kill() }()
	address := m.Report().SSH
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	// Read now: the seal takes host keys away, and cloud-init brings the same
	// one back.
	hostKey, err := m.ReadFile(ctx, "/etc/ssh/ssh_host_ed25519_key.pub")
	if err != nil {
		t.Fatal(err)
	}
	known := filepath.Join(dir, "known_hosts")
	if err := os.WriteFile(known, []byte(knownhosts.Normalize(address)+" "+string(hostKey)), 0o600); err != nil {
		t.Fatal(err)
	}
	suite := func(out string, more ...string) (e2e.Result, string, error) {
		t.Helper()
		args := append([]string{"e2e", "--host", "admin@" + address, "--identity", key, "--known-hosts", known, "--profile", "debian-13", "-o", filepath.Join(dir, out)}, more...)
		text, err := exec.CommandContext(ctx, program, args...).CombinedOutput()
		var result e2e.Result
		data, readErr := os.ReadFile(filepath.Join(dir, out, e2e.SummaryFile))
		if readErr == nil {
			readErr = json.Unmarshal(data, &result)
		}
		if readErr != nil {
			result.Reason = readErr.Error()
		}
		return result, string(text), err
	}
	// A machine that is no node yet is refused, and nothing is done to it.
	if result, text, err := suite("refused"); err == nil || !strings.Contains(text, "the host lacks kubeadm") || result.Verdict != "" {
		t.Errorf("a machine without kubeadm: %v, %q\n%s", err, result.Verdict, text)
	}

	template := filepath.Join(repository, "docs/templates/existing-machine.pkr.hcl")
	out := command(t, env, packer(t), "build", "-color=false", "-var", "host="+host, "-var", "port="+port, "-var", "private_key_file="+key, template)
	t.Log(out)
	if err := m.Reboot(ctx); err != nil {
		t.Fatal(err)
	}

	content, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	if err := m.WriteFile(ctx, "/run/nodeimage", 0o755, bytes.NewReader(content)); err != nil {
		t.Fatal(err)
	}
	live, err := m.Run(ctx, run.Cmd{Argv: []string{"sh", "-c", "mount -o remount,exec /run && exec /run/nodeimage validate / --profile debian-13"}})
	if err != nil {
		t.Errorf("validate in the machine: %v\n%s", err, live.Stdout)
	}

	result, text, err := suite("out", "--label-filter", cmp.Or(os.Getenv("E2E_FILTER"), "!slow"))
	t.Log(text)
	if err != nil || !result.Passed() {
		t.Fatalf("the suite: %v, %s", err, result.Headline())
	}
	if result.Host != "admin@"+address || result.SHA256 != "" || result.Image != "" || result.Counts.Skipped == 0 || len(result.StandIns) > 0 {
		t.Errorf("the result is about %q, image %q, digest %q, %d skipped, stand-ins %q", result.Host, result.Image, result.SHA256, result.Counts.Skipped, result.StandIns)
	}
	if want := "the cluster and the test's files were removed"; result.Cleanup != want {
		t.Errorf("cleanup: %s", result.Cleanup)
	}
	for _, look := range []string{
		"iptables-save | grep -c KUBE-", "ctr --namespace k8s.io images ls | grep -c nodeimage-e2e", "ls -d /var/lib/nodeimage-e2e /etc/cni/net.d/*e2e*", "grep -lszE '^NODEIMAGE_COMMAND=' /proc/[0-9]*/environ | grep .", // commands by sudo; the machine's own log is followed by root
	} {
		if left, err := m.Run(ctx, run.Cmd{Argv: []string{"sh", "-c", look}}); err == nil {
			t.Errorf("left on the machine, %s: %s", look, left.Stdout)
		}
	}
	if err := attestRefuses(t, program, plain, dir); err != nil {
		t.Error(err)
	}
}

// attestRefuses hands a host's result to attest as if it were that of the image
// that the host was made of.
func attestRefuses(t *testing.T, program, image, dir string) error {
	t.Helper()
	keys := filepath.Join(dir, "ci")
	if out, err := exec.CommandContext(t.Context(), program, "keygen", "-o", keys).CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	out, err := exec.CommandContext(t.Context(), program, "attest", image, "--e2e", filepath.Join(dir, "out", e2e.SummaryFile), "--key", keys+".key").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "a machine that was up already, and on no image") {
		return fmt.Errorf("attest took a host's result: %v, %s", err, out)
	}
	return nil
}
