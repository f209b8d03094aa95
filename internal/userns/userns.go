// Package userns runs a program of an ordinary user as the root of a user
// namespace, where it may own files of many users, mount and change its root
// without being root on this host.
package userns

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/user"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
)

// needed is how many user and group IDs a Debian system uses: 0 to 65534.
const needed = 65535

// lifeline is the descriptor on which the program in the namespace sees that
// its parent is gone; lifelineVariable tells it that there is one.
const (
	lifeline         = 3
	lifelineVariable = "NODEIMAGE_USERNS_LIFELINE"
)

// Exit is the code of a program that has reported its error itself.
type Exit int

// Error implements error.
func (e Exit) Error() string { return fmt.Sprintf("it exited with %d", int(e)) }

// Again runs this program once more, with its own arguments, as Run does.
//
// Its path is looked up here: to the shell that waits for the mapping,
// /proc/self/exe is the shell.
func Again(ctx context.Context) error {
	program, err := os.Executable()
	if err != nil {
		return err
	}
	return Run(ctx, append([]string{program}, os.Args[1:]...)...)
}

// Run starts argv as root of a new user namespace in which the user's
// subordinate IDs are the other users, and returns when it ended: nil, or
// [Exit]. When ctx is done it gets SIGTERM and is waited for. The program is to
// call [Watch], or it outlives this process.
//
// Errors: a host that has no user namespaces for this user is bad input, and
// the error says what to change there.
func Run(ctx context.Context, argv ...string) error {
	ids, err := mappings()
	if err != nil {
		return exitcode.BadInput(err)
	}
	read, write, err := os.Pipe()
	if err != nil {
		return err
	}
	defer write.Close()
	// The IDs are mapped from outside, by programs that may, before argv runs.
	cmd := exec.Command("/bin/sh", append([]string{"-c", `read -r go <&3 && [ "$go" = go ] && exec "$@"`, "sh"}, argv...)...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), lifelineVariable+"=1")
	cmd.ExtraFiles = []*os.File{read}
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWUSER}
	err = cmd.Start()
	_ = read.Close()
	if err != nil {
		return exitcode.BadInput(fmt.Errorf("no user namespace can be made, so a build needs root here: %w%s", err, Why()))
	}
	if err := mapIDs(cmd.Process.Pid, ids); err != nil {
		_ = write.Close()
		_ = cmd.Wait()
		return exitcode.BadInput(fmt.Errorf("the user namespace cannot be set up: %w%s", err, Why()))
	}
	if _, err := io.WriteString(write, "go\n"); err != nil {
		_ = cmd.Wait()
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case err = <-ended:
	case <-ctx.Done():
		_ = cmd.Process.Signal(unix.SIGTERM)
		err = <-ended
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		code := exit.ExitCode()
		if code < 0 {
			return exitcode.Transient(fmt.Errorf("the build in the user namespace was ended: %w", err))
		}
		return exitcode.With(code, Exit(code))
	}
	return err
}

// Watch makes this process get SIGTERM when the one that ran it in its user
// namespace dies. Elsewhere it does nothing.
func Watch() {
	if os.Getenv(lifelineVariable) == "" {
		return
	}
	_ = os.Unsetenv(lifelineVariable)
	unix.CloseOnExec(lifeline)
	pipe := os.NewFile(lifeline, "lifeline")
	go func() {
		_, _ = io.Copy(io.Discard, pipe)
		_ = unix.Kill(os.Getpid(), unix.SIGTERM)
	}()
	runtime.KeepAlive(pipe)
}

// idRange is a line of /etc/subuid or /etc/subgid.
type idRange struct{ first, count int }

// idMaps are what newuidmap and newgidmap get.
type idMaps struct {
	uid, gid int // of the user, root inside
	subUID   idRange
	subGID   idRange
}

// mappings finds the IDs that this user may use. All problems are reported.
func mappings() (idMaps, error) {
	m := idMaps{uid: os.Getuid(), gid: os.Getgid()}
	name := strconv.Itoa(m.uid)
	if u, err := user.LookupId(name); err == nil {
		name = u.Username
	}
	var problems []error
	for _, program := range []string{"newuidmap", "newgidmap"} {
		if _, err := exec.LookPath(program); err != nil {
			problems = append(problems, fmt.Errorf("%s is not installed: run apt-get install uidmap", program))
		}
	}
	for file, into := range map[string]*idRange{"/etc/subuid": &m.subUID, "/etc/subgid": &m.subGID} {
		text, err := os.ReadFile(file)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			problems = append(problems, err)
			continue
		}
		found, ok := findRange(string(text), name, strconv.Itoa(m.uid))
		if !ok {
			problems = append(problems, fmt.Errorf("%s gives user %s no range of %d IDs or more: run, as root, usermod --add-subuids 100000-165535 --add-subgids 100000-165535 %s (another range if that one is taken)",
				file, name, needed, name))
		}
		*into = found
	}
	if err := errors.Join(problems...); err != nil {
		return m, fmt.Errorf("a build without root needs a user namespace: %w", err)
	}
	return m, nil
}

// findRange returns the first range of the user that is large enough.
func findRange(text, name, uid string) (idRange, bool) {
	scanner := bufio.NewScanner(strings.NewReader(text))
	for scanner.Scan() {
		fields := strings.Split(strings.TrimSpace(scanner.Text()), ":")
		if len(fields) != 3 || fields[0] != name && fields[0] != uid {
			continue
		}
		first, err1 := strconv.Atoi(fields[1])
		count, err2 := strconv.Atoi(fields[2])
		if err1 == nil && err2 == nil && first > 0 && count >= needed-1 {
			return idRange{first, count}, true
		}
	}
	return idRange{}, false
}

func mapIDs(pid int, m idMaps) error {
	for _, argv := range mapArgv(pid, m) {
		if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w: %s", strings.Join(argv, " "), err, strings.TrimSpace(string(out)))
		}
	}
	return nil
}

func mapArgv(pid int, m idMaps) [][]string {
	line := func(program string, id int, sub idRange) []string {
		return []string{program, strconv.Itoa(pid), "0", strconv.Itoa(id), "1", "1", strconv.Itoa(sub.first), strconv.Itoa(sub.count)}
	}
	return [][]string{line("newuidmap", m.uid, m.subUID), line("newgidmap", m.gid, m.subGID)}
}

// Why says which setting of this host forbids user namespaces, or what they
// are good for, and how to change it, as the end of an error: empty when none
// does.
func Why() string { return why(os.ReadFile) }

func why(read func(string) ([]byte, error)) string {
	for _, s := range [...]struct{ path, bad, say string }{
		{"/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1",
			"AppArmor lets no program without a profile of its own use one (Ubuntu does since 23.10): give nodeimage one, as docs/rootless.md shows, or run sysctl -w kernel.apparmor_restrict_unprivileged_userns=0 as root, or run the build with sudo"},
		{"/proc/sys/kernel/unprivileged_userns_clone", "0",
			"this kernel forbids them to ordinary users: run sysctl -w kernel.unprivileged_userns_clone=1 as root, or run the build with sudo"},
		{"/proc/sys/user/max_user_namespaces", "0",
			"this host allows none at all: run sysctl -w user.max_user_namespaces=10000 as root, or run the build with sudo"},
	} {
		if text, err := read(s.path); err == nil && strings.TrimSpace(string(text)) == s.bad {
			return fmt.Sprintf(" (%s is %s: %s)", s.path, s.bad, s.say)
		}
	}
	return ""
}
