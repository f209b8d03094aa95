package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/attest"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/console"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
)

// attestations is the folder beside an image in which its bundles are looked
// for if none is named.
const attestations = "attestations"

func newAttest() *cobra.Command {
	var opts attest.Options
	var key string
	format := newFormat("text", "json")
	cmd := &cobra.Command{
		Use:   "attest IMAGE",
		Short: "Sign what the suites said about an image, its provenance and its SBOM",
		Long: `Write signed in-toto statements about IMAGE: a test result for each report, SLSA
provenance from the manifest beside the image, and a CycloneDX SBOM of what is in
it. Each is a sigstore bundle, which cosign verifies with the public key.

A report about another image is refused. The reports are those of
'nodeimage validate --format json' and summary.json of 'nodeimage e2e'.`,
		Args: usageArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			opts.Image, opts.Now = args[0], time.Now()
			if key == "" {
				return exitcode.BadInput(errors.New("--key is missing: expected a private key file or env://NAME; 'nodeimage keygen' makes one"))
			}
			var err error
			if opts.Key, err = attest.LoadPrivateKey(key); err != nil {
				return err
			}
			if opts.OutputDir == "" {
				opts.OutputDir = filepath.Join(filepath.Dir(opts.Image), attestations)
			}
			defer saySlow(cmd, "still reading "+opts.Image)()
			result, err := attest.Run(cmd.Context(), opts)
			if err != nil {
				return err
			}
			if format.value == "json" {
				return json.NewEncoder(cmd.OutOrStdout()).Encode(result)
			}
			for _, note := range result.Notes {
				console.New(cmd.ErrOrStderr()).Say(note)
			}
			for _, file := range result.Files {
				if _, err := fmt.Fprintln(cmd.OutOrStdout(), file); err != nil {
					return err
				}
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&opts.Validate, "validate", "", "report of 'nodeimage validate --format json'")
	cmd.Flags().StringVar(&opts.E2E, "e2e", "", "summary.json of 'nodeimage e2e'")
	cmd.Flags().StringVar(&opts.Manifest, "manifest", "", "the image's manifest (default: the one beside the image, if any)")
	cmd.Flags().StringVar(&opts.Cell, "cell", "", "ID of the matrix cell that the reports are of")
	cmd.Flags().StringVar(&key, "key", "", "private key: a file that only you can read, or env://NAME")
	cmd.Flags().StringVarP(&opts.OutputDir, "output", "o", "", "directory for the bundles (default: attestations beside the image)")
	cmd.Flags().Var(format, "format", "how to print the result")
	return cmd
}
