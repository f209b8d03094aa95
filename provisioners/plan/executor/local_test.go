package executor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/programtest"
)

// local is a communicator for this machine. It has no chroot: plans under test
// keep to a temporary directory, owned by whoever runs the test.
type local struct {
	mu       sync.Mutex
	commands []string
	uploads  []string
	// onUpload, when set, sees each upload before it is done.
	onUpload func(dst string) error
	states   string // directory of fakeSystemctl's
	// cut makes uploads end early, as a lost connection does.
	cut bool
	// rights, when set, is a file without which nothing is run any more, as
	// without a rule for sudo.
	rights string
}

var _ packersdk.Communicator = (*local)(nil)

func (l *local) Start(ctx context.Context, cmd *packersdk.RemoteCmd) error {
	l.mu.Lock()
	l.commands = append(l.commands, cmd.Command)
	l.mu.Unlock()
	if _, err := os.Lstat(l.rights); l.rights != "" && err != nil {
		_, _ = io.WriteString(cmd.Stderr, "sudo: a password is required\n")
		go cmd.SetExited(1)
		return nil
	}
	c := exec.CommandContext(ctx, "sh", "-c", cmd.Command)
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	c.Cancel = func() error { return syscall.Kill(-c.Process.Pid, syscall.SIGKILL) }
	c.Stdin, c.Stdout, c.Stderr = cmd.Stdin, cmd.Stdout, cmd.Stderr
	if err := c.Start(); err != nil {
		return err
	}
	go func() {
		err := c.Wait()
		var exit *exec.ExitError
		switch {
		case err == nil:
			cmd.SetExited(0)
		case errors.As(err, &exit) && exit.ExitCode() > 0:
			cmd.SetExited(exit.ExitCode())
		default:
			cmd.SetExited(255)
		}
	}()
	return nil
}

func (l *local) Upload(dst string, r io.Reader, _ *os.FileInfo) error {
	l.mu.Lock()
	l.uploads = append(l.uploads, dst)
	l.mu.Unlock()
	if l.onUpload != nil {
		if err := l.onUpload(dst); err != nil {
			return err
		}
	}
	data, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	if l.cut {
		data = data[:len(data)/2]
	}
	return os.WriteFile(dst, data, 0o600)
}

var errUnexpected = errors.New("unexpected call of the communicator")

func (l *local) UploadDir(string, string, []string) error   { return errUnexpected }
func (l *local) Download(string, io.Writer) error           { return errUnexpected }
func (l *local) DownloadDir(string, string, []string) error { return errUnexpected }

func (l *local) reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.commands, l.uploads = nil, nil
}

// fakeSystemctl keeps units' states as files in $STATES and knows those that
// are there. It fails on anything that the executor has no reason to call. With
// the file .old it is one that tells nothing after a unit that is not there.
const fakeSystemctl = `#!/bin/sh
[ "$1" = --root=/ ] || { echo "unexpected: $*" >&2; exit 64; }
shift; [ "$1" = --quiet ] && shift
echo "$*" >>%[1]s/.calls
verb=$1 rc=0; shift
for u do
s=%[1]s/$u
case $verb in
is-enabled) if [ -e "$s" ]; then cat "$s"; elif [ -e %[1]s/.old ]; then exit 1; else echo not-found; fi; grep -qs '^enabled' "$s" || rc=4;;
enable) [ -e "$s" ] || { echo "Failed to enable unit: Unit $u does not exist" >&2; exit 1; }; grep -q static "$s" || echo enabled >"$s";;
disable) echo disabled >"$s";;
mask) echo masked >"$s";;
*) echo "unexpected: $*" >&2; exit 64;;
esac
done
exit $rc
`

// machine is a target on this machine whose units are given with their states.
func machine(t *testing.T, units map[string]string) (*Target, *local) {
	t.Helper()
	dir := t.TempDir()
	states := filepath.Join(dir, "states")
	if err := os.MkdirAll(states, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, state := range units {
		write(t, filepath.Join(states, name), state+"\n")
	}
	if err := programtest.WriteFile(filepath.Join(dir, "systemctl"), fmt.Appendf(nil, fakeSystemctl, states)); err != nil {
		t.Fatal(err)
	}
	comm := &local{}
	comm.states = states
	return &Target{comm: comm, owner: fmt.Sprintf("%d:%d", os.Getuid(), os.Getgid()), path: dir + ":" + searchPath}, comm
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// leftovers are the upload directories that the commands made and that still
// exist.
func (l *local) leftovers() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var left []string
	for _, u := range l.uploads {
		if _, err := os.Stat(filepath.Dir(u)); err == nil {
			left = append(left, filepath.Dir(u))
		}
	}
	return left
}

func contains(commands []string, part string) bool {
	for _, c := range commands {
		if strings.Contains(c, part) {
			return true
		}
	}
	return false
}
