package run_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/run"
)

func TestHostReportsOutputAndExitCode(t *testing.T) {
	t.Parallel()
	var streamed bytes.Buffer
	res, err := run.Host{}.Run(t.Context(), run.Cmd{
		Argv:   []string{"sh", "-c", `printf '%s' "$GREETING"; cat; echo broken >&2; exit 3`},
		Env:    []string{"GREETING=hello "},
		Stdin:  strings.NewReader("world"),
		Stdout: &streamed,
	})
	var runErr *run.Error
	if !errors.As(err, &runErr) {
		t.Fatalf("got error %v, want *run.Error", err)
	}
	if res.ExitCode != 3 || res.Stdout != "hello world" || strings.TrimSpace(res.Stderr) != "broken" {
		t.Errorf("got %+v", res)
	}
	if streamed.String() != "hello world" {
		t.Errorf("streamed %q", streamed.String())
	}
	for _, want := range []string{"host", "sh -c", "exit status 3", "broken"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error %q lacks %q", err, want)
		}
	}
}

// What this process inherited is not passed on: mmdebstrap has shells use the
// next free file descriptors, and dash knows none above 9.
func TestHostPassesNoFilesOn(t *testing.T) {
	t.Parallel()
	fd, err := unix.FcntlInt(0, unix.F_DUPFD, 50) // as a parent leaves one open: not closed on exec
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(fd) }()
	result, err := run.Host{}.Run(t.Context(), run.Cmd{Argv: []string{"readlink", "/proc/self/fd/0", fmt.Sprintf("/proc/self/fd/%d", fd)}})
	if lines := strings.Fields(result.Stdout); len(lines) != 1 {
		t.Errorf("the command has the file %d: %v, %v", fd, lines, err)
	}
}

func TestHostArgvIsNotExpanded(t *testing.T) {
	t.Parallel()
	arg := "$HOME `id` \"q\" 'q' ; exit 9"
	res, err := run.Host{}.Run(t.Context(), run.Cmd{Argv: []string{"printf", "%s", arg}})
	if err != nil || res.Stdout != arg {
		t.Errorf("got %q, %v, want %q", res.Stdout, err, arg)
	}
}

func TestHostCommandNotFound(t *testing.T) {
	t.Parallel()
	_, err := run.Host{}.Run(t.Context(), run.Cmd{Argv: []string{"no-such-command-here"}})
	if !errors.Is(err, exec.ErrNotFound) {
		t.Errorf("got %v, want exec.ErrNotFound in the chain", err)
	}
	if _, err := (run.Host{}).Run(t.Context(), run.Cmd{}); err == nil {
		t.Error("an empty argv was accepted")
	}
}

func TestHostSignalIsReportedLikeAShell(t *testing.T) {
	t.Parallel()
	res, err := run.Host{}.Run(t.Context(), run.Cmd{Argv: []string{"sh", "-c", "kill -KILL $$"}})
	if err == nil || res.ExitCode != 128+9 {
		t.Errorf("got exit code %d, %v, want 137 and an error", res.ExitCode, err)
	}
}

func TestHostKeepsTheTail(t *testing.T) {
	t.Parallel()
	res, err := run.Host{}.Run(t.Context(), run.Cmd{
		Argv: []string{"sh", "-c", "head -c 5000000 /dev/zero | tr '\\0' x; echo END"},
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(res.Stdout) != run.MaxOutput || !strings.HasSuffix(res.Stdout, "xEND\n") {
		t.Errorf("kept %d bytes ending in %q", len(res.Stdout), res.Stdout[len(res.Stdout)-8:])
	}
}

func TestHostCancelEndsTheGroup(t *testing.T) {
	t.Parallel()
	for name, script := range map[string]string{
		"obeys":       "sleep 1000 & echo $!; echo $$; wait",
		"ignores":     "trap '' TERM; sleep 1000 & echo $!; echo $$; while :; do sleep 1; done",
		"leader gone": "trap '' TERM; sleep 1000 & echo $!; echo $$; trap 'exit 0' TERM; wait",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			started := &notify{want: 2, ch: make(chan struct{})}
			go func() { <-started.ch; cancel() }()
			begin := time.Now()
			_, err := run.Host{Grace: 300 * time.Millisecond}.Run(ctx, run.Cmd{
				Argv: []string{"sh", "-c", script}, Stdout: started,
			})
			if name != "leader gone" && !errors.Is(err, context.Canceled) {
				t.Errorf("got %v, want context.Canceled in the chain", err)
			}
			if took := time.Since(begin); took > 10*time.Second {
				t.Errorf("took %v", took)
			}
			for _, f := range strings.Fields(started.buf.String()) {
				assertGone(t, f)
			}
		})
	}
}

func TestHostLeavesNoBackgroundProcess(t *testing.T) {
	t.Parallel()
	begin := time.Now()
	res, err := run.Host{}.Run(t.Context(), run.Cmd{Argv: []string{"sh", "-c", "sleep 1000 & echo $!"}})
	if err != nil {
		t.Fatal(err)
	}
	if took := time.Since(begin); took > 4*time.Second {
		t.Errorf("waited %v for a process that should have been killed", took)
	}
	assertGone(t, strings.TrimSpace(res.Stdout))
}

func TestHostBlockedStdinDoesNotHang(t *testing.T) {
	t.Parallel()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _, _ = r.Close(), w.Close() }()
	begin := time.Now()
	blocking := struct{ io.Reader }{r} // hides that it is a file, which a process could be given as it is
	if _, err := (run.Host{}).Run(t.Context(), run.Cmd{Argv: []string{"true"}, Stdin: blocking}); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(begin); took > 4*time.Second {
		t.Errorf("took %v", took)
	}
}

func TestIsolatedArgv(t *testing.T) {
	t.Parallel()
	argv := run.Isolated("mmdebstrap", "--help")
	if got := run.Quote(argv); got != "unshare --mount --pid --fork --kill-child --mount-proc -- unshare --fork -- mmdebstrap --help" {
		t.Errorf("got %s", got)
	}
}

// notify closes ch once `want` lines were written.
type notify struct {
	buf  bytes.Buffer
	want int
	ch   chan struct{}
}

func (n *notify) Write(p []byte) (int, error) {
	before := bytes.Count(n.buf.Bytes(), []byte("\n"))
	n.buf.Write(p)
	if after := bytes.Count(n.buf.Bytes(), []byte("\n")); before < n.want && after >= n.want {
		close(n.ch)
	}
	return len(p), nil
}

// assertGone fails unless the process ends within a second; a killed orphan
// is a zombie until its new parent reaps it.
func assertGone(t *testing.T, pid string) {
	t.Helper()
	n, err := strconv.Atoi(pid)
	if err != nil {
		t.Fatalf("not a process number: %q", pid)
	}
	for range 100 {
		if errors.Is(unix.Kill(n, 0), unix.ESRCH) {
			return
		}
		stat, err := os.ReadFile("/proc/" + pid + "/stat")
		if err != nil || strings.Contains(string(stat), ") Z ") {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("process %s is still there", pid)
}
