//go:build integration

package builder

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"os/signal"
	"path"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/console"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/memory"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/programtest"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/userns"
)

// TestChildBuild is the process that other tests run, and kill.
func TestChildBuild(t *testing.T) {
	dir := os.Getenv(childVariable)
	if dir == "" {
		return
	}
	userns.Watch()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	if os.Geteuid() != 0 {
		if err := userns.Again(ctx); err != nil {
			fmt.Println("EXIT", exitcode.Of(err), err)
		}
		return
	}
	_, err := buildWith(ctx, dir, console.New(os.Stdout), hook{}, func(s *stepCheckHost) {
		if os.Getenv("BUILDER_TEST_NO_SPACE_CHECK") != "" {
			s.needs = 1
		}
	})
	fmt.Println("EXIT", exitcode.Of(err), err)
}

func child(dir string, wrap ...string) *exec.Cmd {
	argv := append(wrap, os.Args[0], "-test.run=^TestChildBuild$")
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), childVariable+"="+dir)
	cmd.Stderr = os.Stderr
	return cmd
}

// TestKilledBuilds ends the build at each step, both ways, and finds nothing
// left each time; a rerun then succeeds.
func TestKilledBuilds(t *testing.T) {
	cold := workspace(t, debian, keyring)
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		t.Run(fmt.Sprintf("%s while bootstrapping", sig), func(t *testing.T) {
			killAt(t, cold, "installing essential packages", sig)
		})
	}
	dir := warm(t, workspace(t, debian, keyring))
	for _, at := range []string{"Unpacking", "Working", "Making the initramfs", "Assembling", "Writing qcow2", "Writing raw"} {
		for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
			t.Run(fmt.Sprintf("%s at %s", sig, at), func(t *testing.T) {
				killAt(t, dir, at, sig)
			})
		}
	}
	t.Run("rerun", func(t *testing.T) {
		if code, said := finish(t, child(dir)); code != "0" {
			t.Fatalf("exit code %s: %s", code, said)
		}
		checkOutputs(t, dir)
		assertNothingLeft(t, dir)
	})
	t.Run("killed while there are outputs", func(t *testing.T) {
		killAt(t, dir, "Writing raw", syscall.SIGKILL)
		checkOutputs(t, dir)
	})
}

func killAt(t *testing.T, dir, line string, sig syscall.Signal) {
	t.Helper()
	hadOutputs := exists(filepath.Join(dir, "out"))
	cmd := child(dir)
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	seen, code := false, ""
	var said strings.Builder
	scanner := bufio.NewScanner(stdout)
	for scanner.Scan() {
		said.WriteString(scanner.Text() + "\n")
		if rest, ok := strings.CutPrefix(scanner.Text(), "EXIT "); ok {
			code, _, _ = strings.Cut(rest, " ")
		}
		if !seen && strings.Contains(scanner.Text(), line) {
			seen = true
			if buildProcesses(t, dir) == 0 {
				t.Error("no process of the build was found, so the absence of any will prove nothing")
			}
			if err := cmd.Process.Signal(sig); err != nil {
				t.Fatal(err)
			}
		}
	}
	_ = cmd.Wait()
	if !seen {
		t.Fatalf("the build never came to %q:\n%s", line, said.String())
	}
	if sig == syscall.SIGTERM && code != "75" {
		t.Errorf("exit code %s, want 75:\n%s", code, said.String())
	}
	if sig == syscall.SIGKILL && code != "" {
		t.Errorf("the build ended by itself before it was killed:\n%s", said.String())
	}
	assertGone(t, dir)
	if sig == syscall.SIGTERM {
		assertNothingLeft(t, dir)
	}
	if !hadOutputs && exists(filepath.Join(dir, "out")) && len(names(t, filepath.Join(dir, "out"))) > 0 {
		t.Errorf("left in the output directory: %v", names(t, filepath.Join(dir, "out")))
	}
}

// finish runs the child to its end and returns its exit code and output.
func finish(t *testing.T, cmd *exec.Cmd) (code, said string) {
	t.Helper()
	out, err := cmd.Output()
	i := bytes.LastIndex(out, []byte("EXIT "))
	if i < 0 {
		t.Fatalf("%v: no exit code in:\n%s", err, out)
	}
	code, _, _ = strings.Cut(string(out[i+len("EXIT "):]), " ")
	return code, string(out)
}

func TestTwoBuildsAtOnce(t *testing.T) {
	dir := warm(t, workspace(t, debian, keyring))
	type result struct{ code, said string }
	results := make(chan result, 2)
	for range 2 {
		go func() {
			out, _ := child(dir).Output()
			_, rest, _ := strings.Cut(string(out), "EXIT ")
			code, _, _ := strings.Cut(rest, " ")
			results <- result{code, string(out)}
		}()
	}
	waited := 0
	for range 2 {
		r := <-results
		if r.code != "0" {
			t.Errorf("exit code %q: %s", r.code, r.said)
		}
		if strings.Contains(r.said, "waiting for its end") {
			waited++
		}
	}
	if waited != 1 {
		t.Errorf("%d builds waited, want 1", waited)
	}
	checkOutputs(t, dir)
	assertNothingLeft(t, dir)
}

func TestWrongKeyring(t *testing.T) {
	dir := workspace(t, debian, "/usr/share/keyrings/debian-archive-removed-keys.gpg")
	_, err := buildIn(t.Context(), dir, console.New(testWriter{t}))
	if exitcode.Of(err) != exitcode.Usage || !strings.Contains(err.Error(), "archive.keyring") || !strings.Contains(err.Error(), debian) {
		t.Errorf("got code %d: %v", exitcode.Of(err), err)
	}
	assertNothingLeft(t, dir)
}

