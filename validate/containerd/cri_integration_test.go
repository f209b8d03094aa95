//go:build integration && slow

package containerd

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// asked is what a kubelet learns from a running containerd.
type asked struct {
	served bool   // a CRI answers at all
	driver Driver // of RuntimeConfig, "" if that is not implemented
}

// start runs containerd in a mount namespace of its own, so that the
// directories that it makes outside of its root (/opt, /etc/cni, /run) are
// gone with it. systemd says whether it finds systemd running there.
func start(t *testing.T, bin, config, dir string, systemd bool) asked {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("containerd only starts for root")
	}
	script := `set -e
mount --make-rprivate /
for d in /opt /run /etc/cni; do mkdir -p "$d"; mount -t tmpfs none "$d"; done
if [ "$2" = true ]; then mkdir -p /run/systemd/system; fi
exec "$1" --config "$3" --root "$4/root" --state /run/state --address "$4/sock" --log-level error`
	if _, err := os.Stat("/etc/cni"); err != nil {
		t.Cleanup(func() { os.Remove("/etc/cni") }) // the mount point, empty outside of the namespace
	}
	cmd := exec.Command("unshare", "--mount", "sh", "-c", script, "sh", bin, map[bool]string{true: "true", false: "false"}[systemd], config, dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stderr, &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan struct{})
	go func() { _ = cmd.Wait(); close(exited) }()
	defer func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-exited:
		case <-time.After(20 * time.Second):
			_ = cmd.Process.Kill()
			<-exited
		}
	}()
	conn, err := grpc.NewClient("unix://"+filepath.Join(dir, "sock"), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	client := runtimeapi.NewRuntimeServiceClient(conn)
	deadline := time.Now().Add(90 * time.Second)
	for {
		select {
		case <-exited:
			t.Fatalf("containerd ended:\n%s", stderr.String())
		default:
		}
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		_, err := client.Version(ctx, &runtimeapi.VersionRequest{})
		cancel()
		switch status.Code(err) {
		case codes.OK:
		case codes.Unimplemented:
			if strings.Contains(err.Error(), "unknown service") {
				return asked{}
			}
			t.Fatal(err)
		default: // not listening yet, or the plugin not ready
			if time.Now().After(deadline) {
				t.Fatalf("containerd does not answer: %v\n%s", err, stderr.String())
			}
			time.Sleep(100 * time.Millisecond)
			continue
		}
		break
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	resp, err := client.RuntimeConfig(ctx, &runtimeapi.RuntimeConfigRequest{})
	if status.Code(err) == codes.Unimplemented {
		return asked{served: true}
	}
	if err != nil {
		t.Fatal(err)
	}
	return asked{true, Driver(strings.ToLower(resp.GetLinux().GetCgroupDriver().String()))}
}

// TestRuntimeConfigOfRealBinaries starts every release on every row that it
// does not refuse and asks what a kubelet would ask.
func TestRuntimeConfigOfRealBinaries(t *testing.T) {
	for _, v := range modules() {
		t.Run(v, func(t *testing.T) {
			bin := buildBinary(t, v)
			for _, r := range matrix() {
				c, err := Effective(r.fs(), DefaultPath, v)
				if err != nil {
					t.Fatal(err)
				}
				if c.Refusal != nil {
					continue // compared by the dump
				}
				for _, systemd := range []bool{true, false} {
					if systemd && c.RuntimeConfig(true) == c.RuntimeConfig(false) {
						continue // makes no difference
					}
					dir := t.TempDir()
					config := place(t, r, dir)
					if r.main == "" {
						if err := os.WriteFile(config, nil, 0o644); err != nil {
							t.Fatal(err)
						}
						if c, err = Effective(os.DirFS("/"), config, v); err != nil {
							t.Fatal(err)
						}
					}
					a := c.RuntimeConfig(systemd)
					want := asked{c.CRIServed(), a.Driver}
					if got := start(t, bin, config, dir, systemd); got != want {
						t.Errorf("%s, systemd %v: containerd answers %+v, the model %+v", r.name, systemd, got, want)
					}
				}
			}
		})
	}
}
