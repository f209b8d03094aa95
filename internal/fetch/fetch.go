// Package fetch downloads pinned files: hashed as they come, resumed where
// they were cut off, tried again where that may help, and never kept unless
// they are what was pinned.
//
// A part that came before a cut or an interrupt stays below Options.Dir, with
// the state of its hash, and is gone on with the next time: nothing is read
// twice.
package fetch

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/store"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/version"
)

// MaxSize bounds a file of unknown size, in bytes. The largest upstream
// release file is a tenth of it.
const MaxSize = 1 << 30

const (
	parallel    = 4
	tries       = 5  // attempts in a row that bring nothing
	maxAttempts = 25 // attempts in all
	firstPause  = time.Second
	longestWait = 2 * time.Minute // that a server may ask for
	stall       = time.Minute     // without a byte
)

// Progress is told what comes in. Its methods are called concurrently.
type Progress interface {
	// Start is called once for each file; total is -1 while it is not known.
	Start(name string, total int64) Transfer
}

// Transfer is one file that is coming in.
type Transfer interface {
	// At says how many bytes are there, of how many (-1 if unknown).
	At(done, total int64)
	// End is called when the file is there, or is not going to come.
	End()
}

// Options tell New how to work.
type Options struct {
	// Dir is where parts are kept, on the file system of the targets. It is
	// made when it is missing.
	Dir string
	// Mirrors are asked instead of the hosts that files are pinned at.
	Mirrors Mirrors
	// Progress may be nil.
	Progress Progress
	// Logf gets a line for whatever goes wrong and is tried again. It may be nil.
	Logf func(format string, args ...any)
	// Transport replaces the one that honours HTTP_PROXY, HTTPS_PROXY and
	// NO_PROXY.
	Transport http.RoundTripper
}

// Client downloads files. It is safe for concurrent use: at most four files
// come in at a time, the others wait.
type Client struct {
	Options
	places chan struct{}
	sleep  func(ctx context.Context, d time.Duration) error
	stall  time.Duration
}

// New returns a client. It does no work yet.
func New(o Options) *Client {
	if o.Transport == nil {
		o.Transport = NewTransport(stall)
	}
	if o.Logf == nil {
		o.Logf = func(string, ...any) {}
	}
	if o.Progress == nil {
		o.Progress = silent{}
	}
	return &Client{Options: o, places: make(chan struct{}, parallel), sleep: sleep, stall: stall}
}

// File is one pinned file.
type File struct {
	What   string // for people: "kubelet 1.36.4"
	URL    string
	SHA256 string // in hexadecimal
	// Size in bytes where it is pinned too, else 0.
	Size int64
	// Max bounds the size where it is not pinned; 0 stands for MaxSize.
	Max int64
	// Transport replaces the client's, as a registry's authentication does.
	Transport http.RoundTripper
	// Header is sent along.
	Header http.Header
}

func (f File) bound() int64 {
	switch {
	case f.Size > 0:
		return f.Size
	case f.Max > 0:
		return f.Max
	}
	return MaxSize
}

// Get downloads a file. target appears by rename, once all of it is there and
// has the pinned sum.
//
// Errors: what a retry cannot mend, such as a wrong sum or a file that is not
// there, is bad input; a server or network that fails is an infrastructure
// failure, after a number of attempts.
func (c *Client) Get(ctx context.Context, f File, target string) error {
	where, err := c.Mirrors.Resolve(f.URL)
	if err != nil {
		return exitcode.BadInput(fmt.Errorf("%s: %w", f.What, err))
	}
	select {
	case c.places <- struct{}{}:
		defer func() { <-c.places }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if err := os.MkdirAll(c.Dir, 0o755); err != nil {
		return fmt.Errorf("keeping downloads: %w", err)
	}
	c.sweep()
	d := download{client: c, file: f, where: where, base: c.part(f)}
	if d.part, err = store.LockFile(ctx, d.base+partSuffix); err != nil {
		return fmt.Errorf("keeping downloads: %w", err)
	}
	defer d.part.Close()
	d.transfer = c.Progress.Start(f.What, -1)
	defer d.transfer.End()
	if err := d.run(ctx); err != nil {
		err = d.explain(err)
		// Only what another run can go on with stays.
		if d.saved == 0 || ctx.Err() == nil && !errors.As(err, new(temporary)) {
			err = exitcode.With(exitcode.Of(err), joinQuietly(err, d.discard()))
		}
		return err
	}
	if err := d.part.Chmod(0o644); err != nil {
		return err
	}
	// The lock stays until the part has its name no more.
	return errors.Join(os.Rename(d.part.Name(), target), d.part.Close(), removeState(d.base))
}

// Read returns a small file that no sum is pinned for, such as a signature. Its
// content is what the server says: whoever uses it must not trust it. what is
// for people. Errors are those of Get.
func (c *Client) Read(ctx context.Context, what, address string, most int64) ([]byte, error) {
	where, err := c.Mirrors.Resolve(address)
	if err != nil {
		return nil, exitcode.BadInput(fmt.Errorf("%s: %w", what, err))
	}
	if err := os.MkdirAll(c.Dir, 0o755); err != nil {
		return nil, fmt.Errorf("keeping downloads: %w", err)
	}
	dir, err := os.MkdirTemp(c.Dir, "read-*")
	if err != nil {
		return nil, fmt.Errorf("keeping downloads: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	d := download{client: c, file: File{What: what, URL: address, Max: most}, where: where, base: filepath.Join(dir, "file"), transfer: silent{}, unpinned: true}
	if d.part, err = os.Create(d.base + partSuffix); err != nil {
		return nil, fmt.Errorf("keeping downloads: %w", err)
	}
	defer d.part.Close()
	if err := d.run(ctx); err != nil {
		return nil, d.explain(err)
	}
	return os.ReadFile(d.part.Name())
}

// NewTransport is a transport of our own: the default one decompresses what
// it is sent, which has another sum then. It honours HTTP_PROXY, HTTPS_PROXY
// and NO_PROXY, and gives a server the time answer to begin one.
func NewTransport(answer time.Duration) *http.Transport {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.Proxy = proxyFromEnvironment()
	t.DisableCompression = true
	t.MaxIdleConnsPerHost = parallel
	t.ResponseHeaderTimeout = answer
	return t
}

// UserAgent tells a server's administrator who asks.
func UserAgent() string { return "nodeimage/" + version.String() }

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}

type silent struct{}

func (silent) Start(string, int64) Transfer { return silent{} }
func (silent) At(int64, int64)              {}
func (silent) End()                         {}

// joinQuietly is err alone when nothing else went wrong.
func joinQuietly(err, other error) error {
	if other == nil {
		return err
	}
	return errors.Join(err, other)
}
