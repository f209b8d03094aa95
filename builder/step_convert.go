package builder

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/hashicorp/packer-plugin-sdk/multistep"

	"github.com/nodeimage/packer-plugin-nodeimage/builder/disk"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/manifest"
)

// stepConvert writes the image in the formats that are asked for and takes
// their digests.
//
// Sets build.images.
type stepConvert struct{ *build }

func (s *stepConvert) Run(ctx context.Context, state multistep.StateBag) multistep.StepAction {
	for _, format := range s.config.Formats {
		s.ui.Say("Writing " + format)
		if err := s.convert(ctx, format); err != nil {
			return s.fail(state, "writing "+format, diskFull(err))
		}
	}
	return multistep.ActionContinue
}

func (s *stepConvert) Cleanup(multistep.StateBag) {}

func (s *stepConvert) convert(ctx context.Context, format string) error {
	path := s.rawDisk()
	switch format {
	case "raw":
	case "qcow2":
		path = filepath.Join(s.scratch, s.config.profile.Name+".qcow2")
		if err := disk.ToQCOW2(ctx, s.host, s.rawDisk(), path); err != nil {
			return err
		}
	default:
		return fmt.Errorf("format %q is not known", format)
	}
	sum, size, err := disk.Digest(ctx, path)
	if err != nil {
		return err
	}
	s.images = append(s.images, output{path, manifest.DiskImage{
		File: filepath.Base(s.config.imagePath(format)), Format: format, SHA256: sum, Size: size, VirtualSize: s.layout.Size,
	}})
	return nil
}
