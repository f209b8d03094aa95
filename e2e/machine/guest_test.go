package machine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/ssh"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/run"
)

// testGuest is a guest in front of a server that runs commands on this host.
func testGuest(t *testing.T) (*Guest, *fakeSSHD) {
	t.Helper()
	user, err := newKeyPair("user")
	if err != nil {
		t.Fatal(err)
	}
	host, err := newKeyPair("host")
	if err != nil {
		t.Fatal(err)
	}
	server, err := newFakeSSHD(user.signer.PublicKey(), host.signer)
	if err != nil {
		t.Fatal(err)
	}
	g := newGuest("node", "root", t.TempDir(), ssh.PublicKeys(user.signer), ssh.FixedHostKey(host.signer.PublicKey()), nil, func(ctx context.Context) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "tcp", server.listener.Addr().String())
	})
	t.Cleanup(func() {
		if err := g.Close(); err != nil {
			t.Error(err)
		}
		_ = server.listener.Close()
		server.hangUp()
	})
	return g, server
}

func TestCommandLine(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, user string
		cmd        run.Cmd
		want       string
	}{
		{"plain", "root", run.Cmd{Argv: []string{"echo", "a b", "$x"}}, `echo 'a b' '$x'`},
		{"environment", "root", run.Cmd{Argv: []string{"env"}, Env: []string{"A=1 2"}}, `env 'A=1 2' env`},
		{"directory", "root", run.Cmd{Argv: []string{"pwd"}, Dir: "/a b"}, `sh -c 'cd -- "$1" && shift && exec "$@"' sh '/a b' pwd`},
		{"all, by sudo", "admin", run.Cmd{Argv: []string{"id"}, Env: []string{"A=1"}, Dir: "/d"}, `sudo -n -- env NODEIMAGE_COMMAND=M sh -c 'cd -- "$1" && shift && exec "$@"' sh /d env A=1 id`},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(test.want, commandLine(test.user, "M", test.cmd)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestGuestRun(t *testing.T) {
	t.Parallel()
	g, _ := testGuest(t)
	ctx := context.Background()
	dir := t.TempDir()
	var out, errOut bytes.Buffer
	result, err := g.Run(ctx, run.Cmd{
		Argv: []string{"sh", "-c", `echo "$PWD $A $1"; cat; echo oops >&2`, "sh", "it's"},
		Env:  []string{"A=a b"}, Dir: dir, Stdin: strings.NewReader("in\n"), Stdout: &out, Stderr: &errOut,
	})
	if err != nil {
		t.Fatal(err)
	}
	want := run.Result{Stdout: dir + " a b it's\nin\n", Stderr: "oops\n"}
	if diff := cmp.Diff(want, result); diff != "" {
		t.Errorf("result (-want +got):\n%s", diff)
	}
	if out.String() != want.Stdout || errOut.String() != want.Stderr {
		t.Errorf("the writers got %q and %q", out.String(), errOut.String())
	}

	result, err = g.Run(ctx, run.Cmd{Argv: []string{"sh", "-c", "echo why >&2; exit 7"}})
	var runErr *run.Error
	if !errors.As(err, &runErr) || runErr.Where != "node" || result.ExitCode != 7 || runErr.Result.ExitCode != 7 || !strings.Contains(err.Error(), "exit status 7: why") {
		t.Errorf("result %+v, error %v", result, err)
	}
	if _, err := g.Run(ctx, run.Cmd{}); err == nil || !strings.Contains(err.Error(), "no command") {
		t.Errorf("no command: %v", err)
	}
	result, err = g.Run(ctx, run.Cmd{Argv: []string{"sh", "-c", "kill -KILL $$"}})
	if err == nil || result.ExitCode != 128+9 || !strings.Contains(err.Error(), "signal KILL") {
		t.Errorf("killed: result %+v, error %v", result, err)
	}
}

func TestGuestRunDoesNotWaitForItsInput(t *testing.T) {
	t.Parallel()
	g, _ := testGuest(t)
	r, w := io.Pipe() // nobody ever writes
	defer func() { _ = w.Close() }()
	done := make(chan error, 1)
	go func() {
		_, err := g.Run(context.Background(), run.Cmd{Argv: []string{"true"}, Stdin: r})
		done <- err
	}()
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("it waits for input that a command does not want")
	}
}

func TestGuestRunKeepsTheTail(t *testing.T) {
	t.Parallel()
	g, _ := testGuest(t)
	result, err := g.Run(context.Background(), run.Cmd{Argv: []string{"sh", "-c", "head -c 3000000 /dev/zero; echo end"}})
	if err != nil {
		t.Fatal(err)
	}
	if len(result.Stdout) != run.MaxOutput || !strings.HasSuffix(result.Stdout, "end\n") {
		t.Errorf("%d bytes kept: want %d, the last ones", len(result.Stdout), run.MaxOutput)
	}
}

func TestGuestCancelKillsTheCommand(t *testing.T) {
	t.Parallel()
	g, _ := testGuest(t)
	pidFile := filepath.Join(t.TempDir(), "pid")
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		_, err := g.Run(ctx, run.Cmd{Argv: []string{"sh", "-c", `trap "" TERM; echo $$ >"$1"; while :; do sleep 1; done`, "sh", pidFile}})
		done <- err
	}()
	pid := 0
	for deadline := time.Now().Add(10 * time.Second); pid == 0; time.Sleep(10 * time.Millisecond) {
		content, _ := os.ReadFile(pidFile)
		pid, _ = strconv.Atoi(strings.TrimSpace(string(content)))
		if time.Now().After(deadline) {
			t.Fatal("the command did not start")
		}
	}
	if !runs(pid) {
		t.Fatal("the command does not run: nothing to prove")
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	awaitEnd(t, pid)
}

func TestGuestSharesConnections(t *testing.T) {
	t.Parallel()
	g, server := testGuest(t)
	const commands = 20
	var wg sync.WaitGroup
	for range commands {
		wg.Go(func() {
			if _, err := g.Run(context.Background(), run.Cmd{Argv: []string{"sleep", "1"}}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	server.mu.Lock()
	total, most := server.total, server.most
	server.mu.Unlock()
	if most > sessionsPerConnection {
		t.Errorf("%d sessions on one connection: sshd allows 10, and %d was to be the most", most, sessionsPerConnection)
	}
	for range 5 {
		if _, err := g.Run(context.Background(), run.Cmd{Argv: []string{"true"}}); err != nil {
			t.Error(err)
		}
	}
	server.mu.Lock()
	defer server.mu.Unlock()
	if server.total != total {
		t.Errorf("%d connections became %d though each was idle", total, server.total)
	}
}

func TestGuestConnectsAnew(t *testing.T) {
	t.Parallel()
	g, server := testGuest(t)
	ctx := context.Background()
	if _, err := g.Run(ctx, run.Cmd{Argv: []string{"true"}}); err != nil {
		t.Fatal(err)
	}
	broken := make(chan error, 1)
	go func() {
		_, err := g.Run(ctx, run.Cmd{Argv: []string{"sleep", "30"}})
		broken <- err
	}()
	time.Sleep(300 * time.Millisecond)
	server.hangUp()
	if err := <-broken; !errors.Is(err, ErrConnection) {
		t.Errorf("a command whose connection broke: %v", err)
	}
	if _, err := g.Run(ctx, run.Cmd{Argv: []string{"true"}}); err != nil {
		t.Errorf("after the connection broke: %v", err)
	}
	if err := g.Close(); err != nil {
		t.Error(err)
	}
	if _, err := g.Run(ctx, run.Cmd{Argv: []string{"true"}}); !errors.Is(err, errClosed) {
		t.Errorf("after Close: %v", err)
	}
}

func TestGuestFiles(t *testing.T) {
	t.Parallel()
	g, _ := testGuest(t)
	ctx := context.Background()
	dir := t.TempDir()
	path := filepath.Join(dir, "new dir", "it's a $file")
	content := bytes.Repeat([]byte("\x00\xffline\r\n"), 50000)
	if err := g.WriteFile(ctx, path, 0o640, bytes.NewReader(content)); err != nil {
		t.Fatal(err)
	}
	got, err := g.ReadFile(ctx, path)
	if err != nil || !bytes.Equal(got, content) {
		t.Errorf("%d bytes read back of %d, %v", len(got), len(content), err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if err := g.WriteFile(ctx, path, 0o600, iotest.ErrReader(errors.New("broken"))); err == nil {
		t.Error("a reader that fails did not fail the write")
	}
	if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, content) {
		t.Errorf("a write that failed changed the file: %v", err)
	}
	if err := g.WriteFile(ctx, dir, 0o600, strings.NewReader("x")); err == nil {
		t.Error("a file replaced a directory")
	}
	if err := g.WriteFile(ctx, path, 0o600|fs.ModeSetuid, strings.NewReader("x")); err == nil {
		t.Error("a mode that cannot be set was accepted")
	}
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(entries) != 1 {
		t.Errorf("left beside the file: %v, %v", entries, err)
	}
	if _, err := g.ReadFile(ctx, path+".no"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
	if _, err := g.ReadFile(ctx, dir); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a directory read as a file: %v", err)
	}
}

func TestGuestDials(t *testing.T) {
	t.Parallel()
	g, _ := testGuest(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	go func() {
		conn, err := listener.Accept()
		if err == nil {
			_, _ = io.Copy(conn, conn)
			_ = conn.Close()
		}
	}()
	conn, err := g.Dial(context.Background(), "tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if _, err := fmt.Fprint(conn, "hello"); err != nil {
		t.Fatal(err)
	}
	answer := make([]byte, 5)
	if _, err := io.ReadFull(conn, answer); err != nil || string(answer) != "hello" {
		t.Errorf("got %q, %v", answer, err)
	}
	_ = listener.Close()
	if _, err := g.Dial(context.Background(), "tcp", listener.Addr().String()); err == nil {
		t.Error("nobody listens there any more")
	}
}

// A server that accepts and never speaks is what QEMU's user network looks
// like before the guest is up.
func TestConnectDoesNotWaitForASilentServer(t *testing.T) {
	t.Parallel()
	g, server := testGuest(t)
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = silent.Close() }()
	open := g.open
	attempts := 0
	g.open = func(ctx context.Context) (net.Conn, error) {
		if attempts++; attempts == 1 {
			return (&net.Dialer{}).DialContext(ctx, "tcp", silent.Addr().String())
		}
		return open(ctx)
	}
	if _, err := g.connect(context.Background(), 100*time.Millisecond); err == nil || !strings.Contains(err.Error(), "first byte") {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := g.await(ctx); err != nil {
		t.Error(err)
	}
	server.mu.Lock()
	defer server.mu.Unlock()
	if server.total != 1 {
		t.Errorf("%d connections to the server that answers: want 1", server.total)
	}
}
