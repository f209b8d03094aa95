package disk

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"regexp"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/run"
)

// writeVMDK writes the stream-optimized kind: compressed, in one piece, and
// the only one that goes into an OVA.
func writeVMDK(ctx context.Context, host run.Runner, src Source, path string) error {
	err := qemuImg(ctx, host, "convert", "-q", "-f", "raw", "-O", "vmdk",
		"-o", "subformat=streamOptimized,adapter_type=lsilogic,hwversion=13", src.Raw, path)
	if err != nil {
		return err
	}
	if err := setContentID(path, src.Seed); err != nil {
		return err
	}
	// qemu-img's check takes a lost grain directory for an empty disk.
	return qemuImg(ctx, host, "compare", "-q", "-f", "vmdk", "-F", "raw", path, src.Raw)
}

var contentID = regexp.MustCompile(`(?m)^CID=[0-9a-f]{1,8}$`)

// setContentID replaces the random content identifier in the descriptor of a
// VMDK by one that follows from seed. Layout: VMware's "Virtual Disk Format
// 5.0", "Hosted Sparse Extent Header".
func setContentID(path, seed string) (err error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	header := make([]byte, SectorSize)
	if _, err := f.ReadAt(header, 0); err != nil {
		return err
	}
	const maxSectors = 2048
	at, sectors := binary.LittleEndian.Uint64(header[28:]), binary.LittleEndian.Uint64(header[36:])
	if string(header[:4]) != "KDMV" || at == 0 || at > maxSectors || sectors == 0 || sectors > maxSectors {
		return fmt.Errorf("%s is no sparse VMDK with a descriptor of its own", path)
	}
	descriptor := make([]byte, sectors*SectorSize)
	if _, err := f.ReadAt(descriptor, int64(at)*SectorSize); err != nil {
		return err
	}
	text := bytes.TrimRight(descriptor, "\x00")
	if len(contentID.FindAll(text, 2)) != 1 {
		return fmt.Errorf("%s: its descriptor has no one CID line", path)
	}
	sum := sha256.Sum256([]byte(seed + "\x00vmdk"))
	sum[0] &= 0x7f // ffffffff stands for "no parent"
	text = contentID.ReplaceAll(text, fmt.Appendf(nil, "CID=%x", sum[:4]))
	if len(text) > len(descriptor) {
		return fmt.Errorf("%s: no room for a CID in its descriptor", path)
	}
	clear(descriptor[copy(descriptor, text):])
	_, err = f.WriteAt(descriptor, int64(at)*SectorSize)
	return err
}
