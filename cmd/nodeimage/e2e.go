package main

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/nodeimage/packer-plugin-nodeimage/e2e"
	"github.com/nodeimage/packer-plugin-nodeimage/e2e/machine"
	"github.com/nodeimage/packer-plugin-nodeimage/e2e/repeat"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/console"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/profiles"
)

func newE2E() *cobra.Command {
	var opts e2e.Options
	var profile string
	var verbose bool
	var runs int
	var firmware []string
	accel := newFormat(string(machine.AccelAuto), string(machine.AccelKVM), string(machine.AccelTCG))
	format := newFormat("text", "json")
	cmd := &cobra.Command{
		Use:   "e2e IMAGE",
		Short: "Boot a throw-away overlay of an image, run kubeadm in it, and judge it",
		Long: `Boot a throw-away overlay of IMAGE in QEMU, run kubeadm in it without network,
and confirm that kube-proxy stays up and that pods terminate cleanly.

IMAGE is only read; its sha256 is compared before and after. DIR gets junit.xml,
report.json, summary.json, the console and the journals, and when a spec failed
bundle.tar.zst with all of it, secrets redacted, for 'nodeimage diagnose'. KVM is used where it is
proven to run a guest.

With --repeat DIR gets a directory for each run, repeat.json and repeat.md. A
run that is there already, with a verdict on the same image by the same specs,
counts, so that a series that was interrupted goes on.`,
		Args: usageArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			opts.Image = args[0]
			opts.Accel = machine.Accel(accel.value)
			for _, f := range firmware {
				opts.Firmware = append(opts.Firmware, machine.Firmware(f))
			}
			opts.Progress = cmd.ErrOrStderr()
			if verbose {
				opts.Out = cmd.ErrOrStderr()
			}
			if profile != "" {
				var err error
				if opts.Profile, err = profiles.Load(profile); err != nil {
					return err
				}
			}
			if runs > 1 {
				return repeatE2E(cmd, opts, profile, runs, format.value)
			}
			result, err := e2e.Run(cmd.Context(), opts)
			if err != nil {
				return err
			}
			if format.value == "json" {
				if err := json.NewEncoder(cmd.OutOrStdout()).Encode(result); err != nil {
					return err
				}
			} else if err := result.WriteText(cmd.OutOrStdout()); err != nil {
				return err
			}
			if !result.Passed() {
				return exitcode.With(exitcode.Failed, errors.New(result.Headline()))
			}
			return nil
		},
	}
	cmd.Flags().StringVarP(&opts.OutputDir, "output", "o", "e2e-report", "directory for the reports and the evidence")
	cmd.Flags().StringVar(&profile, "profile", "", "profile the image was made from (default: what its manifest says)")
	cmd.Flags().DurationVar(&opts.Soak, "soak", e2e.DefaultSoak, "how long kube-proxy and the control plane are watched")
	cmd.Flags().DurationVar(&opts.Slack, "slack", 0, "what a pod may take beyond its grace period (default: measured for the accelerator)")
	cmd.Flags().StringVar(&opts.LabelFilter, "label-filter", "", "run only specs whose labels match, e.g. '!soak && !reboot'")
	cmd.Flags().StringArrayVar(&opts.Specs, "spec", nil, "run only specs whose name holds this text; may be given several times")
	cmd.Flags().StringSliceVar(&firmware, "firmware", nil, "firmwares to boot under, the cluster under the first (default secureboot,bios; secureboot is UEFI that enforces it)")
	cmd.Flags().Var(accel, "accel", "accelerator; auto is KVM where it is proven to run a guest")
	cmd.Flags().IntVar(&opts.CPUs, "cpus", 2, "virtual CPUs")
	cmd.Flags().IntVar(&opts.MemoryMiB, "memory", 4096, "memory in MiB")
	cmd.Flags().BoolVar(&opts.Witness, "witness", false, "let a proven fault go on and show itself, for the report")
	cmd.Flags().StringVar(&opts.WitnessUntil, "witness-until", "", "with --witness, a regular expression for the line of evidence that is enough")
	cmd.Flags().BoolVar(&opts.FailFast, "fail-fast", false, "stop at the first failure")
	cmd.Flags().IntVar(&runs, "repeat", 1, "run the suite this many times, each in its own process and directory, and sum up")
	cmd.Flags().BoolVarP(&verbose, "verbose", "v", false, "print Ginkgo's own report as it goes")
	cmd.Flags().Var(format, "format", fmt.Sprintf("how to print the result: %s", format.Type()))
	return cmd
}

func repeatE2E(cmd *cobra.Command, opts e2e.Options, profile string, runs int, format string) error {
	suite, err := ownSuite(profile)
	if err != nil {
		return err
	}
	ui := console.New(cmd.ErrOrStderr())
	report, err := repeat.Runner{Suite: suite, Options: opts, Runs: runs, Done: func(r repeat.Run) {
		ui.Sayf("%s: %s in %.0fs", r.Dir, r.Verdict, r.Seconds)
	}}.Run(cmd.Context())
	if err != nil {
		return err
	}
	write := report.WriteText
	if format == "json" {
		write = report.WriteJSON
	}
	if err := write(cmd.OutOrStdout()); err != nil {
		return fmt.Errorf("printing the report: %w", err)
	}
	return report.Err()
}
