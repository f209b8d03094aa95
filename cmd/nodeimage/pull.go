package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/console"
)

func newPull() *cobra.Command {
	var flags registryFlags
	var dir string
	format := newFormat("text", "json")
	cmd := &cobra.Command{
		Use:   "pull REGISTRY/REPOSITORY:TAG",
		Short: "Get an image and its attestations from a container registry",
		Long: `Get an image that 'nodeimage push' published, or the disk in a containerDisk, by
tag or by digest (REGISTRY/REPOSITORY@sha256:DIGEST), into a new folder
DIR/<image>-<digest>: the image, its manifest, attestations/ with its bundles and
SBOM, and reports/. The folder appears whole, after all digests were compared. A
pull that was cut off goes on where it ended.

That the digests are right says where the bytes come from, not that they are
good: judge what came with 'nodeimage gate'.`,
		Args: usageArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			repository, err := flags.open(cmd, args[0], "downloading")
			if err != nil {
				return err
			}
			pulled, err := repository.Pull(cmd.Context(), dir)
			if err != nil {
				return err
			}
			if format.value == "json" {
				return json.NewEncoder(cmd.OutOrStdout()).Encode(pulled)
			}
			for _, note := range pulled.Notes {
				console.New(cmd.ErrOrStderr()).Say(note)
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), pulled.Image)
			return err
		},
	}
	flags.add(cmd, false)
	cmd.Flags().StringVarP(&dir, "output", "o", ".", "directory for the new folder")
	cmd.Flags().Var(format, "format", "how to print the result")
	return cmd
}

func missing(path string) bool {
	_, err := os.Stat(path)
	return errors.Is(err, fs.ErrNotExist)
}
