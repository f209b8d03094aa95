package main

import (
	"encoding/json"
	"errors"
	"time"

	"github.com/spf13/cobra"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/attest"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/whynot"
)

func newWhyNot() *cobra.Command {
	var question whynot.Question
	var opts whynot.Options
	var keys []string
	format := newFormat("text", "json")
	cmd := &cobra.Command{
		Use:   "why-not",
		Short: "Say what is known against a combination of versions, and how it is known",
		Long: `Say whether versions go together, from the rules that this program was built with
(the compatibility table, and what the checks know of faults and holes) and, with
--evidence, from signed results of runs. Each answer names which of the two it is.

A version is a release (1.37.2) or a branch (1.37). The exit code is 1 if an
answer speaks against the combination.`,
		Example: "  nodeimage why-not --kubernetes 1.37 --containerd 1.7 --os ubuntu-24.04",
		Args:    usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			opts.Now = time.Now()
			var problems []error
			for _, name := range keys {
				key, err := attest.LoadPublicKey(name)
				problems = append(problems, err)
				opts.Keys = append(opts.Keys, key)
			}
			if err := errors.Join(problems...); err != nil {
				return exitcode.BadInput(err)
			}
			reply, err := whynot.Ask(cmd.Context(), question, opts)
			if err != nil {
				return err
			}
			if format.value == "json" {
				err = json.NewEncoder(cmd.OutOrStdout()).Encode(reply)
			} else {
				err = reply.WriteText(cmd.OutOrStdout())
			}
			if err != nil {
				return err
			}
			return reply.Err()
		},
	}
	cmd.Flags().StringVar(&question.Kubernetes, "kubernetes", "", "Kubernetes version")
	cmd.Flags().StringVar(&question.Containerd, "containerd", "", "containerd version")
	cmd.Flags().StringVar(&question.Runc, "runc", "", "runc version")
	cmd.Flags().StringVar(&question.Kernel, "kernel", "", "kernel release")
	cmd.Flags().StringVar(&question.OS, "os", "", "ID and VERSION_ID of os-release, as ubuntu-24.04")
	cmd.Flags().StringVar(&opts.Dir, "evidence", "", "folder of attestations")
	cmd.Flags().StringArrayVar(&keys, "key", nil, "public key whose evidence is believed; may be given several times")
	cmd.Flags().Var(format, "format", "how to print the answers")
	return cmd
}
