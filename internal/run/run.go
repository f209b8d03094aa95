// Package run executes commands as argument vectors on the host, in a chroot
// or on a guest behind one interface. No command passes through a host shell.
package run

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// Cmd is one command. Argv[0] is looked up in PATH where it is run.
type Cmd struct {
	Argv   []string
	Env    []string // added to the environment, KEY=value
	Dir    string
	Stdin  io.Reader
	Stdout io.Writer // also gets a copy; Result keeps a bounded tail
	Stderr io.Writer
}

// Proxies are the environment variables that say how this host reaches others.
// A command whose environment is made up needs them still.
func Proxies() []string {
	return []string{"http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"}
}

// FromEnvironment returns NAME=value of each of those variables that is set here.
func FromEnvironment(names ...string) []string {
	var set []string
	for _, name := range names {
		if value, ok := os.LookupEnv(name); ok {
			set = append(set, name+"="+value)
		}
	}
	return set
}

// Result is what a finished command left.
type Result struct {
	ExitCode int
	Stdout   string // at most MaxOutput bytes, the tail
	Stderr   string
}

// MaxOutput bounds what a Result keeps of each stream.
const MaxOutput = 1 << 20

// Runner runs commands somewhere. It returns *Error when the command could
// not be started, was cancelled or exited non-zero.
type Runner interface {
	Run(ctx context.Context, cmd Cmd) (Result, error)
}

// Error tells which command failed where, with a line that can be pasted.
type Error struct {
	Where  string // host, chroot, guest
	Argv   []string
	Result Result
	Err    error
}

func (e *Error) Error() string {
	msg := fmt.Sprintf("%s: running %s: %v", e.Where, Quote(e.Argv), e.Err)
	if tail := lastLines(e.Result.Stderr, 5); tail != "" {
		msg += ": " + tail
	}
	return msg
}

func (e *Error) Unwrap() error { return e.Err }

// SaidNo tells whether err is of a command that ended with an exit code other
// than 0. One that has none, since the connection was lost or nothing started,
// says nothing about the machine.
func SaidNo(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Result.ExitCode > 0
}

func lastLines(s string, n int) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	if len(lines) > n {
		lines = lines[len(lines)-n:]
	}
	return strings.TrimSpace(strings.Join(lines, " | "))
}

// Quote renders argv for a POSIX shell, so that it can be pasted or handed to
// a communicator that takes one string.
func Quote(argv []string) string {
	quoted := make([]string, len(argv))
	for i, arg := range argv {
		quoted[i] = quoteArg(arg)
	}
	return strings.Join(quoted, " ")
}

func quoteArg(arg string) string {
	const safe = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_=+./:,@%"
	if arg != "" && strings.Trim(arg, safe) == "" {
		return arg
	}
	return "'" + strings.ReplaceAll(arg, "'", `'\''`) + "'"
}
