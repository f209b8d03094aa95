package machine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/run"
)

// CollectJournal implements Node: the journal of all boots in journalctl's
// export format (systemd-journal-remote reads it back), that of the running
// boot as text, and the kernel's messages.
func (g *Guest) CollectJournal(ctx context.Context) ([]string, error) {
	if g.dir == "" {
		return nil, errors.New("collecting the journal: the node has no evidence directory")
	}
	if err := os.MkdirAll(g.dir, 0o755); err != nil {
		return nil, fmt.Errorf("collecting the journal: %w", err)
	}
	var files []string
	var errs []error
	for _, job := range []struct {
		name string
		argv []string
	}{
		{KernelLog, []string{"journalctl", "--boot", "--dmesg", "--no-pager", "--output=short-monotonic"}},
		{JournalText, []string{"journalctl", "--boot", "--no-pager", "--output=short-precise"}},
		{JournalExport, []string{"journalctl", "--no-pager", "--output=export"}},
	} {
		path := filepath.Join(g.dir, job.name)
		if err := g.save(ctx, path, job.argv); err != nil {
			errs = append(errs, fmt.Errorf("collecting %s: %w", job.name, err))
			continue
		}
		files = append(files, path)
	}
	return files, errors.Join(errs...)
}

// save writes a command's output to a file, all of it or none.
func (g *Guest) save(ctx context.Context, path string, argv []string) error {
	f, err := renameio.NewPendingFile(path, renameio.WithPermissions(0o644))
	if err != nil {
		return err
	}
	defer func() { _ = f.Cleanup() }() // does nothing after the rename
	if _, err := g.Run(ctx, run.Cmd{Argv: argv, Stdout: f}); err != nil {
		return err
	}
	return f.CloseAtomicallyReplace()
}

// CollectJournal implements Node. When the guest does not answer any more, the
// console and what it streamed of its journal are the evidence.
func (m *Machine) CollectJournal(ctx context.Context) ([]string, error) {
	var files []string
	for _, name := range []string{ConsoleLog, JournalStream, QEMULog, QMPLog} {
		path := filepath.Join(m.options.Dir, name)
		if info, err := os.Stat(path); err == nil && info.Size() > 0 {
			files = append(files, path)
		}
	}
	collected, err := m.Guest.CollectJournal(ctx)
	return append(files, collected...), err
}
