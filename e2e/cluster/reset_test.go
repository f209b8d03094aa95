package cluster

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/programtest"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/run"
)

// onHost runs commands on this machine with programs that only say how they
// were called.
type onHost struct{ dir string }

func (h onHost) Run(ctx context.Context, c run.Cmd) (run.Result, error) {
	perl, err := exec.LookPath(c.Argv[0])
	if err != nil {
		return run.Result{}, err
	}
	cmd := exec.CommandContext(ctx, perl, c.Argv[1:]...)
	cmd.Stdin, cmd.Env = c.Stdin, []string{"PATH=" + h.dir, "DIR=" + h.dir}
	out, err := cmd.CombinedOutput()
	if err != nil {
		err = &run.Error{Where: "fake", Argv: c.Argv, Result: run.Result{Stderr: string(out)}, Err: err}
	}
	return run.Result{Stdout: string(out)}, err
}

func TestReset(t *testing.T) {
	t.Parallel()
	const rules = "*nat\n:PREROUTING ACCEPT [0:0]\n:KUBE-SERVICES - [0:0]\n:CNI-HOSTPORT-DNAT - [0:0]\n" +
		"-A PREROUTING -j KUBE-SERVICES\n-A PREROUTING -p tcp --dport 80 -j REDIRECT --to-ports 8080\nCOMMIT\n"
	dir := t.TempDir()
	for name, script := range map[string]string{
		"kubeadm": `[ ! -e "$DIR/broken" ] && echo "kubeadm $*" >>"$DIR/log"`, "ctr": `echo "ctr $*" >>"$DIR/log"`, "rm": `echo "rm $*" >>"$DIR/log"`,
		"iptables-save": "printf '%s' '" + rules + "'", "ip6tables-save": "echo '*nat'", "iptables-restore": `while IFS= read -r l; do echo "$l"; done >"$DIR/rules"`,
		"ip6tables-restore": `echo ip6tables >>"$DIR/log"`,
	} {
		if err := programtest.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+script+"\n")); err != nil {
			t.Fatal(err)
		}
	}
	node := onHost{dir}
	if err := Reset(t.Context(), node, "tests", "localhost/test:v1", "/var/lib/own"); err != nil {
		t.Fatal(err)
	}
	log, err := os.ReadFile(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"kubeadm reset --force --cri-socket unix:///run/containerd/containerd.sock\n",
		"rm -rf -- /run/nodeimage-e2e /etc/cni/net.d/10-nodeimage-e2e.conflist /var/lib/cni/networks/nodeimage-e2e /var/lib/own",
		"ctr --namespace k8s.io images rm localhost/test:v1\n",
	} {
		if !strings.Contains(string(log), want) {
			t.Errorf("%q was not run:\n%s", want, log)
		}
	}
	if strings.Contains(string(log), "ip6tables") {
		t.Error("rules that have nothing of Kubernetes' were written again")
	}
	kept, err := os.ReadFile(filepath.Join(dir, "rules"))
	if want := "*nat\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -p tcp --dport 80 -j REDIRECT --to-ports 8080\nCOMMIT\n"; err != nil || string(kept) != want {
		t.Errorf("rules are now %q, %v; want %q", kept, err, want)
	}
	if err := os.WriteFile(filepath.Join(dir, "broken"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Reset(t.Context(), node, "tests", "localhost/test:v1"); err == nil || !strings.Contains(err.Error(), "exit status") {
		t.Errorf("a reset that kubeadm failed: %v", err)
	}
}
