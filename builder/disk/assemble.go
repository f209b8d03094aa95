package disk

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/rooted"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/run"
)

// Assemble makes the raw disk image at path, a sparse file, from the root file
// system, which WriteBootFiles has prepared. scratch is an empty directory.
func Assemble(ctx context.Context, host run.Runner, root *rooted.Dir, fw Firmware, distribution string, l Layout, path, scratch string) error {
	if err := sparse(path, l.Size); err != nil {
		return err
	}
	if _, err := host.Run(ctx, run.Cmd{Argv: sfdiskArgv(path), Stdin: strings.NewReader(l.SfdiskScript())}); err != nil {
		return fmt.Errorf("partitioning: %w", err)
	}
	esp, err := makeESP(ctx, host, root, fw, distribution, l, scratch)
	if err != nil {
		return err
	}
	if err := stampFAT(esp, l.Epoch); err != nil {
		return fmt.Errorf("setting the times in the EFI system partition: %w", err)
	}
	if err := makeRoot(ctx, host, path, root.Name(), scratch, l); err != nil {
		return err
	}
	disk, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	err = func() error {
		if err := clampTimes(disk, l.Root.Offset(), l.Epoch); err != nil {
			return fmt.Errorf("setting the times in the root file system: %w", err)
		}
		if err := copySparse(disk, l.ESP.Offset(), esp); err != nil {
			return fmt.Errorf("writing the EFI system partition: %w", err)
		}
		if !fw.BIOS {
			return nil
		}
		boot, err := root.ReadFile(biosDir + "/boot.img")
		if err != nil {
			return err
		}
		core, err := root.ReadFile(coreImage)
		if err != nil {
			return err
		}
		if err := installBIOS(disk, l, boot, core); err != nil {
			return fmt.Errorf("installing the BIOS boot loader: %w", err)
		}
		return nil
	}()
	if err := errors.Join(err, disk.Close()); err != nil {
		return err
	}
	return checkFS(ctx, host, path, l.Root.Offset())
}

func sfdiskArgv(path string) []string {
	return []string{"sfdisk", "--quiet", "--no-reread", "--no-tell-kernel", "--wipe", "never", path}
}

// sparse makes a new file of size zero bytes that takes no space.
func sparse(path string, size int64) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	return errors.Join(f.Truncate(size), f.Close())
}

// copySparse writes the file src into disk at offset and leaves out blocks of
// zeros, which the disk has already.
func copySparse(disk *os.File, offset int64, src string) error {
	f, err := os.Open(src)
	if err != nil {
		return err
	}
	defer f.Close()
	return copyBlocks(disk, f, offset)
}

// copyBlocks writes what r reads at offset, but for blocks of zeros.
func copyBlocks(out io.WriterAt, r io.Reader, offset int64) error {
	var zero, buf [64 << 10]byte
	for {
		n, err := io.ReadFull(r, buf[:])
		if n > 0 && !bytes.Equal(buf[:n], zero[:n]) {
			if _, err := out.WriteAt(buf[:n], offset); err != nil {
				return err
			}
		}
		offset += int64(n)
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
