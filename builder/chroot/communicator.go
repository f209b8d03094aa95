// Package chroot is a Packer communicator for a directory that holds the root
// file system of an image.
//
// Every command runs in mount, PID, UTS and IPC namespaces of its own with a
// fresh /proc, /dev, /run and /dev/shm and a read-only /sys, and whatever it
// mounts, starts or puts on these ends with it, also when this process is
// killed. /tmp and all else is the image's. Commands share the host's network.
package chroot

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/rooted"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/run"
)

//go:embed enter.sh
var enterScript string

// setupFailed is enter.sh's exit code when the command was never started.
const setupFailed = 125

// ErrClosed is returned for anything asked of a closed communicator.
var ErrClosed = errors.New("the chroot communicator is closed")

// Communicator runs commands in a root directory and copies files in and out.
// It needs root. It is safe for concurrent use.
type Communicator struct {
	root *rooted.Dir
	host run.Host
	// epoch is when everything is said to be made; zero when nobody cares.
	epoch time.Time
	// namespace is the file of the mount namespace that has the root, and inside
	// the root's path there; "" where this process has it.
	namespace, inside string

	mu      sync.Mutex
	closed  bool
	nextID  int
	cancels map[int]context.CancelCauseFunc
	running sync.WaitGroup
}

var (
	_ packersdk.Communicator = (*Communicator)(nil)
	_ run.Runner             = (*Communicator)(nil)
)

// Option changes how a Communicator works.
type Option func(*Communicator)

// WithEpoch tells commands that what they make is to look made at that time
// (reproducible-builds.org/specs/source-date-epoch).
func WithEpoch(at time.Time) Option { return func(c *Communicator) { c.epoch = at } }

// WithNamespace says that the root lies in the mount namespace of that file, at
// the path inside. This process then needs a path to it of another kind, but
// commands mount below their root.
func WithNamespace(namespace, inside string) Option {
	return func(c *Communicator) { c.namespace, c.inside = namespace, inside }
}

// WithGrace sets how long a cancelled command may take to end itself.
func WithGrace(d time.Duration) Option { return func(c *Communicator) { c.host.Grace = d } }

// New returns a communicator for the directory root, which must be an absolute
// path. It puts guards into the root (services do not start, names resolve)
// that Close removes.
func New(root string, opts ...Option) (*Communicator, error) {
	if !strings.HasPrefix(root, "/") || strings.ContainsRune(root, 0) {
		return nil, fmt.Errorf("root directory %q: expected an absolute path", root)
	}
	dir, err := rooted.Open(root)
	if err != nil {
		return nil, err
	}
	c := &Communicator{root: dir, cancels: map[int]context.CancelCauseFunc{}}
	for _, opt := range opts {
		opt(c)
	}
	if err := guard(dir); err != nil {
		return nil, errors.Join(err, unguard(dir), dir.Close())
	}
	return c, nil
}

// Start implements packersdk.Communicator. The image's /bin/sh gets the command
// as it is: nothing on this host expands any of it. A command that a signal
// ended exits with 128 + the signal's number.
func (c *Communicator) Start(ctx context.Context, cmd *packersdk.RemoteCmd) error {
	ctx, done, err := c.begin(ctx)
	if err != nil {
		return err
	}
	hostCmd := run.Cmd{
		Argv:   c.argv(nil, "/bin/sh", "-c", cmd.Command),
		Stdin:  cmd.Stdin,
		Stdout: cmd.Stdout,
		Stderr: cmd.Stderr,
	}
	go func() {
		defer done()
		res, err := c.host.Run(ctx, hostCmd)
		code := res.ExitCode
		if err != nil && code <= 0 {
			// It was never started, or something kept its output open.
			code = setupFailed
			if cmd.Stderr != nil {
				fmt.Fprintln(cmd.Stderr, err)
			}
		}
		cmd.SetExited(code)
	}()
	return nil
}

