package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/console"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/nodediff"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/pipeline"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/rebuild"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/userns"
	"github.com/nodeimage/packer-plugin-nodeimage/profiles"
)

func newRebuild() *cobra.Command {
	var profile, output string
	opts := pipeline.Options{Force: true}
	format := newFormat("text", "json")
	cmd := &cobra.Command{
		Use:   "rebuild IMAGE",
		Short: "Build an image again and say whether the same bytes come out",
		Long: `Build an image again from what the manifest and the lock beside it name, and
compare. Without a lock the packages are those that the archive has now.

Exit code 0 means that the two are identical to the last byte. With 1 they are
not, and all that differs is named: packages, components, container images, each
file, and the ranges of bytes outside files. The rebuilt image stays in DIR.`,
		Args: usageArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if os.Geteuid() != 0 {
				return userns.Again(cmd.Context())
			}
			opts.UI = console.New(cmd.ErrOrStderr())
			report, err := runRebuild(cmd.Context(), args[0], profile, output, opts)
			if err != nil {
				return err
			}
			if format.value == "json" {
				err = json.NewEncoder(cmd.OutOrStdout()).Encode(report)
			} else {
				err = printRebuild(cmd.OutOrStdout(), report)
			}
			if err == nil && !report.Identical {
				err = exitcode.With(exitcode.Failed, errors.New("the rebuilt image is not identical"))
			}
			return err
		},
	}
	cmd.Flags().StringVar(&profile, "profile", "", "the profile that the image was built from (default the built-in one that the manifest names)")
	cmd.Flags().StringVar(&opts.LockFile, "lock", "", "what the image was made from (default the lock beside the image, if there is one)")
	cmd.Flags().BoolVar(&opts.Offline, "offline", false, "build from the lock and the store alone, without any network")
	cmd.Flags().StringVarP(&output, "output", "o", "rebuilt", "directory for the rebuilt image and its manifest")
	cmd.Flags().StringVar(&opts.CacheDir, "cache", "", "directory of the store (default $NODEIMAGE_CACHE or the user's cache directory)")
	cmd.Flags().StringArrayVar(&opts.Mirrors, "mirror", nil, "HOST=URL to ask instead of an upstream host; may be given again (see also $NODEIMAGE_MIRRORS)")
	cmd.Flags().Var(format, "format", "how to print the result")
	return cmd
}

func runRebuild(ctx context.Context, image, profile, output string, opts pipeline.Options) (rebuild.Report, error) {
	original, err := rebuild.Read(ctx, image)
	if err != nil {
		return rebuild.Report{}, err
	}
	if profile == "" {
		profile = original.Manifest.Profile.Name
	}
	p, err := profiles.Load(profile)
	if err != nil {
		return rebuild.Report{}, err
	}
	if err := original.CheckProfile(p); err != nil {
		return rebuild.Report{}, err
	}
	again := filepath.Join(output, original.Image.File)
	if same, err := sameFile(image, again); err != nil {
		return rebuild.Report{}, exitcode.BadInput(err)
	} else if same {
		return rebuild.Report{}, exitcode.BadInput(fmt.Errorf("the rebuilt image would replace %s: name another directory with --output", image))
	}
	if opts.LockFile == "" {
		if opts.LockFile, err = rebuild.LockBeside(image); err != nil {
			return rebuild.Report{}, err
		}
	}
	opts.Profile, opts.OutputDir = profile, output
	opts.Formats, opts.DiskSize = []string{original.Image.Format}, original.DiskSize()
	if _, err := pipeline.Build(ctx, opts); err != nil {
		return rebuild.Report{}, err
	}
	return rebuild.Compare(ctx, original, again)
}

// sameFile tells whether b, which may be missing, is the file a.
func sameFile(a, b string) (bool, error) {
	infoA, err := os.Stat(a)
	if err != nil {
		return false, err
	}
	infoB, err := os.Stat(b)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	return err == nil && os.SameFile(infoA, infoB), err
}

func printRebuild(w io.Writer, r rebuild.Report) error {
	if r.Identical {
		_, err := fmt.Fprintf(w, "identical: sha256 %s\n", r.SHA256)
		return err
	}
	lines := []string{fmt.Sprintf("different: %s has sha256 %s, %s has %s", r.Image, r.SHA256, r.Rebuilt, r.Got)}
	for _, difference := range r.Differences {
		lines = append(lines, "  "+difference)
	}
	if len(r.Differences) == 0 {
		lines = append(lines, "  both were made from the same packages, components and container images")
	}
	if r.SameDisk {
		lines = append(lines, "  every byte of their disks is the same: only the files that hold them were written otherwise, as by another version of this program or of qemu-img")
	}
	if r.DiffError != "" {
		lines = append(lines, "  they could not be looked into: "+r.DiffError)
	}
	for _, line := range lines {
		if _, err := fmt.Fprintln(w, line); err != nil {
			return err
		}
	}
	if r.Diff == nil {
		return nil
	}
	return r.Diff.WriteText(w, nodediff.TextOptions{})
}
