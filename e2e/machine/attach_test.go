package machine

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
	"golang.org/x/crypto/ssh/knownhosts"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/programtest"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/run"
)

func TestParseTarget(t *testing.T) {
	t.Parallel()
	for target, want := range map[string][2]string{
		"host":             {"root", "host:22"},
		"me@host":          {"me", "host:22"},
		"me@10.0.0.1:2222": {"me", "10.0.0.1:2222"},
		"[::1]":            {"root", "[::1]:22"},
		"me@[::1]:2222":    {"me", "[::1]:2222"},
	} {
		user, address, err := parseTarget(target)
		if err != nil || user != want[0] || address != want[1] {
			t.Errorf("%s: got %s, %s, %v; want %v", target, user, address, err, want)
		}
	}
	for _, target := range []string{"", "@host", "me@", "me@host:0", "me@host:x", "me@host:70000", "me@you@host", "host/path"} {
		if user, address, err := parseTarget(target); err == nil {
			t.Errorf("%q was taken for %s at %s", target, user, address)
		}
	}
}

// attachable writes a key and a known_hosts file for a server.
func attachable(t *testing.T, known ssh.PublicKey, more ...ssh.Signer) (AttachOptions, keyPair) {
	t.Helper()
	dir := t.TempDir()
	user, err := newKeyPair("user")
	if err != nil {
		t.Fatal(err)
	}
	host, err := newKeyPair("host")
	if err != nil {
		t.Fatal(err)
	}
	server, err := newFakeSSHD(user.signer.PublicKey(), append(more, host.signer)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.listener.Close(); server.hangUp() })
	if known == nil {
		known = host.signer.PublicKey()
	}
	o := AttachOptions{
		Target: "root@" + server.listener.Addr().String(), KeyFile: filepath.Join(dir, "key"),
		KnownHosts: filepath.Join(dir, "known_hosts"), Dir: filepath.Join(dir, "evidence"),
	}
	for path, content := range map[string]string{
		o.KeyFile:    user.private,
		o.KnownHosts: fmt.Sprintln(knownhosts.Line([]string{knownhosts.Normalize(server.listener.Addr().String())}, known)),
	} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return o, host
}

func TestAttach(t *testing.T) {
	t.Parallel()
	// A server with a key that the file does not know besides one it does.
	o, _ := attachable(t, nil, newRSASigner(t))
	ctx := context.Background()
	g, err := Attach(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = g.Close() }()
	result, err := g.Run(ctx, run.Cmd{Argv: []string{"echo", "hello"}})
	if err != nil || result.Stdout != "hello\n" {
		t.Errorf("got %+v, %v", result, err)
	}
}

