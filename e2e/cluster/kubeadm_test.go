package cluster

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/run"
)

var update = flag.Bool("update", false, "write the golden files anew")

func TestKubeadmConfigGolden(t *testing.T) {
	t.Parallel()
	for name, plan := range map[string]Plan{
		"kubeadm-slow.yaml":  {KubernetesVersion: "v1.37.2", CPUs: 2, MemoryMiB: 4096, Slow: true},
		"kubeadm-fast.yaml":  {KubernetesVersion: "v1.37.2", CPUs: 2, MemoryMiB: 4096},
		"kubeadm-small.yaml": {KubernetesVersion: "v1.36.1", CPUs: 1, MemoryMiB: 1024},
	} {
		got, err := plan.Config()
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join("testdata", name)
		if *update {
			if err := os.WriteFile(path, got, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), string(got)); diff != "" {
			t.Errorf("%s (-want +got; -update writes it anew)\n%s", name, diff)
		}
		// The image and kubeadm decide how the kubelet runs; a suite that
		// sets the driver itself would test its own configuration.
		for _, forbidden := range []string{"KubeletConfiguration", "cgroupDriver"} {
			if bytes.Contains(got, []byte(forbidden)) {
				t.Errorf("%s sets %s", name, forbidden)
			}
		}
	}
}

func TestPreflight(t *testing.T) {
	t.Parallel()
	output := `[init] Using Kubernetes version: v1.37.2
[preflight] Running pre-flight checks
	[WARNING Hostname]: hostname "node" could not be reached
[preflight] Some fatal errors occurred:
	[ERROR FileContent--proc-sys-net-ipv4-ip_forward]: /proc/sys/net/ipv4/ip_forward contents are not set to 1
	[ERROR Swap]: swap is enabled
[preflight] If you know what you are doing, you can make a check non-fatal`
	found := ParsePreflight(output)
	want := []Preflight{
		{"Hostname", false, `hostname "node" could not be reached`},
		{"FileContent--proc-sys-net-ipv4-ip_forward", true, "/proc/sys/net/ipv4/ip_forward contents are not set to 1"},
		{"Swap", true, "swap is enabled"},
	}
	if diff := cmp.Diff(want, found); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if fatal := FatalPreflight(found); len(fatal) != 2 {
		t.Errorf("fatal: %+v", fatal)
	}
	if found := ParsePreflight("[init] Using Kubernetes version: v1.37.2\n[certs] Generating"); found != nil {
		t.Errorf("clean output gives %+v", found)
	}
}

func TestConflistIsJSON(t *testing.T) {
	t.Parallel()
	var v struct{ Plugins []struct{ Type string } }
	if err := json.Unmarshal([]byte(conflist), &v); err != nil || len(v.Plugins) != 2 || v.Plugins[0].Type != "bridge" {
		t.Errorf("%+v, %v", v, err)
	}
}

// fakeNode answers the commands it was told about and fails on any other.
type fakeNode struct {
	t       *testing.T
	answers map[string]func(run.Cmd) (run.Result, error)
	files   map[string]string
	modes   map[string]fs.FileMode
}

func (n *fakeNode) Run(_ context.Context, cmd run.Cmd) (run.Result, error) {
	key := strings.Join(cmd.Argv, " ")
	answer, ok := n.answers[key]
	if !ok {
		n.t.Errorf("unexpected command on the node: %s", key)
		return run.Result{}, &run.Error{Where: "fake", Argv: cmd.Argv, Err: errors.New("unexpected")}
	}
	res, err := answer(cmd)
	if cmd.Stdout != nil {
		_, _ = io.WriteString(cmd.Stdout, res.Stdout)
	}
	return res, err
}

func (n *fakeNode) ReadFile(_ context.Context, path string) ([]byte, error) {
	if text, ok := n.files[path]; ok {
		return []byte(text), nil
	}
	return nil, &fs.PathError{Op: "read", Path: path, Err: fs.ErrNotExist}
}

func (n *fakeNode) WriteFile(_ context.Context, path string, mode fs.FileMode, content io.Reader) error {
	data, err := io.ReadAll(content)
	n.files[path], n.modes[path] = string(data), mode
	return err
}

func (n *fakeNode) Dial(context.Context, string, string) (net.Conn, error) {
	n.t.Error("unexpected dial")
	return nil, errors.New("unexpected")
}

func (n *fakeNode) Reboot(context.Context) error {
	n.t.Error("unexpected reboot")
	return errors.New("unexpected")
}

func newFakeNode(t *testing.T) *fakeNode {
	return &fakeNode{t: t, answers: map[string]func(run.Cmd) (run.Result, error){}, files: map[string]string{}, modes: map[string]fs.FileMode{}}
}

func (n *fakeNode) says(argv, stdout string) {
	n.answers[argv] = func(run.Cmd) (run.Result, error) { return run.Result{Stdout: stdout}, nil }
}

