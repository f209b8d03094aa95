package disk

import (
	"encoding/binary"
	"fmt"
	"os"
)

// Where GRUB 2's i386-pc images keep what an installer has to fill in. These
// offsets have not moved since GRUB 1.98 and are part of the contract between
// boot.img, diskboot.img and whoever installs them.
const (
	bootCodeSize     = 0x1b8 // the disk signature and partition table follow
	bootKernelSector = 0x5c  // boot.img: sector of core.img, 64 bits
	bootDrive        = 0x64  // boot.img: 0xff means the drive the BIOS names
	bootDriveCheck   = 0x66  // boot.img: a jump that only floppies need
	blockListEntry   = 12    // core.img: entry size
	blockListFirst   = SectorSize - blockListEntry
	kernelSegment    = 0x820 // where the second sector of core.img is loaded
)

// PatchBoot returns the boot code that loads core.img from coreSector.
func PatchBoot(bootImg []byte, coreSector int64) ([]byte, error) {
	if len(bootImg) != SectorSize || bootImg[510] != 0x55 || bootImg[511] != 0xaa {
		return nil, fmt.Errorf("boot.img: expected %d bytes that end in 55 aa, got %d bytes", SectorSize, len(bootImg))
	}
	if got := binary.LittleEndian.Uint64(bootImg[bootKernelSector:]); got != 1 {
		return nil, fmt.Errorf("boot.img: expected sector 1 at offset %#x, got %d: this GRUB keeps it elsewhere", bootKernelSector, got)
	}
	code := append([]byte(nil), bootImg[:bootCodeSize]...)
	binary.LittleEndian.PutUint64(code[bootKernelSector:], uint64(coreSector))
	code[bootDrive] = 0xff
	// The jump skips the workaround for BIOSes that pass a wrong drive number.
	code[bootDriveCheck], code[bootDriveCheck+1] = 0x90, 0x90
	return code, nil
}

// PatchCore returns core.img, padded to whole sectors, for contiguous storage
// from coreSector on within room sectors.
func PatchCore(coreImg []byte, coreSector, room int64) ([]byte, error) {
	if len(coreImg) <= SectorSize {
		return nil, fmt.Errorf("core.img has %d bytes: expected more than a sector", len(coreImg))
	}
	// grub-mkimage leaves the first entry with sector 1 or 2 by version, the
	// segment set, and the entry below it empty as the list's end.
	first := coreImg[blockListFirst:SectorSize]
	if segment := binary.LittleEndian.Uint16(first[10:]); segment != kernelSegment {
		return nil, fmt.Errorf("core.img: expected segment %#x in its block list, got %#x: not an i386-pc image", kernelSegment, segment)
	}
	sectors := (int64(len(coreImg)) + SectorSize - 1) / SectorSize
	if sectors > room {
		return nil, fmt.Errorf("core.img has %d sectors, its partition %d", sectors, room)
	}
	out := make([]byte, sectors*SectorSize)
	copy(out, coreImg)
	binary.LittleEndian.PutUint64(out[blockListFirst:], uint64(coreSector+1))
	binary.LittleEndian.PutUint16(out[blockListFirst+8:], uint16(sectors-1))
	clear(out[blockListFirst-blockListEntry : blockListFirst]) // the list ends here
	return out, nil
}

// installBIOS writes GRUB's boot code and core image into the disk.
func installBIOS(disk *os.File, l Layout, bootImg, coreImg []byte) error {
	boot, err := PatchBoot(bootImg, l.BIOS.Start)
	if err != nil {
		return err
	}
	core, err := PatchCore(coreImg, l.BIOS.Start, l.BIOS.Sectors)
	if err != nil {
		return err
	}
	if _, err := disk.WriteAt(core, l.BIOS.Offset()); err != nil {
		return err
	}
	_, err = disk.WriteAt(boot, 0)
	return err
}
