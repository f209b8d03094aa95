package builder

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/hashicorp/packer-plugin-sdk/multistep"

	"github.com/nodeimage/packer-plugin-nodeimage/builder/bootstrap"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/memory"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/rooted"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/run"
)

// stepUnpack unpacks the base system where it can be worked on.
//
// Uses build.base. Sets build.scratch, build.memory and build.root.
type stepUnpack struct {
	*build
	release func() error
}

func (s *stepUnpack) Run(ctx context.Context, state multistep.StateBag) multistep.StepAction {
	s.ui.Say("Unpacking the base system")
	if err := s.unpack(ctx); err != nil {
		return s.fail(state, "unpacking the base system", err)
	}
	return multistep.ActionContinue
}

func (s *stepUnpack) unpack(ctx context.Context) error {
	var err error
	if s.scratch, s.release, err = s.store.Scratch("build"); err != nil {
		return err
	}
	// A tree in memory is written, read and removed in a fraction of the time.
	if room := memory.Room(); room > 0 {
		if s.memory, err = memory.Mount(s.scratch, room); err != nil {
			return err
		}
		s.scratch = s.memory.Path
	}
	if err := os.Mkdir(s.rootTree(), 0o755); err != nil {
		return err
	}
	if _, err := s.host.Run(ctx, run.Cmd{Argv: bootstrap.UnpackArgv(s.base.Tar, s.rootTree())}); err != nil {
		return diskFull(err)
	}
	if s.root, err = rooted.Open(s.rootTree()); err != nil {
		return err
	}
	// The base has none, for the kernel fills it; but that needs the directory.
	if err := s.root.MkdirAll("/dev", 0o755); err != nil {
		return err
	}
	return s.rewriteSources()
}

// rewriteSources makes apt of the image trust a keyring that is in the image:
// what it was bootstrapped with names one of this host.
func (s *stepUnpack) rewriteSources() error {
	p := s.config.profile
	const dir = "/etc/apt/sources.list.d"
	entries, err := s.root.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, e := range entries {
		if err := s.root.Remove(dir + "/" + e.Name()); err != nil {
			return err
		}
	}
	if err := s.root.Remove("/etc/apt/sources.list"); err != nil {
		return err
	}
	sources := slices.Clone(p.Archive.Sources)
	for i := range sources {
		if sources[i].Keyring, err = s.imageKeyring(sources[i].Keyring); err != nil {
			return err
		}
	}
	return s.root.WriteFile(dir+"/"+p.OS.Distribution+".sources", []byte(bootstrap.Sources(sources, false)), 0o644)
}

// imageKeyring returns where in the image the keyring of a source is. One that
// the source names itself is copied there; the distribution's own comes in a
// package, and without that it is "".
func (s *stepUnpack) imageKeyring(own string) (string, error) {
	p := s.config.profile
	if own != "" {
		data, err := os.ReadFile(own)
		if err != nil {
			return "", fmt.Errorf("keyring of a source of the archive: %w", err)
		}
		name := "/usr/share/keyrings/" + filepath.Base(own)
		return name, s.root.WriteFile(name, data, 0o644)
	}
	for _, candidate := range []string{
		p.Archive.Keyring, fmt.Sprintf("/usr/share/keyrings/%s-archive-keyring.gpg", p.OS.Distribution),
	} {
		if info, err := s.root.Stat(candidate); err == nil && info.Mode().IsRegular() {
			return candidate, nil
		}
	}
	return "", nil
}

func (s *stepUnpack) Cleanup(state multistep.StateBag) {
	if s.root != nil {
		_ = s.root.Close()
		s.root = nil
	}
	if s.memory != nil {
		s.cleanup(state, "unmounting "+s.scratch, s.memory.Close())
	}
	if s.release != nil {
		s.cleanup(state, "removing "+s.scratch, s.release())
	}
}
