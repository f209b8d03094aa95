//go:build integration

package component

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/run"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/store"
)

// userMaker makes components in the user's own store, since building all of them
// takes a while; what is missing there is built.
func userMaker(t *testing.T) *Maker {
	t.Helper()
	dir, err := store.DefaultDir()
	if err != nil {
		t.Fatal(err)
	}
	s, err := store.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	m, err := New(debian13(t), s, Options{Logf: t.Logf})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// The pinned containerd itself is asked what it makes of the image tars.
func TestContainerdImportsImages(t *testing.T) {
	t.Parallel()
	m := userMaker(t)
	images, err := m.Images(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	containerd, err := m.Component(t.Context(), "containerd")
	if err != nil {
		t.Fatal(err)
	}
	ctr := startContainerd(t, containerd)
	var names []string
	for _, image := range images {
		names = append(names, image.Name)
		ctr("images", "import", "--local", "--snapshotter", "native", image.Path)
	}
	got := strings.Fields(ctr("images", "ls", "-q"))
	want := map[string]bool{}
	for _, name := range names {
		want[name] = true
	}
	have := map[string]bool{}
	for _, name := range got {
		have[name] = true
	}
	if diff := cmp.Diff(want, have); diff != "" {
		t.Errorf("imported names (-want +got):\n%s", diff)
	}
	for _, line := range strings.Split(strings.TrimSpace(ctr("images", "check", "--snapshotter", "native")), "\n")[1:] {
		if !strings.Contains(line, " complete ") || !strings.HasSuffix(strings.TrimSpace(line), "true") {
			t.Errorf("not complete and unpacked: %s", line)
		}
	}
	listed := ctr("images", "ls")
	for _, image := range images {
		if !strings.Contains(listed, image.Digest) {
			t.Errorf("%s is not listed under its digest %s:\n%s", image.Name, image.Digest, listed)
		}
	}
}

// startContainerd runs the built containerd without CRI in directories of its
// own, in namespaces that end with it, and returns a ctr that talks to it.
func startContainerd(t *testing.T, built Built) func(args ...string) string {
	t.Helper()
	dir := t.TempDir()
	socket := filepath.Join(dir, "c.sock")
	config := fmt.Sprintf("version = 3\nroot = %q\nstate = %q\ndisabled_plugins = ['io.containerd.cri.v1.runtime', 'io.containerd.cri.v1.images', 'io.containerd.grpc.v1.cri']\n[grpc]\n  address = %q\n",
		filepath.Join(dir, "root"), filepath.Join(dir, "state"), socket)
	file := filepath.Join(dir, "config.toml")
	if err := os.WriteFile(file, []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	program, _ := built.File("containerd")
	client, _ := built.File("ctr")
	argv := run.Isolated(program.Path, "--config", file)
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	var log strings.Builder
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // takes the namespace with it
		_ = cmd.Wait()         // reports the kill
		if t.Failed() {
			t.Log(log.String())
		}
	})
	ctr := func(args ...string) (string, error) {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		defer cancel()
		result, err := run.Host{}.Run(ctx, run.Cmd{Argv: append([]string{client.Path, "--address", socket, "--namespace", "k8s.io"}, args...)})
		return result.Stdout, err
	}
	deadline := time.Now().Add(time.Minute)
	for {
		_, err := ctr("version")
		if err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("containerd does not answer: %v\n%s", err, log.String())
		}
		time.Sleep(100 * time.Millisecond)
	}
	return func(args ...string) string {
		t.Helper()
		out, err := ctr(args...)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
}
