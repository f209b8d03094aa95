package disk

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/rooted"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/run"
)

// espFile is a file of the EFI system partition: one of the image's, the first
// that is there, or content.
type espFile struct {
	name    string // below the partition's root
	from    []string
	content string
	pkg     string // has from
}

// espFiles lists what UEFI firmware needs to boot a disk it has never seen: the
// signed shim under the removable-media name, and what the shim starts. GRUB's
// signed image looks for its configuration in /EFI/<vendor>.
func espFiles(fw Firmware, vendor string, l Layout) []espFile {
	s := fw.Suffix
	deb := map[string]string{"x64": "amd64", "aa64": "arm64"}[s]
	return []espFile{
		{
			name: "EFI/BOOT/BOOT" + strings.ToUpper(s) + ".EFI", pkg: "shim-signed",
			from: []string{"/usr/lib/shim/shim" + s + ".efi.signed", "/usr/lib/shim/shim" + s + ".efi.signed.latest"},
		},
		{
			name: "EFI/BOOT/grub" + s + ".efi", pkg: "grub-efi-" + deb + "-signed",
			from: grubImage(fw),
		},
		{
			name: "EFI/BOOT/mm" + s + ".efi", pkg: "shim-signed",
			from: []string{"/usr/lib/shim/mm" + s + ".efi.signed", "/usr/lib/shim/mm" + s + ".efi"},
		},
		{
			name:    "EFI/" + vendor + "/grub.cfg",
			content: searchConfig(l.RootUUID) + "configfile $prefix/grub.cfg\n",
		},
	}
}

// grubImage is where the package of signed GRUB has its image.
func grubImage(fw Firmware) []string {
	target := map[string]string{"x64": "x86_64", "aa64": "arm64"}[fw.Suffix]
	return []string{"/usr/lib/grub/" + target + "-efi-signed/grub" + fw.Suffix + ".efi.signed"}
}

var grubPrefix = regexp.MustCompile(`\x00/EFI/([A-Za-z0-9._-]{1,32})\x00`)

// grubVendor is the directory below /EFI that a signed GRUB looks into: it is
// built into the image, so a derivative that ships another's GRUB has the
// other's. Without one it is the distribution's name.
func grubVendor(image []byte, distribution string) string {
	if found := grubPrefix.FindSubmatch(image); found != nil {
		return string(found[1])
	}
	return distribution
}

// makeESP makes the FAT file system image in the directory scratch and returns
// its path.
func makeESP(ctx context.Context, host run.Runner, root *rooted.Dir, fw Firmware, distribution string, l Layout, scratch string) (string, error) {
	tree := filepath.Join(scratch, "esp")
	var missing []error
	vendor := distribution
	if grub, err := readFirst(root, grubImage(fw)); err == nil {
		vendor = grubVendor(grub, distribution)
	}
	for _, f := range espFiles(fw, vendor, l) {
		data := []byte(f.content)
		if f.from != nil {
			var err error
			if data, err = readFirst(root, f.from); errors.Is(err, fs.ErrNotExist) {
				missing = append(missing, fmt.Errorf("the image has no %s: add the package %s to the profile", f.from[0], f.pkg))
				continue
			} else if err != nil {
				return "", err
			}
		}
		name := filepath.Join(tree, f.name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return "", err
		}
		if err := os.WriteFile(name, data, 0o644); err != nil {
			return "", err
		}
	}
	if len(missing) > 0 {
		return "", errors.Join(missing...)
	}
	image := filepath.Join(scratch, "esp.img")
	if err := sparse(image, l.ESP.Size()); err != nil {
		return "", err
	}
	for _, argv := range espCommands(image, tree, l) {
		// mtools otherwise refuses sizes that are no whole "tracks".
		if _, err := host.Run(ctx, run.Cmd{Argv: argv, Env: []string{"MTOOLS_SKIP_CHECK=1"}}); err != nil {
			return "", fmt.Errorf("making the EFI system partition: %w", err)
		}
	}
	return image, nil
}

func espCommands(image, tree string, l Layout) [][]string {
	return [][]string{
		{
			"mkfs.vfat", "--invariant", "-F", "32", "-s", "1", "-S", fmt.Sprint(SectorSize),
			"-i", fmt.Sprintf("%08x", l.ESPVolume), "-n", "ESP", image,
		},
		{"mcopy", "-i", image, "-s", "-m", filepath.Join(tree, "EFI"), "::/"},
	}
}

func readFirst(root *rooted.Dir, names []string) ([]byte, error) {
	var err error
	for _, name := range names {
		var data []byte
		if data, err = root.ReadFile(name); err == nil || !errors.Is(err, fs.ErrNotExist) {
			return data, err
		}
	}
	return nil, err
}
