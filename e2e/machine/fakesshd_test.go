package machine

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os/exec"
	"sync"
	"syscall"

	"golang.org/x/crypto/ssh"
)

// fakeSSHD is an SSH server that runs commands on the host. It knows sessions
// and forwarded connections; anything else is refused.
type fakeSSHD struct {
	listener net.Listener
	config   *ssh.ServerConfig

	// exec answers a command itself and returns its exit status, or says that
	// it does not know it; then a shell runs it.
	exec func(line string, out io.Writer) (status int, known bool)

	mu    sync.Mutex
	conns map[net.Conn]bool
	most  int // sessions at a time on one connection
	total int // connections ever
}

// newFakeSSHD serves on a port of its own until its listener is closed.
func newFakeSSHD(authorized ssh.PublicKey, hostKeys ...ssh.Signer) (*fakeSSHD, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &fakeSSHD{listener: listener, conns: map[net.Conn]bool{}}
	s.exec = func(string, io.Writer) (int, bool) { return 0, false }
	s.config = &ssh.ServerConfig{PublicKeyCallback: func(_ ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
		if string(key.Marshal()) != string(authorized.Marshal()) {
			return nil, errors.New("unknown key")
		}
		return nil, nil
	}}
	for _, key := range hostKeys {
		s.config.AddHostKey(key)
	}
	go s.serve()
	return s, nil
}

func (s *fakeSSHD) port() int { return s.listener.Addr().(*net.TCPAddr).Port }

func (s *fakeSSHD) serve() {
	for {
		conn, err := s.listener.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		s.conns[conn] = true
		s.total++
		s.mu.Unlock()
		go s.handle(conn)
	}
}

// hangUp closes all connections, as a reboot does.
func (s *fakeSSHD) hangUp() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for conn := range s.conns {
		_ = conn.Close()
		delete(s.conns, conn)
	}
}

func (s *fakeSSHD) handle(conn net.Conn) {
	server, channels, requests, err := ssh.NewServerConn(conn, s.config)
	if err != nil {
		_ = conn.Close()
		return
	}
	defer func() { _ = server.Close() }()
	go func() {
		for r := range requests {
			_ = r.Reply(false, nil) // OpenSSH answers a keep-alive so
		}
	}()
	var mu sync.Mutex
	open := 0
	for c := range channels {
		switch c.ChannelType() {
		case "session":
			channel, requests, err := c.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open++
			s.mu.Lock()
			s.most = max(s.most, open)
			s.mu.Unlock()
			mu.Unlock()
			go func() {
				s.session(channel, requests)
				mu.Lock()
				open--
				mu.Unlock()
			}()
		case "direct-tcpip":
			go forward(c)
		default:
			_ = c.Reject(ssh.UnknownChannelType, c.ChannelType())
		}
	}
}

func (s *fakeSSHD) session(channel ssh.Channel, requests <-chan *ssh.Request) {
	defer func() { _ = channel.Close() }()
	var cmd *exec.Cmd
	done := make(chan uint32, 1)
	for {
		select {
		case r, ok := <-requests:
			switch {
			case !ok:
				return
			case r.Type == "exec" && cmd == nil:
				var payload struct{ Command string }
				_ = ssh.Unmarshal(r.Payload, &payload)
				_ = r.Reply(true, nil)
				if status, known := s.exec(payload.Command, channel); known {
					done <- uint32(status)
					continue
				}
				cmd = exec.Command("sh", "-c", "exec "+payload.Command)
				cmd.Stdout, cmd.Stderr = channel, channel.Stderr()
				cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
				stdin, _ := cmd.StdinPipe()
				if err := cmd.Start(); err != nil {
					_, _ = fmt.Fprintln(channel.Stderr(), err)
					done <- 127
					continue
				}
				go func() { _, _ = io.Copy(stdin, channel); _ = stdin.Close() }()
				go func() { _ = cmd.Wait(); done <- uint32(cmd.ProcessState.ExitCode()) }()
			case r.Type == "signal" && cmd != nil:
				_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
			default:
				_ = r.Reply(false, nil)
			}
		case status := <-done:
			if int32(status) < 0 {
				_, _ = channel.SendRequest("exit-signal", false, ssh.Marshal(struct {
					Signal      string
					Core        bool
					Error, Lang string
				}{Signal: "KILL"}))
				return
			}
			_, _ = channel.SendRequest("exit-status", false, binary.BigEndian.AppendUint32(nil, status))
			return
		}
	}
}

func forward(c ssh.NewChannel) {
	var target struct {
		Host       string
		Port       uint32
		OriginHost string
		OriginPort uint32
	}
	if err := ssh.Unmarshal(c.ExtraData(), &target); err != nil {
		_ = c.Reject(ssh.ConnectionFailed, err.Error())
		return
	}
	conn, err := net.Dial("tcp", net.JoinHostPort(target.Host, fmt.Sprint(target.Port)))
	if err != nil {
		_ = c.Reject(ssh.ConnectionFailed, err.Error())
		return
	}
	channel, requests, err := c.Accept()
	if err != nil {
		_ = conn.Close()
		return
	}
	go ssh.DiscardRequests(requests)
	go func() { _, _ = io.Copy(conn, channel); _ = conn.(*net.TCPConn).CloseWrite() }()
	_, _ = io.Copy(channel, conn)
	_ = channel.Close()
	_ = conn.Close()
}
