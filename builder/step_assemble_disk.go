package builder

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/hashicorp/packer-plugin-sdk/multistep"
	"golang.org/x/sys/unix"

	"github.com/nodeimage/packer-plugin-nodeimage/builder/disk"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/memory"
)

// stepAssembleDisk makes the raw disk from the root file system.
//
// Uses build.root and build.layout. Sets build.rootSize.
type stepAssembleDisk struct{ *build }

func (s *stepAssembleDisk) Run(ctx context.Context, state multistep.StateBag) multistep.StepAction {
	s.ui.Say(fmt.Sprintf("Assembling the disk of %d MiB", s.layout.Size>>20))
	if err := s.assemble(ctx); err != nil {
		return s.fail(state, "assembling the disk", diskFull(err))
	}
	return multistep.ActionContinue
}

func (s *stepAssembleDisk) Cleanup(multistep.StateBag) {}

func (s *stepAssembleDisk) assemble(ctx context.Context) error {
	work, err := s.beginDisk()
	if err != nil {
		return err
	}
	return disk.Assemble(ctx, s.host, s.root, s.config.firmware, s.config.profile.OS.Distribution, s.layout, s.rawDisk(), work)
}

// beginDisk measures the root file system and makes an empty directory to make a
// disk of it in.
func (b *build) beginDisk() (work string, err error) {
	if b.rootSize, err = treeSize(b.rootTree()); err != nil {
		return "", err
	}
	work = filepath.Join(b.scratch, "disk")
	return work, os.Mkdir(work, 0o755)
}

// treeSize is the sum of all regular files below root in bytes, each hard-linked
// file once.
func treeSize(root string) (int64, error) {
	var total int64
	seen := map[uint64]bool{}
	err := filepath.WalkDir(root, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if st, ok := info.Sys().(*syscall.Stat_t); ok && st.Nlink > 1 {
			if seen[st.Ino] {
				return nil
			}
			seen[st.Ino] = true
		}
		total += info.Size()
		return nil
	})
	return total, err
}

// diskFull says so when that is why err happened. A child process can only
// report it in words, and each writes it in its own case.
func diskFull(err error) error {
	if err == nil || exitcode.Of(err) == exitcode.Usage {
		return err
	}
	if errors.Is(err, unix.ENOSPC) || strings.Contains(strings.ToLower(err.Error()), "no space left on device") {
		return exitcode.Transient(fmt.Errorf("the disk is full: free some space, or set cache_directory to a directory on another file system; "+
			"a build in memory gets half of it: set %s=%s for a larger one: %w", memory.ScratchVariable, memory.OnDisk, err))
	}
	return err
}