func TestInit(t *testing.T) {
	t.Parallel()
	node := newFakeNode(t)
	node.says("kubeadm init --config "+configPath, "Your Kubernetes control-plane has initialized successfully!\n")
	var progress bytes.Buffer
	text, err := Init(t.Context(), node, Plan{KubernetesVersion: "v1.37.2", CPUs: 2, MemoryMiB: 4096}, &progress)
	if err != nil || !strings.Contains(text, "successfully") || progress.String() != text {
		t.Errorf("text %q, progress %q, error %v", text, progress.String(), err)
	}
	if !strings.Contains(node.files[configPath], "v1.37.2") || node.modes[configPath] != 0o600 || node.files[conflistPath] != conflist {
		t.Errorf("files on the node: %v", node.files)
	}
	if _, patched := node.files[patchesDir+"/kube-apiserver+strategic.yaml"]; patched {
		t.Error("a fast machine's static pods are patched")
	}
	if _, err := Init(t.Context(), node, Plan{KubernetesVersion: "v1.37.2", CPUs: 2, MemoryMiB: 4096, Slow: true}, io.Discard); err != nil {
		t.Error(err)
	}
	if got := node.files[patchesDir+"/kube-apiserver+strategic.yaml"]; got != readinessPatch || !strings.Contains(node.files[configPath], "directory: "+patchesDir) {
		t.Errorf("patch %q, configuration\n%s", got, node.files[configPath])
	}

	node.answers["kubeadm init --config "+configPath] = func(cmd run.Cmd) (run.Result, error) {
		res := run.Result{ExitCode: 1, Stderr: "[preflight] Some fatal errors occurred:\n\t[ERROR Swap]: swap is enabled\n"}
		return res, &run.Error{Where: "guest", Argv: cmd.Argv, Result: res, Err: errors.New("exit status 1")}
	}
	text, err = Init(t.Context(), node, Plan{KubernetesVersion: "v1.37.2", CPUs: 2, MemoryMiB: 4096}, io.Discard)
	if err == nil || len(FatalPreflight(ParsePreflight(text))) != 1 {
		t.Errorf("a failed init gives text %q and error %v", text, err)
	}
}

func TestVersionAndImages(t *testing.T) {
	t.Parallel()
	node := newFakeNode(t)
	node.says("kubeadm version -o short", "v1.37.2\n")
	node.says("kubeadm config images list --kubernetes-version v1.37.2", "registry.k8s.io/pause:3.10.2\nregistry.k8s.io/etcd:3.7.0-0\n")
	version, err := Version(t.Context(), node)
	if err != nil {
		t.Fatal(err)
	}
	images, err := RequiredImages(t.Context(), node, version)
	if diff := cmp.Diff([]string{"registry.k8s.io/etcd:3.7.0-0", "registry.k8s.io/pause:3.10.2"}, images); err != nil || diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
	node.says("kubeadm version -o short", "kubeadm: broken\n")
	if _, err := Version(t.Context(), node); err == nil {
		t.Error("a version that is none is taken")
	}
}

func TestUnitProperties(t *testing.T) {
	t.Parallel()
	node := newFakeNode(t)
	node.says("systemctl show containerd.service --property=KillMode,Delegate", "KillMode=process\nDelegate=yes\n")
	got, err := UnitProperties(t.Context(), node, "containerd.service", "KillMode", "Delegate")
	if err != nil || got["KillMode"] != "process" || got["Delegate"] != "yes" {
		t.Errorf("%v, %v", got, err)
	}
	node.says("systemctl show containerd.service --property=KillMode,Delegate", "KillMode=process\n")
	if _, err := UnitProperties(t.Context(), node, "containerd.service", "KillMode", "Delegate"); err == nil {
		t.Error("a property without an answer is taken for empty")
	}
}

func TestPollReturnsLastError(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	err := Poll(ctx, 5*time.Millisecond, func(context.Context) error { return errors.New("containerd is activating") })
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "containerd is activating") {
		t.Errorf("got %v", err)
	}
	n := 0
	if err := Poll(t.Context(), time.Millisecond, func(context.Context) error {
		if n++; n < 3 {
			return errors.New("not yet")
		}
		return nil
	}); err != nil || n != 3 {
		t.Errorf("%d tries, %v", n, err)
	}
}

func TestRedactKubeconfig(t *testing.T) {
	t.Parallel()
	config := `apiVersion: v1
kind: Config
clusters: [{name: k, cluster: {server: "https://10.0.2.15:6443", certificate-authority-data: Q0E=}}]
users: [{name: admin, user: {client-certificate-data: Q0VSVA==, client-key-data: U0VDUkVU, token: bearer-secret}}]
contexts: [{name: c, context: {cluster: k, user: admin}}]
current-context: c
`
	got, err := RedactKubeconfig([]byte(config))
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{"U0VDUkVU", "Q0VSVA==", "bearer-secret"} {
		if bytes.Contains(got, []byte(secret)) {
			t.Errorf("%s is left in\n%s", secret, got)
		}
	}
	if !bytes.Contains(got, []byte("https://10.0.2.15:6443")) {
		t.Errorf("the server is lost in\n%s", got)
	}
}
