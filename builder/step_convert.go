package builder

import (
	"context"
	"path/filepath"

	"github.com/hashicorp/packer-plugin-sdk/multistep"

	"github.com/nodeimage/packer-plugin-nodeimage/builder/disk"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/manifest"
)

// stepConvert writes the image in the formats that are asked for.
//
// Sets build.images, but for their digests.
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
	p := s.config.profile
	path, err := disk.Convert(ctx, s.host, format, disk.Source{
		Raw: s.rawDisk(), Size: s.layout.Size, Name: p.Name,
		Distribution: p.OS.Distribution, Arch: p.OS.Arch, Seed: s.inputs,
	}, s.imagesDir())
	if err != nil {
		return err
	}
	s.images = append(s.images, output{path, manifest.DiskImage{
		File: filepath.Base(s.config.imagePath(format)), Format: format, VirtualSize: s.layout.Size,
	}})
	return nil
}
