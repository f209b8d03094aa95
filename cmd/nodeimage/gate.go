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
	"github.com/nodeimage/packer-plugin-nodeimage/internal/gate"
)

// gateFlags are those of the verbs that judge.
type gateFlags struct {
	policy, attestations string
	keys                 []string
	format               *formatFlag
}

func (f *gateFlags) add(cmd *cobra.Command) {
	f.format = newFormat("text", "json")
	cmd.Flags().StringVar(&f.policy, "policy", "", "what an image needs to pass")
	cmd.Flags().StringArrayVar(&f.keys, "key", nil, "public key that may have signed; may be given several times")
	cmd.Flags().StringVar(&f.attestations, "attestations", "", "directory of the bundles (default: attestations beside the image)")
	cmd.Flags().Var(f.format, "format", "how to print the verdict")
}

// options reads policy and keys, and reports all that is wrong with them.
func (f *gateFlags) options(image string) (gate.Options, error) {
	o := gate.Options{Image: image, Attestations: f.attestations, Now: time.Now()}
	if o.Attestations == "" {
		o.Attestations = filepath.Join(filepath.Dir(image), attestations)
	}
	var problems []error
	var err error
	if f.policy == "" {
		problems = append(problems, errors.New("--policy is missing"))
	} else if o.Policy, err = gate.LoadPolicy(f.policy); err != nil {
		problems = append(problems, err)
	}
	if len(f.keys) == 0 {
		problems = append(problems, errors.New("--key is missing: expected a public key"))
	}
	for _, name := range f.keys {
		key, err := attest.LoadPublicKey(name)
		if err != nil {
			problems = append(problems, err)
			continue
		}
		o.Keys = append(o.Keys, key)
	}
	return o, exitcode.BadInput(errors.Join(problems...))
}

func newGate() *cobra.Command {
	var flags gateFlags
	cmd := &cobra.Command{
		Use:   "gate IMAGE",
		Short: "Say whether an image may be released, by signed evidence about its very bytes",
		Long: `Compute the digest of IMAGE and pass only if valid, fresh statements about that
digest, signed by keys that the policy allows, say that everything the policy
requires ran and passed. All reasons against it are told at once.

Exit codes: 0 it may be released; 1 it must not; 2 the policy, a key or IMAGE
cannot be read; 75 there is no verdict.`,
		Args: usageArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			opts, err := flags.options(args[0])
			if err != nil {
				return err
			}
			defer saySlow(cmd, "still reading "+args[0])()
			verdict, err := gate.Judge(cmd.Context(), opts)
			if err != nil {
				return err
			}
			if err := printVerdict(cmd, flags.format.value, verdict, verdict); err != nil {
				return err
			}
			return verdict.Err()
		},
	}
	flags.add(cmd)
	return cmd
}

// saySlow prints a line if what follows takes long; the returned function
// ends that.
func saySlow(cmd *cobra.Command, line string) (stop func()) {
	ui := console.New(cmd.ErrOrStderr())
	slow := time.AfterFunc(2*time.Second, func() { ui.Say(line) })
	return func() { slow.Stop() }
}

// printVerdict prints a verdict for people, or a document that has it.
func printVerdict(cmd *cobra.Command, format string, v gate.Verdict, document any) error {
	if format == "json" {
		return json.NewEncoder(cmd.OutOrStdout()).Encode(document)
	}
	if err := v.WriteText(cmd.OutOrStdout()); err != nil {
		return fmt.Errorf("printing the verdict: %w", err)
	}
	return nil
}
