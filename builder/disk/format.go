package disk

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/run"
)

// Source is the assembled disk that the formats are written from, with what
// the ones that describe a machine say about it.
type Source struct {
	Raw  string // path of the raw disk
	Size int64  // of the disk, in bytes
	Name string // of the machine: the profile's
	// Distribution, by its os-release ID, and Arch, by its Debian name, choose
	// the type of guest that a hypervisor offers.
	Distribution, Arch string
	// Seed is what identifiers in the written files follow from.
	Seed string
}

// writer writes a format to path and checks what it wrote. A nil one stands
// for the raw disk itself.
type writer func(ctx context.Context, host run.Runner, src Source, path string) error

var writers = [...]struct {
	format string
	write  writer
}{
	{"ova", writeOVA},
	{"qcow2", writeQCOW2},
	{"raw", nil},
	{"vhd", writeVHD},
	{"vmdk", writeVMDK},
}

// Formats are the disk image formats that can be written, sorted. Each is also
// the extension of its file.
func Formats() []string {
	var names []string
	for _, w := range writers {
		names = append(names, w.format)
	}
	return names
}

// Convert writes the disk in a format into the directory dir and returns the
// file's path, which for raw is the disk itself. The same disk gives the same
// bytes each time. What was written is opened again and checked.
func Convert(ctx context.Context, host run.Runner, format string, src Source, dir string) (string, error) {
	for _, w := range writers {
		switch {
		case w.format != format:
		case w.write == nil:
			return src.Raw, nil
		default:
			path := filepath.Join(dir, src.Name+"."+format)
			if err := w.write(ctx, host, src, path); err != nil {
				return "", fmt.Errorf("converting to %s: %w", format, err)
			}
			return path, nil
		}
	}
	return "", fmt.Errorf("format %q: expected one of %s", format, strings.Join(Formats(), ", "))
}

func qemuImg(ctx context.Context, host run.Runner, args ...string) error {
	_, err := host.Run(ctx, run.Cmd{Argv: append([]string{"qemu-img"}, args...)})
	return err
}

// exclusive makes a file that was not there.
func exclusive(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)
}
