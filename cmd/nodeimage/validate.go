package main

import (
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"time"

	"github.com/spf13/cobra"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/console"
	"github.com/nodeimage/packer-plugin-nodeimage/profiles"
	"github.com/nodeimage/packer-plugin-nodeimage/validate"
	"github.com/nodeimage/packer-plugin-nodeimage/validate/target"
)

func newValidate() *cobra.Command {
	var profile, policy string
	var skipped bool
	format := newFormat("text", "json", "junit", "sarif", "github")
	cmd := &cobra.Command{
		Use:   "validate TARGET",
		Short: "Look into an image or a node, offline, and name what would break",
		Long: `Look into TARGET without booting, mounting or root, and name what would break:
the file, the line, the key, what is there, what should be, and how to mend it.

TARGET is an image (qcow2 or raw), a directory that is a root file system, or a
tar of one. With / it is the machine that you are on, and what only the running
system knows is looked at too; that part may need root.

Exit codes: 0 nothing failed; 1 a check failed; 2 TARGET or the policy cannot be
read; 75 there is no verdict, since this host or its rights were in the way.`,
		Args: usageArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			// Most of the second is waiting for the disk: collect early
			// rather than let the heap grow to twice what is in use.
			debug.SetGCPercent(30)
			report, err := lookInto(cmd, args[0], profile, policy, format.value == "json")
			if err != nil {
				return err
			}
			out := cmd.OutOrStdout()
			switch format.value {
			case "json":
				err = report.WriteJSON(out)
			case "junit":
				err = report.WriteJUnit(out)
			case "sarif":
				err = report.WriteSARIF(out)
			case "github":
				err = report.WriteGitHub(out)
			default:
				color := console.IsTerminal(out) && os.Getenv("NO_COLOR") == ""
				err = report.WriteText(out, validate.TextOptions{Color: color, Skipped: skipped})
			}
			if err != nil {
				return fmt.Errorf("printing the report: %w", err)
			}
			return report.Err()
		},
	}
	cmd.Flags().StringVar(&profile, "profile", "", "also compare with this profile (built-in name or path)")
	cmd.Flags().StringVar(&policy, "policy", "", "file that changes the severity of checks for a time")
	cmd.Flags().BoolVar(&skipped, "skipped", false, "in text, also list the checks that did not apply, with the reason")
	cmd.Flags().Var(format, "format", "how to print the report")
	return cmd
}

// lookInto runs the catalogue, with a line on stderr if that takes long.
func lookInto(cmd *cobra.Command, path, profileName, policyFile string, identify bool) (report validate.Report, err error) {
	var profile *profiles.Profile
	if profileName != "" {
		if profile, err = profiles.Load(profileName); err != nil {
			return report, err
		}
	}
	var policy *validate.Policy
	if policyFile != "" {
		if policy, err = validate.LoadPolicy(policyFile, time.Now()); err != nil {
			return report, err
		}
	}
	ui := console.New(cmd.ErrOrStderr())
	slow := time.AfterFunc(2*time.Second, func() { ui.Sayf("still looking into %s", path) })
	defer slow.Stop()
	t, err := target.Open(cmd.Context(), path)
	if err != nil {
		return report, err
	}
	defer func() { err = errors.Join(err, t.Close()) }()
	report, err = validate.Run(cmd.Context(), t, profile, policy)
	// The digest takes longer than all checks, so only a report that is kept
	// has it.
	if err == nil && identify {
		err = report.Identify(cmd.Context(), t)
	}
	return report, err
}
