package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/version"
)

// newRoot returns the command tree. Results go to stdout, progress to stderr.
func newRoot(stdout, stderr io.Writer) *cobra.Command {
	root := &cobra.Command{
		Use:   "nodeimage",
		Short: "Build Kubernetes node images and prove that they work",
		Long: `nodeimage builds a bootable Kubernetes node image from a pinned profile, and
boots kubeadm in exactly that image to confirm that kube-proxy stays up and
that pods terminate cleanly.

Exit codes: 0 all is well; 1 the image failed; 2 bad input, nothing was
changed; 75 the infrastructure failed and a retry may help.`,
		Version:       version.String(),
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          usageArgs(cobra.NoArgs),
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetOut(stdout)
	root.SetErr(stderr)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return exitcode.BadInput(err) })
	root.AddCommand(
		newBuild(),
		newRebuild(),
		newPlan(),
		newValidate(),
		newE2E(),
		newExplain(),
		newProfiles(),
		newKeygen(),
		newAttest(),
		newGate(),
		newPromote(),
		newWhyNot(),
		newFaults(),
		newDiagnose(),
		newDiff(),
		newBisect(),
		newMatrix(),
		newPush(),
		newPull(),
		newStore(),
		newLock(),
		newBundle(),
	)
	return root
}

// usageArgs makes a wrong number of arguments bad input instead of an
// unclassified error.
func usageArgs(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return exitcode.BadInput(fmt.Errorf("%w; see 'nodeimage %s --help'", err, cmd.Name()))
		}
		return nil
	}
}

// formatFlag is --format with a fixed set of values.
type formatFlag struct {
	value   string
	allowed []string
}

func newFormat(allowed ...string) *formatFlag {
	return &formatFlag{value: allowed[0], allowed: allowed}
}

func (f *formatFlag) String() string { return f.value }
func (f *formatFlag) Type() string   { return strings.Join(f.allowed, "|") }
func (f *formatFlag) Set(value string) error {
	for _, a := range f.allowed {
		if a == value {
			f.value = value
			return nil
		}
	}
	return fmt.Errorf("expected one of %s, got %q", strings.Join(f.allowed, ", "), value)
}
