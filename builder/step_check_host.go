package builder

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/hashicorp/packer-plugin-sdk/multistep"
	"golang.org/x/sys/unix"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/foreign"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/memory"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/run"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/store"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/userns"
)

const (
	// storeNeeds is the space of one build with an empty store, in bytes: a
	// tar and a tree of about 2 GB with all container images, and the disk.
	storeNeeds = 4 << 30
	// outputNeeds is the space of the image, in bytes.
	outputNeeds = 1 << 30
)

// stepCheckHost finds out before any work what the work would fail on.
//
// Sets build.store.
type stepCheckHost struct {
	*build
	needs  int64 // bytes free in the store; tests lower it
	lookUp func(string) (string, error)
	euid   func() int
}

func (s *stepCheckHost) Run(ctx context.Context, state multistep.StateBag) multistep.StepAction {
	if s.needs == 0 {
		s.needs = storeNeeds
	}
	if s.lookUp == nil {
		s.lookUp = exec.LookPath
	}
	if s.euid == nil {
		s.euid = os.Geteuid
	}
	if err := s.check(ctx); err != nil {
		return s.fail(state, "checking this host", err)
	}
	return multistep.ActionContinue
}

func (s *stepCheckHost) Cleanup(multistep.StateBag) {}

func (s *stepCheckHost) check(ctx context.Context) error {
	err := errors.Join(
		checkTools(tools(s.config.profile.OS.Arch), s.lookUp),
		s.checkRoot(),
		memory.Check(),
	)
	if err != nil {
		return exitcode.BadInput(err)
	}
	// Root in an unprivileged container can still not do what it takes.
	if _, err := s.host.Run(ctx, run.Cmd{Argv: run.Isolated("true")}); err != nil {
		if ctx.Err() != nil {
			return err
		}
		return exitcode.BadInput(fmt.Errorf("namespaces and mounts cannot be made here%s; a container needs --privileged: %w", userns.Why(), err))
	}
	if s.store, err = store.Open(s.config.CacheDirectory); err != nil {
		return err
	}
	return errors.Join(
		s.checkArch(ctx),
		checkSpace("cache_directory", s.store.Dir(), s.needs),
		checkSpace("output_directory", s.config.OutputDirectory, min(s.needs, outputNeeds)),
	)
}

func (s *stepCheckHost) checkRoot() error {
	if uid := s.euid(); uid != 0 {
		return fmt.Errorf("a build needs root, or to be root of a user namespace, to unpack files with their owners and to run commands in the image; this is user %d: "+
			"run nodeimage build, which makes a namespace by itself, or run this with unshare --map-root-user --map-auto, with sudo, or in a container with --privileged", uid)
	}
	return nil
}

// checkArch has one of the architecture's programs run in a chroot in the store,
// where those of the image will: a handler that is found outside a chroot alone,
// and a file system that runs no programs, would show minutes later.
func (s *stepCheckHost) checkArch(ctx context.Context) (err error) {
	arch := s.config.profile.OS.Arch
	if arch == runtime.GOARCH {
		return nil
	}
	scratch, release, err := s.store.Scratch("foreign")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, release()) }()
	return foreign.Check(ctx, s.host, arch, scratch)
}

// tool is a program a build runs on this host, and the Debian package that has it.
type tool struct{ name, pkg string }

func tools(arch string) []tool {
	list := []tool{
		{"mmdebstrap", "mmdebstrap"},
		{"apt-get", "apt"},
		{"gpgv", "gpgv"},
		{"tar", "tar"},
		{"unshare", "util-linux"},
		{"nsenter", "util-linux"},
		{"setpriv", "util-linux"},
		{"mount", "mount"},
		{"hostname", "hostname"},
		{"chroot", "coreutils"},
		{"sfdisk", "fdisk"},
		{"mke2fs", "e2fsprogs"},
		{"e2fsck", "e2fsprogs"},
		{"mkfs.vfat", "dosfstools"},
		{"mmd", "mtools"},
		{"mcopy", "mtools"},
		{"qemu-img", "qemu-utils"},
	}
	if arch != runtime.GOARCH {
		// mmdebstrap asks it whether that architecture's programs run.
		list = append(list, tool{"arch-test", "arch-test"})
	}
	return list
}

func checkTools(tools []tool, lookUp func(string) (string, error)) error {
	var names, packages []string
	for _, t := range tools {
		if _, err := lookUp(t.name); err == nil {
			continue
		}
		names = append(names, t.name)
		if !slices.Contains(packages, t.pkg) {
			packages = append(packages, t.pkg)
		}
	}
	if len(names) == 0 {
		return nil
	}
	return fmt.Errorf("not installed or not in PATH: %s: run apt-get install %s", strings.Join(names, ", "), strings.Join(packages, " "))
}

// checkSpace looks at the file system that dir, which may have to be made yet,
// is or will be on.
func checkSpace(option, dir string, needs int64) error {
	var st unix.Statfs_t
	at := dir
	for {
		err := unix.Statfs(at, &st)
		if err == nil {
			break
		}
		if !errors.Is(err, unix.ENOENT) || at == filepath.Dir(at) {
			return exitcode.BadInput(fmt.Errorf("%s %s: %w", option, dir, err))
		}
		at = filepath.Dir(at)
	}
	if free := int64(st.Bavail) * st.Bsize; free < needs {
		return exitcode.Transient(fmt.Errorf("%s %s has %d MiB free and a build needs %d MiB: free some space, or set %s to a directory on another file system",
			option, dir, free>>20, needs>>20, option))
	}
	return nil
}
