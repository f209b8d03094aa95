package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/gate"
)

func newPromote() *cobra.Command {
	var flags gateFlags
	var remote registryFlags
	var reference string
	var to gate.Target
	cmd := &cobra.Command{
		Use:   "promote IMAGE",
		Short: "Copy or tag an image if, and only if, it passes the gate",
		Long: `Judge IMAGE as 'nodeimage gate' does, and only if it passes:

  --to DIR    copy it with its manifest, the bundles that the verdict rests on
              and the verdict into a new folder DIR/<image>-<digest>, which
              appears whole, after the copy's own digest was verified;
  --tag NAME  write NAME.tag.json beside it, which names it by digest;
  --registry REGISTRY/REPOSITORY:TAG
              publish it as 'nodeimage push' does, with those bundles and the
              verdict, and set the tag.`,
		Args: usageArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			opts, err := flags.options(args[0])
			if err != nil {
				return err
			}
			if reference != "" {
				repository, err := remote.open(cmd, reference, "uploading")
				if err != nil {
					return err
				}
				to.Publisher = publisher{repository, &remote}
			}
			defer saySlow(cmd, "still reading "+args[0])()
			promotion, err := gate.Promote(cmd.Context(), opts, to)
			if err != nil {
				return err
			}
			if err := printVerdict(cmd, flags.format.value, promotion.Verdict, promotion); err != nil {
				return err
			}
			if promotion.Path != "" && flags.format.value == "text" {
				if _, err := fmt.Fprintln(cmd.OutOrStdout(), promotion.Path); err != nil {
					return err
				}
			}
			return promotion.Err()
		},
	}
	flags.add(cmd)
	cmd.Flags().StringVar(&to.Dir, "to", "", "folder for releases")
	cmd.Flags().StringVar(&to.Tag, "tag", "", "name of a tag")
	cmd.Flags().StringVar(&reference, "registry", "", "where to publish it: REGISTRY/REPOSITORY:TAG")
	remote.add(cmd, true)
	return cmd
}
