package machine

import (
	"context"
	"io"
	"io/fs"
	"net"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/run"
)

// Node is a machine that is up and answers: one that [Start] booted or one
// that [Attach] found running. All methods may be called concurrently.
type Node interface {
	// Run runs a command as root. A command that exits non-zero is a
	// *run.Error, as everywhere; a connection that broke while the command ran
	// wraps [ErrConnection], and the command may or may not have finished.
	run.Runner

	// ReadFile returns the content of a file. A file that is not there is
	// fs.ErrNotExist.
	ReadFile(ctx context.Context, path string) ([]byte, error)

	// WriteFile replaces a file by rename and makes its parent directories
	// (mode 0755) where they are missing.
	WriteFile(ctx context.Context, path string, mode fs.FileMode, content io.Reader) error

	// Dial opens a connection from inside the node; it fits the Dial field of
	// client-go's rest.Config. Networks are "tcp" and "unix".
	Dial(ctx context.Context, network, address string) (net.Conn, error)

	// BootID returns the kernel's random identifier of the running boot.
	BootID(ctx context.Context) (string, error)

	// Reboot reboots the node and returns when it answers under a new boot ID.
	Reboot(ctx context.Context) error

	// CollectJournal writes the journal of all boots into the evidence
	// directory and returns the paths of the files that hold evidence, those
	// collected earlier included, even when it also returns an error.
	CollectJournal(ctx context.Context) ([]string, error)
}

var (
	_ Node = (*Guest)(nil)
	_ Node = (*Machine)(nil)
)
