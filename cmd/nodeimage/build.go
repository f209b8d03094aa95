package main

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/console"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/pipeline"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/userns"
)

func newBuild() *cobra.Command {
	opts := pipeline.Options{}
	format := newFormat("text", "json")
	cmd := &cobra.Command{
		Use:   "build PROFILE",
		Short: "Build the image of a profile, in-process, without Packer",
		Long: `Build the image of a profile: DIR/<profile>.qcow2 and DIR/<profile>.manifest.json.

PROFILE is a built-in profile's name (see 'nodeimage profiles') or the path of
a profile file. A lock that stands beside the file, or is named by --lock, is all
that gets installed, and the finished disk is compared with it. Every build writes
the lock of what it installed beside the image. An ordinary user builds in a user
namespace, where the host has them. What was built before with the same inputs is
not built again, and the same inputs give the same bytes.`,
		Args: usageArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if os.Geteuid() != 0 {
				return userns.Again(cmd.Context())
			}
			opts.Profile = args[0]
			opts.UI = console.New(cmd.ErrOrStderr())
			result, err := pipeline.Build(cmd.Context(), opts)
			if err != nil {
				return err
			}
			if format.value == "json" {
				return json.NewEncoder(cmd.OutOrStdout()).Encode(result)
			}
			for _, file := range result.Files {
				if _, err := fmt.Fprintln(cmd.OutOrStdout(), file); err != nil {
					return err
				}
			}
			return nil
		},
	}
	cmd.Flags().StringVarP(&opts.OutputDir, "output", "o", "build", "directory for the image and its manifest")
	cmd.Flags().StringVar(&opts.CacheDir, "cache", "", "directory of the store (default $NODEIMAGE_CACHE or the user's cache directory)")
	cmd.Flags().StringSliceVar(&opts.Formats, "formats", nil, "image formats instead of the profile's")
	cmd.Flags().StringVar(&opts.DiskSize, "disk-size", "", "size of the disk instead of the profile's, e.g. 20GiB")
	cmd.Flags().StringArrayVar(&opts.Mirrors, "mirror", nil, "HOST=URL to ask instead of an upstream host; may be given again (see also $NODEIMAGE_MIRRORS)")
	cmd.Flags().StringVar(&opts.LockFile, "lock", "", "lock to build from (default: PROFILE.lock.yaml beside the profile's file, if there is one)")
	cmd.Flags().BoolVar(&opts.Offline, "offline", false, "build from the lock and the store alone; use no network")
	cmd.Flags().BoolVar(&opts.Force, "force", false, "build even if nothing has changed since the last build")
	cmd.Flags().Var(format, "format", "how to print the result")
	return cmd
}
