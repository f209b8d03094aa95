package builder

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/hashicorp/packer-plugin-sdk/multistep"
	"golang.org/x/sys/unix"

	"github.com/nodeimage/packer-plugin-nodeimage/builder/disk"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
)

// partialPrefix marks a file that is still being written into an output
// directory whose file system cannot hold nameless files.
const partialPrefix = ".nodeimage-partial-"

// lockPoll is how often a waiting build looks whether the directory is free.
const lockPoll = 200 * time.Millisecond

// stepLockOutput makes the output directory and holds it for this build. A
// second build waits. The lock is on the directory itself, so it leaves no
// file, and the kernel drops it when this process dies.
type stepLockOutput struct {
	*build
	dir  *os.File
	made bool // by this step
}

func (s *stepLockOutput) Run(ctx context.Context, state multistep.StateBag) multistep.StepAction {
	if err := s.lock(ctx); err != nil {
		return s.fail(state, "locking the output directory", err)
	}
	if err := s.sweep(); err != nil {
		return s.fail(state, "preparing the output directory", err)
	}
	return multistep.ActionContinue
}

func (s *stepLockOutput) lock(ctx context.Context) error {
	path := s.config.OutputDirectory
	said := false
	for {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return exitcode.BadInput(err)
		}
		switch err := os.Mkdir(path, 0o755); {
		case err == nil:
			s.made = true
		case !errors.Is(err, fs.ErrExist):
			return exitcode.BadInput(err)
		}
		dir, err := os.Open(path)
		if err != nil {
			return exitcode.BadInput(err)
		}
		err = unix.Flock(int(dir.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil && same(dir, path) {
			s.dir = dir
			return nil
		}
		dir.Close()
		switch {
		case err == nil:
			continue // removed by a build that failed, while it was locked here
		case !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR):
			return exitcode.Transient(fmt.Errorf("locking %s: %w", path, err))
		}
		if !said {
			s.ui.Say("Another build writes to " + path + ": waiting for its end")
			said = true
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(lockPoll):
		}
	}
}

func same(f *os.File, path string) bool {
	a, errA := f.Stat()
	b, errB := os.Stat(path)
	return errA == nil && errB == nil && os.SameFile(a, b)
}

// sweep removes what a killed build left half written and, when the build is
// forced, the outputs of an earlier one.
func (s *stepLockOutput) sweep() error {
	entries, err := os.ReadDir(s.config.OutputDirectory)
	if err != nil {
		return exitcode.BadInput(err)
	}
	var errs []error
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), partialPrefix) {
			errs = append(errs, os.Remove(filepath.Join(s.config.OutputDirectory, e.Name())))
		}
	}
	for _, path := range s.possibleOutputs() {
		info, err := os.Lstat(path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			errs = append(errs, err)
		case !info.Mode().IsRegular():
			errs = append(errs, exitcode.BadInput(fmt.Errorf("%s is in the way and no regular file (%s): move it, or set output_directory", path, info.Mode())))
		case s.config.PackerForce:
			errs = append(errs, os.Remove(path))
		}
	}
	return errors.Join(errs...)
}

// possibleOutputs are the files that a build of this profile may write.
func (s *stepLockOutput) possibleOutputs() []string {
	paths := []string{s.config.manifestPath()}
	for _, format := range disk.Formats() {
		paths = append(paths, s.config.imagePath(format))
	}
	return paths
}

func (s *stepLockOutput) Cleanup(multistep.StateBag) {
	if s.dir == nil {
		return
	}
	if s.artifact == nil && s.made {
		_ = os.Remove(s.config.OutputDirectory) // only an empty one goes
	}
	_ = s.dir.Close()
	s.dir = nil
}

// imagePath is where the image in a format appears.
func (c *Config) imagePath(format string) string {
	return filepath.Join(c.OutputDirectory, c.profile.Name+"."+format)
}

// manifestPath is where the manifest appears.
func (c *Config) manifestPath() string {
	return filepath.Join(c.OutputDirectory, c.profile.Name+".manifest.json")
}
