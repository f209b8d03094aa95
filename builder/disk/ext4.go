package disk

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/run"
)

// mke2fsConf replaces this host's mke2fs.conf, so that a file system does not
// depend on who builds it. orphan_file and metadata_csum_seed, defaults since
// e2fsprogs 1.47.0, are left out: GRUB 2.06 of Ubuntu 22.04 and e2fsprogs
// before 1.47 refuse them.
const mke2fsConf = `[defaults]
	base_features = sparse_super,large_file,filetype,resize_inode,dir_index,ext_attr
	default_mntopts = acl,user_xattr
	enable_periodic_fsck = 0
	blocksize = 4096
	inode_size = 256
	inode_ratio = 16384
[fs_types]
	ext4 = {
		features = has_journal,extent,huge_file,flex_bg,metadata_csum,64bit,dir_nlink,extra_isize
	}
`

const blockSize = 4096

// makeRoot fills the root partition of the disk with an ext4 file system that
// holds tree, with owners, modes, hard links and extended attributes.
func makeRoot(ctx context.Context, host run.Runner, disk, tree, scratch string, l Layout) error {
	return runMke2fs(ctx, host, mke2fsArgv(disk, tree, l), scratch, l.Epoch, l.Root.Size())
}

// runMke2fs fills a partition of size bytes as argv says, which is independent of
// this host's settings and clock.
func runMke2fs(ctx context.Context, host run.Runner, argv []string, scratch string, epoch time.Time, size int64) error {
	conf := filepath.Join(scratch, "mke2fs.conf")
	if err := os.WriteFile(conf, []byte(mke2fsConf), 0o644); err != nil {
		return err
	}
	_, err := host.Run(ctx, run.Cmd{
		Argv: argv,
		// mke2fs sorts names as LC_ALL says, which is C.UTF-8 for every command.
		Env: []string{"MKE2FS_CONFIG=" + conf, "MKE2FS_SYNC=0", fmt.Sprintf("E2FSPROGS_FAKE_TIME=%d", epoch.Unix())},
	})
	var runErr *run.Error
	if errors.As(err, &runErr) && strings.Contains(runErr.Result.Stderr, "Could not allocate") {
		return exitcode.BadInput(fmt.Errorf("the root file system does not fit into its partition of %d MiB: "+
			"raise disk.size of the profile (or disk_size of the template): %w", size>>20, err))
	}
	if err != nil {
		return fmt.Errorf("making the root file system: %w", err)
	}
	return nil
}

// checkFS refuses a file system that is not clean.
func checkFS(ctx context.Context, host run.Runner, disk string, offset int64) error {
	// -n never repairs: a file system that is not clean must not be shipped.
	if _, err := host.Run(ctx, run.Cmd{Argv: e2fsckArgv(disk, offset)}); err != nil {
		return fmt.Errorf("checking the file system that was just made: %w", err)
	}
	return nil
}

func mke2fsArgv(disk, tree string, l Layout) []string {
	return []string{
		"mke2fs", "-q", "-F", "-t", "ext4", "-m", "1", "-L", l.RootLabel, "-U", l.RootUUID,
		// The file is sparse: inode tables are zero already, and a first boot
		// need not write them in the background.
		"-E", fmt.Sprintf("offset=%d,hash_seed=%s,assume_storage_prezeroed=1,root_owner=0:0", l.Root.Offset(), l.RootUUID),
		"-d", tree, disk, fmt.Sprint(l.Root.Size() / blockSize),
	}
}

func e2fsckArgv(disk string, offset int64) []string {
	return []string{"e2fsck", "-f", "-n", fmt.Sprintf("%s?offset=%d", disk, offset)}
}
