//go:build integration

package chroot_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"

	"github.com/nodeimage/packer-plugin-nodeimage/builder/chroot"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/run"
)

// TestMain bootstraps one small system for all tests of this package, with a
// containerd of the distribution's.
func TestMain(m *testing.M) { os.Exit(withSystem(m)) }

const systemVariable = "CHROOT_TEST_SYSTEM"

func withSystem(m *testing.M) int {
	if os.Getenv(systemVariable) != "" {
		return m.Run() // a child of a test
	}
	if os.Geteuid() != 0 {
		fmt.Fprintln(os.Stderr, "these tests need root")
		return 1
	}
	dir, err := os.MkdirTemp("", "chroot-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	system := filepath.Join(dir, "system")
	_, err = run.Host{}.Run(context.Background(), run.Cmd{Argv: run.Isolated("mmdebstrap", "--mode=root", "--variant=apt",
		"--include=containerd,mount,procps,libc-bin", `--aptopt=APT::Install-Recommends "false"`,
		"trixie", system, "http://deb.debian.org/debian")})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	os.Remove(filepath.Join(system, "etc/resolv.conf"))
	os.Setenv(systemVariable, system)
	return m.Run()
}

func system(t *testing.T) string { return os.Getenv(systemVariable) }

// sh runs a command as Packer's provisioners do.
func sh(t *testing.T, comm packersdk.Communicator, ctx context.Context, command string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errOut bytes.Buffer
	cmd := &packersdk.RemoteCmd{Command: command, Stdout: &out, Stderr: &errOut}
	if err := comm.Start(ctx, cmd); err != nil {
		t.Fatal(err)
	}
	code = cmd.Wait()
	return code, out.String(), errOut.String()
}

func TestTheHostExpandsNothing(t *testing.T) {
	t.Setenv("ONLY_ON_THE_HOST", "leaked")
	comm := open(t, system(t))
	for command, want := range map[string]string{
		`echo "[$ONLY_ON_THE_HOST]"`:                 "[]\n",
		"echo `cat /etc/debian_chroot-none; id -un`": "root\n",
		`X=1; echo "$X" '$X' "'" \"`:                 "1 $X ' \"\n",
		`printf '%s' "a;b&c|d>e(f)*"`:                "a;b&c|d>e(f)*",
		"cat <<'E'\n$HOME `id` \\\nE\n":              "$HOME `id` \\\n",
		`echo $$ >/dev/null; pwd; echo "$HOME"`:      "/\n/root\n",
	} {
		if _, got, _ := sh(t, comm, t.Context(), command); got != want {
			t.Errorf("%s: got %q, want %q", command, got, want)
		}
	}
	hostile := "$ONLY_ON_THE_HOST `id` \"q\" 'q' \\ ; exit 9"
	res, err := comm.Run(t.Context(), run.Cmd{Argv: []string{"printf", "%s", hostile}, Env: []string{"A=b c"}, Dir: "/usr"})
	if err != nil || res.Stdout != hostile {
		t.Errorf("Run: got %q, %v", res.Stdout, err)
	}
	res, err = comm.Run(t.Context(), run.Cmd{Argv: []string{"sh", "-c", `echo "$A"; pwd`}, Env: []string{"A=b c"}, Dir: "/usr"})
	if err != nil || res.Stdout != "b c\n/usr\n" {
		t.Errorf("Run: got %q, %v", res.Stdout, err)
	}
}

func TestExitCodesSignalsAndStreams(t *testing.T) {
	comm := open(t, system(t))
	for command, want := range map[string]int{
		"true": 0, "exit 7": 7, "exit 255": 255, "no-such-command": 127, "kill -TERM $$": 143, "kill -KILL $$": 137,
		"/etc/passwd": 126,
	} {
		if code, _, stderr := sh(t, comm, t.Context(), command); code != want {
			t.Errorf("%s: got %d, want %d: %s", command, code, want, stderr)
		}
	}
	var out, errOut bytes.Buffer
	cmd := &packersdk.RemoteCmd{Command: "cat; echo oops >&2", Stdin: strings.NewReader("from stdin"), Stdout: &out, Stderr: &errOut}
	if err := comm.Start(t.Context(), cmd); err != nil {
		t.Fatal(err)
	}
	if code := cmd.Wait(); code != 0 || out.String() != "from stdin" || errOut.String() != "oops\n" {
		t.Errorf("got %d, %q, %q", code, out.String(), errOut.String())
	}
}

func TestWhatACommandSees(t *testing.T) {
	comm := open(t, system(t))
	for command, want := range map[string]string{
		// The host's kernel is out of reach.
		"touch /sys/x 2>&1 | grep -c 'Read-only'":                                        "1\n",
		"echo 1 2>/dev/null >/proc/sys/kernel/panic || echo refused":                     "refused\n",
		"grep CapBnd /proc/self/status | cut -f2 | cut -c1-8":                            "000001ff\n",
		"stat -f -c %T /run /dev/shm /dev | sort -u":                                     "tmpfs\n",
		"test -c /dev/null && test -c /dev/ptmx && test -d /dev/pts && echo ok":          "ok\n",
		"findmnt -n -o TARGET / ; ls /proc | grep -c '^[0-9]*$' | awk '{print ($1<10)}'": "/\n1\n",
		"hostname changed-by-a-test && hostname":                                         "changed-by-a-test\n",
		// Nobody here, not even with a shebang of the guard's, starts a service.
		"/usr/sbin/policy-rc.d ssh start; echo $?":                   "101\n",
		"grep -c nameserver /etc/resolv.conf | awk '{print ($1>0)}'": "1\n",
	} {
		if _, got, stderr := sh(t, comm, t.Context(), command); got != want {
			t.Errorf("%s: got %q, want %q: %s", command, got, want, stderr)
		}
	}
	if name, _ := os.Hostname(); name == "changed-by-a-test" {
		t.Error("a command renamed this host")
	}
	if code, _, stderr := sh(t, comm, t.Context(), "apt-get -q update && rm -rf /var/lib/apt/lists"); code != 0 {
		t.Errorf("the archive cannot be reached from the chroot: %s", stderr)
	}
}

func TestCommandsLeaveNothing(t *testing.T) {
	comm := open(t, system(t))
	code, out, stderr := sh(t, comm, t.Context(),
		"mkdir -p /mnt/x && mount -t tmpfs t /mnt/x && touch /mnt/x/f /run/f /dev/shm/f && (setsid sleep 54321 >/dev/null 2>&1 &) && echo up")
	if code != 0 || out != "up\n" {
		t.Fatalf("got %d, %q, %s", code, out, stderr)
	}
	if _, out, _ := sh(t, comm, t.Context(), "ls /mnt/x /run /dev/shm; pgrep -x sleep"); strings.Contains(out, "f\n") || strings.ContainsAny(out, "123456789") {
		t.Errorf("the next command sees %q", out)
	}
	assertNothingLeft(t, system(t), "54321")
}

func TestCancelEndsTheWholeTree(t *testing.T) {
	for name, tc := range map[string]struct {
		command string
		code    int
	}{
		"obeys":   {"sleep 54322 & setsid sleep 54322 & echo up; wait", 143},
		"ignores": {"trap '' TERM; setsid sleep 54322 & echo up; while :; do sleep 54322; done", 137},
	} {
		for _, how := range []string{"context", "interrupt", "close"} {
			t.Run(name+" "+how, func(t *testing.T) {
				comm, err := chroot.New(system(t), chroot.WithGrace(500*time.Millisecond))
				if err != nil {
					t.Fatal(err)
				}
				defer comm.Close()
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				up := make(chan struct{})
				cmd := &packersdk.RemoteCmd{Command: tc.command, Stdout: writerFunc(func(p []byte) { close(up) })}
				if err := comm.Start(ctx, cmd); err != nil {
					t.Fatal(err)
				}
				<-up
				begin := time.Now()
				switch how {
				case "context":
					cancel()
				case "interrupt":
					comm.Interrupt(context.Canceled)
				case "close":
					if err := comm.Close(); err != nil {
						t.Error(err)
					}
				}
				if code := cmd.Wait(); code != tc.code {
					t.Errorf("got %d, want %d", code, tc.code)
				}
				if took := time.Since(begin); took > 10*time.Second {
					t.Errorf("took %v", took)
				}
				assertNothingLeft(t, system(t), "54322")
			})
		}
	}
}

// TestChild is the process that TestKillLeavesNothing kills.
func TestChild(t *testing.T) {
	if os.Getenv("CHROOT_TEST_CHILD") == "" {
		return
	}
	comm, err := chroot.New(system(t))
	if err != nil {
		t.Fatal(err)
	}
	cmd := &packersdk.RemoteCmd{
		Command: "mount -t tmpfs t /mnt; setsid sleep 54323 & echo up; sleep 54323", Stdout: os.Stdout,
	}
	if err := comm.Start(context.Background(), cmd); err != nil {
		t.Fatal(err)
	}
	cmd.Wait()
}

func TestKillLeavesNothing(t *testing.T) {
	child := exec.Command(os.Args[0], "-test.run=^TestChild$")
	child.Env = append(os.Environ(), "CHROOT_TEST_CHILD=1")
	up := make(chan struct{})
	child.Stdout = writerFunc(func(p []byte) {
		if bytes.Contains(p, []byte("up")) {
			close(up)
		}
	})
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	<-up
	if processes(t, "54323") == 0 {
		t.Fatal("the processes to be killed were not found, so their absence would prove nothing")
	}
	if err := child.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = child.Wait()
	assertNothingLeft(t, system(t), "54323")
}

// TestContainerdRuns stands for the provisioner that imports images: the
// image's containerd starts in a command, unpacks an image with overlayfs,
// mounts it and stops.
func TestContainerdRuns(t *testing.T) {
	comm := open(t, system(t))
	image, err := random.Image(1<<20, 3)
	if err != nil {
		t.Fatal(err)
	}
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	config.OS, config.Architecture = "linux", runtime.GOARCH
	if image, err = mutate.ConfigFile(image, config); err != nil {
		t.Fatal(err)
	}
	tag, err := name.NewTag("registry.example/test:1")
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := tarball.Write(tag, image, &b); err != nil {
		t.Fatal(err)
	}
	if err := comm.Upload("/tmp/image.tar", &b, nil); err != nil {
		t.Fatal(err)
	}
	code, out, stderr := sh(t, comm, t.Context(), `set -eu
		containerd --log-level warn >/tmp/containerd.log 2>&1 & pid=$!
		for i in $(seq 100); do ctr version >/dev/null 2>&1 && break; sleep 0.1; done
		ctr -n k8s.io images import --snapshotter overlayfs /tmp/image.tar >&2 || { cat /tmp/containerd.log >&2; exit 1; }
		mkdir -p /mnt/image
		ctr -n k8s.io images mount --snapshotter overlayfs registry.example/test:1 /mnt/image >&2
		find /mnt/image -type f | wc -l
		stat -f -c %T /mnt/image
		umount /mnt/image
		kill "$pid"; wait "$pid" || true
		ls /var/lib/containerd/io.containerd.snapshotter.v1.overlayfs/snapshots | wc -l`)
	if code != 0 {
		t.Fatalf("exit code %d: %s", code, stderr)
	}
	if fields := strings.Fields(out); len(fields) != 3 || fields[0] != "3" || fields[1] != "overlayfs" || fields[2] == "0" {
		t.Errorf("got %q, want 3 files on an overlayfs and its snapshots: %s", out, stderr)
	}
	assertNothingLeft(t, system(t), "containerd --log-level warn")
}

// An ordinary user may not write the host's table of mounts, which is nothing of
// the chroot's: here it is one that nobody can write.
func TestTheHostsTableOfMountsIsLeftAlone(t *testing.T) {
	const readOnly = `mount -n -t tmpfs -o mode=0755 table /run/mount && : >/run/mount/utab && : >/run/mount/utab.lock && mount -n -o remount,ro /run/mount && exec "$@"`
	if err := os.MkdirAll("/run/mount", 0o755); err != nil {
		t.Fatal(err)
	}
	child := exec.Command("unshare", "--mount", "--", "sh", "-c", readOnly, "sh", os.Args[0], "-test.run=^TestExitCodesSignalsAndStreams$")
	if out, err := child.CombinedOutput(); err != nil {
		t.Errorf("%v:\n%s", err, out)
	}
}

func TestServicesDoNotStart(t *testing.T) {
	comm := open(t, system(t))
	code, out, stderr := sh(t, comm, t.Context(), `apt-get -q update >&2 && DEBIAN_FRONTEND=noninteractive apt-get -qy --no-install-recommends install cron >&2; pgrep -x cron | wc -l`)
	if code != 0 || out != "0\n" {
		t.Errorf("got %d, %q running daemons: %s", code, out, stderr)
	}
}

type writerFunc func([]byte)

func (f writerFunc) Write(p []byte) (int, error) { f(p); return len(p), nil }

func processes(t *testing.T, marker string) int {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err == nil && strings.Contains(strings.ReplaceAll(string(b), "\x00", " "), marker) {
			n++
		}
	}
	return n
}

// assertNothingLeft fails if a process with the marker is there after a second,
// or a mount below root.
func assertNothingLeft(t *testing.T, root, marker string) {
	t.Helper()
	left := -1
	for range 50 {
		if left = processes(t, marker); left == 0 {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	if left != 0 {
		t.Errorf("%d processes are left", left)
	}
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(mounts), root) {
		t.Errorf("a mount is left:\n%s", mounts)
	}
}