// A cancelled command is gone from the machine, with what it started, also where
// the login may not signal it: sudo's, here, are in a session of their own.
func TestCancelBySudo(t *testing.T) {
	dir := t.TempDir()
	if err := programtest.WriteFile(filepath.Join(dir, "sudo"), []byte("#!/bin/sh\nshift 2\nexec setsid --wait \"$@\"\n")); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	o, _ := attachable(t, nil)
	o.Target = strings.Replace(o.Target, "root@", "admin@", 1)
	g, err := Attach(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = g.Close() }()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	pids := strings.Fields(cancelAtFirstLine(ctx, g, cancel))
	if len(pids) != 2 {
		t.Fatalf("the command said %q", pids)
	}
	for _, pid := range pids {
		deadline := time.Now().Add(20 * time.Second)
		for alive(pid) {
			if time.Now().After(deadline) {
				t.Fatalf("process %s lives on", pid)
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
}

// cancelAtFirstLine runs a command with a child, cancels it when it has said who
// the two are, and returns that.
func cancelAtFirstLine(ctx context.Context, g *Guest, cancel func()) string {
	var line strings.Builder
	_, _ = g.Run(ctx, run.Cmd{Argv: []string{"sh", "-c", "sleep 300 & echo $$ $!; wait"}, Stdout: writerFunc(func(p []byte) {
		line.Write(p)
		if strings.HasSuffix(line.String(), "\n") {
			cancel()
		}
	})})
	return line.String()
}

type writerFunc func([]byte)

func (f writerFunc) Write(p []byte) (int, error) { f(p); return len(p), nil }

// alive tells whether a process runs; one that nobody has waited for does not.
func alive(pid string) bool {
	stat, err := os.ReadFile(filepath.Join("/proc", pid, "stat"))
	if err != nil {
		return false
	}
	_, state, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(state, "Z")
}

// serveAgent is an SSH agent that holds these keys.
func serveAgent(t *testing.T, keys ...keyPair) string {
	t.Helper()
	ring := agent.NewKeyring()
	for _, k := range keys {
		private, err := ssh.ParseRawPrivateKey([]byte(k.private))
		if err != nil {
			t.Fatal(err)
		}
		if err := ring.Add(agent.AddedKey{PrivateKey: private}); err != nil {
			t.Fatal(err)
		}
	}
	socket := filepath.Join(shortTempDir(t), "agent")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() { _ = agent.ServeAgent(ring, conn); _ = conn.Close() }()
		}
	}()
	return socket
}

func TestAttachByAgent(t *testing.T) {
	t.Parallel()
	o, _ := attachable(t, nil)
	content, err := os.ReadFile(o.KeyFile)
	if err != nil {
		t.Fatal(err)
	}
	other, err := newKeyPair("other")
	if err != nil {
		t.Fatal(err)
	}
	o.KeyFile, o.Agent = "", serveAgent(t, other, keyPair{private: string(content)})
	g, err := Attach(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	g.drop() // the next connection asks the agent again
	if result, err := g.Run(t.Context(), run.Cmd{Argv: []string{"echo", "hello"}}); err != nil || result.Stdout != "hello\n" {
		t.Errorf("got %+v, %v", result, err)
	}
	if err := errors.Join(g.Close(), g.Close()); err != nil {
		t.Error(err)
	}
}

func TestAttachRefuses(t *testing.T) {
	t.Parallel()
	other, err := newKeyPair("other")
	if err != nil {
		t.Fatal(err)
	}
	t.Run("another host key", func(t *testing.T) {
		t.Parallel()
		o, host := attachable(t, other.signer.PublicKey())
		_, err := Attach(context.Background(), o)
		if err == nil || exitcode.Of(err) != exitcode.Infrastructure || !strings.Contains(err.Error(), "host key") ||
			!strings.Contains(err.Error(), ssh.FingerprintSHA256(host.signer.PublicKey())) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("an unknown host", func(t *testing.T) {
		t.Parallel()
		o, _ := attachable(t, nil)
		if err := os.WriteFile(o.KnownHosts, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Attach(context.Background(), o); err == nil || !strings.Contains(err.Error(), "key is unknown") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("a key that the server does not know, at once", func(t *testing.T) {
		t.Parallel()
		o, _ := attachable(t, nil)
		o.KeyFile, o.Agent = "", serveAgent(t, other)
		begin := time.Now()
		_, err := Attach(context.Background(), o)
		if err == nil || exitcode.Of(err) != exitcode.Infrastructure || !strings.Contains(err.Error(), "name the key that") || time.Since(begin) > reconnectTimeout/2 {
			t.Errorf("got %v after %s", err, time.Since(begin))
		}
	})
	t.Run("no agent and an empty one", func(t *testing.T) {
		t.Parallel()
		o, _ := attachable(t, nil)
		o.KeyFile = ""
		for agent, want := range map[string]string{serveAgent(t): "add one with ssh-add", filepath.Join(t.TempDir(), "none"): "no such file"} {
			o.Agent = agent
			if _, err := Attach(context.Background(), o); exitcode.Of(err) != exitcode.Usage || !strings.Contains(err.Error(), want) {
				t.Errorf("got %v, want %s", err, want)
			}
		}
	})
	t.Run("bad input, all of it", func(t *testing.T) {
		t.Parallel()
		o, _ := attachable(t, nil)
		if err := os.WriteFile(o.KeyFile, []byte("no key"), 0o600); err != nil {
			t.Fatal(err)
		}
		o.KnownHosts += ".no"
		_, err := Attach(context.Background(), o)
		if err == nil || exitcode.Of(err) != exitcode.Usage || !strings.Contains(err.Error(), "private key") || !strings.Contains(err.Error(), "known hosts") {
			t.Errorf("got %v", err)
		}
	})
}

func newRSASigner(t *testing.T) ssh.Signer {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return signer
}