// Run implements run.Runner: the command's argv is run in the root. Dir is a
// directory of the root.
func (c *Communicator) Run(ctx context.Context, cmd run.Cmd) (run.Result, error) {
	ctx, done, err := c.begin(ctx)
	if err != nil {
		return run.Result{ExitCode: -1}, &run.Error{Where: "chroot", Argv: cmd.Argv, Err: err}
	}
	defer done()
	if len(cmd.Argv) == 0 {
		return run.Result{ExitCode: -1}, &run.Error{Where: "chroot", Argv: cmd.Argv, Err: errors.New("no command was given")}
	}
	argv := cmd.Argv
	if cmd.Dir != "" {
		argv = append([]string{"env", "-C", cmd.Dir}, argv...)
	}
	res, err := c.host.Run(ctx, run.Cmd{
		Argv: c.argv(cmd.Env, argv...), Stdin: cmd.Stdin, Stdout: cmd.Stdout, Stderr: cmd.Stderr,
	})
	var runErr *run.Error
	if errors.As(err, &runErr) {
		return res, &run.Error{Where: "chroot", Argv: cmd.Argv, Result: res, Err: runErr.Err}
	}
	return res, err
}

// Interrupt ends all commands that are running now and waits for their end.
// Packer's RPC does not pass the cancellation of a build on to the
// communicator, so the builder does it by this.
func (c *Communicator) Interrupt(cause error) {
	c.mu.Lock()
	for _, cancel := range c.cancels {
		cancel(cause)
	}
	c.mu.Unlock()
	c.running.Wait()
}

// Close ends all commands, waits for their end and removes the guards from the
// root. It may be called more than once.
func (c *Communicator) Close() error {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return nil
	}
	c.closed = true
	c.mu.Unlock()
	c.Interrupt(ErrClosed)
	return errors.Join(unguard(c.root), c.root.Close())
}

// begin registers one use of the communicator; done ends it.
func (c *Communicator) begin(ctx context.Context) (_ context.Context, done func(), err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, nil, ErrClosed
	}
	ctx, cancel := context.WithCancelCause(ctx)
	id := c.nextID
	c.nextID++
	c.cancels[id] = cancel
	c.running.Add(1)
	return ctx, func() {
		cancel(nil)
		c.mu.Lock()
		delete(c.cancels, id)
		c.mu.Unlock()
		c.running.Done()
	}, nil
}

// fstabField writes a path as a field of fstab(5) has it.
var fstabField = strings.NewReplacer(`\`, `\134`, " ", `\040`, "\t", `\011`, "\n", `\012`, "#", `\043`)

// dropped are capabilities that reach through a chroot to this host's kernel.
const dropped = "-sys_module,-sys_time"

// argv wraps a command of the image. The environment is made up, but for the
// proxies by which this host reaches an archive.
func (c *Communicator) argv(env []string, argv ...string) []string {
	var all []string
	root := c.root.Name()
	if c.namespace != "" {
		all = append(all, "nsenter", "--mount="+c.namespace, "--")
		root = c.inside
	}
	all = append(all,
		"unshare", "--mount", "--pid", "--uts", "--ipc", "--fork", "--kill-child", "--",
		"/bin/sh", "-c", enterScript, "nodeimage-enter", root, fstabField.Replace(root),
		"env", "-i",
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"HOME=/root", "LANG=C.UTF-8", "TERM=dumb",
		// Both languages shuffle their hashes, and so the order in what they
		// write, by a random seed.
		"PYTHONHASHSEED=0", "PERL_HASH_SEED=0",
	)
	if !c.epoch.IsZero() {
		all = append(all, fmt.Sprintf("SOURCE_DATE_EPOCH=%d", c.epoch.Unix()))
	}
	all = append(all, run.FromEnvironment(run.Proxies()...)...)
	all = append(all, env...)
	all = append(all, "setpriv", "--bounding-set", dropped, "chroot", ".")
	return append(all, argv...)
}