func TestMirrorIsCut(t *testing.T) {
	upstream, err := url.Parse("http://deb.debian.org")
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(&httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(upstream) },
		// Half of a package, and then the connection is closed. Of some packages:
		// apt tries each of them again and again, and that of all takes minutes.
		ModifyResponse: func(r *http.Response) error {
			if name := path.Base(r.Request.URL.Path); strings.HasSuffix(name, ".deb") && strings.HasPrefix(name, "base-") {
				r.Body = struct {
					io.Reader
					io.Closer
				}{io.LimitReader(r.Body, r.ContentLength/2), r.Body}
			}
			return nil
		},
	})
	defer srv.Close()
	dir := workspace(t, srv.URL+"/debian", keyring)
	_, err = buildIn(t.Context(), dir, console.New(testWriter{t}))
	if exitcode.Of(err) != exitcode.Infrastructure || !strings.Contains(err.Error(), srv.URL) {
		t.Errorf("got code %d: %v", exitcode.Of(err), err)
	}
	assertNothingLeft(t, dir)
}

// TestFullDisk puts the cache on small file systems, on which the build gets
// stuck in different steps.
func TestFullDisk(t *testing.T) {
	full, shared := workspace(t, debian, keyring), warmCache(t)
	t.Setenv("BUILDER_TEST_NO_SPACE_CHECK", "1")
	t.Setenv(memory.ScratchVariable, memory.OnDisk)
	for _, tc := range []struct{ size, step string }{
		{"64m", "bootstrapping"}, {"400m", "unpacking the base system"}, {"800m", "assembling the disk"}, {"1080m", "writing qcow2"},
	} {
		t.Run(tc.size, func(t *testing.T) {
			mount := `mkdir -p "$1" && mount -t tmpfs -o "size=$2" t "$1" && { [ "$2" = 64m ] || cp -a "$3/entries" "$1"; } && shift 3 && "$@"; code=$?; find "$0/cache/scratch" "$0/cache/tmp" -mindepth 1 >&2; exit $code`
			cmd := child(full, "unshare", "--mount", "sh", "-c", mount, full, filepath.Join(full, "cache"), tc.size, shared)
			var leftovers bytes.Buffer
			cmd.Stderr = &leftovers
			code, said := finish(t, cmd)
			if code != "75" || !strings.Contains(strings.ToLower(said), "full") || !strings.Contains(said, tc.step) {
				t.Errorf("exit code %s: %s", code, said)
			}
			if strings.Contains(leftovers.String(), full) {
				t.Errorf("left on the full disk:\n%s", leftovers.String())
			}
			assertNothingLeft(t, full)
		})
	}
	t.Run("told before", func(t *testing.T) {
		t.Setenv("BUILDER_TEST_NO_SPACE_CHECK", "")
		cmd := child(full, "unshare", "--mount", "sh", "-c", `mkdir -p "$1" && mount -t tmpfs -o size=64m t "$1" && shift && "$@"`, "sh", filepath.Join(full, "cache"))
		if code, said := finish(t, cmd); code != "75" || !strings.Contains(said, "cache_directory") || strings.Contains(said, "Bootstrapping") {
			t.Errorf("exit code %s: %s", code, said)
		}
	})
}

// A user without subordinate IDs cannot have a user namespace to build in.
func TestNotRoot(t *testing.T) {
	dir := workspace(t, debian, keyring)
	// The test binary lies where only root can read.
	binary := filepath.Join(dir, "test")
	data, err := os.ReadFile(os.Args[0])
	if err := errors.Join(err, programtest.WriteFile(binary, data)); err != nil {
		t.Fatal(err)
	}
	for d := dir; d != os.TempDir() && d != "/"; d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", binary, "-test.run=^TestChildBuild$")
	cmd.Env = append(os.Environ(), childVariable+"="+dir)
	cmd.Dir = "/"
	code, said := finish(t, cmd)
	if code != "2" || !strings.Contains(said, "usermod --add-subuids") || !strings.Contains(said, "/etc/subgid") {
		t.Errorf("exit code %s: %s", code, said)
	}
	if exists(filepath.Join(dir, "cache")) || exists(filepath.Join(dir, "out")) {
		t.Error("something was changed")
	}
}

// buildProcesses counts the processes of a child's build, not this test's own.
func buildProcesses(t *testing.T, dir string) int {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err == nil && bytes.Contains(b, []byte(childVariable+"="+dir+"\x00")) {
			n++
			continue
		}
		// Commands in the chroot have an environment of their own.
		if root, err := os.Readlink(filepath.Join(filepath.Dir(f), "cwd")); err == nil && strings.HasPrefix(root, dir) {
			n++
		}
	}
	return n
}

// assertGone fails if a process or a mount of the build is left.
func assertGone(t *testing.T, dir string) {
	t.Helper()
	left := -1
	for range 100 {
		if left = buildProcesses(t, dir); left == 0 {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	if left != 0 {
		t.Errorf("%d processes are left", left)
	}
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(mounts), dir) {
		t.Errorf("a mount is left:\n%s", mounts)
	}
}

// assertNothingLeft fails if also a file of an unfinished build is left.
func assertNothingLeft(t *testing.T, dir string) {
	t.Helper()
	assertGone(t, dir)
	for _, sub := range []string{"cache/scratch", "cache/tmp"} {
		if path := filepath.Join(dir, sub); exists(path) && len(names(t, path)) > 0 {
			t.Errorf("left in %s: %v", sub, names(t, path))
		}
	}
	if out := filepath.Join(dir, "out"); exists(out) {
		for _, name := range names(t, out) {
			if strings.HasPrefix(name, partialPrefix) {
				t.Errorf("left in the output directory: %s", name)
			}
		}
	}
}
