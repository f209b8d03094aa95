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
	var host e2e.Host
	accel := newFormat(string(machine.AccelAuto), string(machine.AccelKVM), string(machine.AccelTCG))
	format := newFormat("text", "json")
	cmd := &cobra.Command{
		Use:   "e2e IMAGE | e2e --host [USER@]HOST[:PORT]",
		Short: "Boot a throw-away overlay of an image, run kubeadm in it, and judge it",
		Long: `Boot a throw-away overlay of IMAGE in QEMU, run kubeadm in it without network,
and confirm that kube-proxy stays up and that pods terminate cleanly.

IMAGE is only read; its sha256 is compared before and after. DIR gets junit.xml,
report.json, summary.json, the console and the journals, and when a spec failed
bundle.tar.zst with all of it, secrets redacted, for 'nodeimage diagnose'. KVM is used where it is
proven to run a guest, and an image for another architecture than this host's
is emulated.

With --repeat DIR gets a directory for each run, repeat.json and repeat.md. A
run that is there already, with a verdict on the same image by the same specs,
counts, so that a series that was interrupted goes on.

With --host the specs run on a machine that is up already, over SSH, instead of
on an image. kubeadm runs on it, so it must be a node without a cluster that
nobody needs; at the end the cluster is removed again. Specs that need control
of the machine, such as boots under other firmwares, are skipped and say so.
The summary then names the host and no digest, so that no image can be attested
by it.`,
		Args: usageArgs(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				opts.Image = args[0]
			}
			opts.Accel = machine.Accel(accel.value)
			if host.Attach.Target != "" {
				if err := hostOnly(cmd, &opts); err != nil {
					return err
				}
				opts.Host = &host
			} else if err := notForImages(cmd); err != nil {
				return err
			}
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
	cmd.Flags().StringSliceVar(&firmware, "firmware", nil, "firmwares to boot under, the cluster under the first (default secureboot,bios, for arm64 secureboot,uefi; secureboot is UEFI that enforces it)")
	cmd.Flags().StringVar((*string)(&opts.Arch), "arch", "", "architecture of the machine, amd64 or arm64 (default: that of the image's programs)")
	cmd.Flags().Var(accel, "accel", "accelerator; auto is KVM where it is proven to run a guest")
	cmd.Flags().IntVar(&opts.CPUs, "cpus", 2, "virtual CPUs")
	cmd.Flags().IntVar(&opts.MemoryMiB, "memory", 4096, "memory in MiB")
	cmd.Flags().BoolVar(&opts.Witness, "witness", false, "let a proven fault go on and show itself, for the report")
	cmd.Flags().StringVar(&opts.WitnessUntil, "witness-until", "", "with --witness, a regular expression for the line of evidence that is enough")
	cmd.Flags().BoolVar(&opts.FailFast, "fail-fast", false, "stop at the first failure")
	cmd.Flags().IntVar(&runs, "repeat", 1, "run the suite this many times, each in its own process and directory, and sum up")
	cmd.Flags().StringVar(&host.Attach.Target, hostFlag, "", "run on this machine over SSH instead of on an image; a user other than root needs sudo without a password")
	cmd.Flags().StringVar(&host.Attach.KeyFile, "identity", "", "with --host, the private key (default: the keys of the SSH agent)")
	cmd.Flags().StringVar(&host.Attach.KnownHosts, "known-hosts", "", "with --host, the file that vouches for its key (default ~/.ssh/known_hosts)")
	cmd.Flags().BoolVar(&host.AllowReboot, "allow-reboot", false, "with --host, run the specs that reboot it, too")
	cmd.Flags().BoolVar(&host.Keep, "keep-cluster", false, "with --host, leave the cluster on it")
	cmd.Flags().BoolVarP(&verbose, "verbose", "v", false, "print Ginkgo's own report as it goes")
	cmd.Flags().Var(format, "format", fmt.Sprintf("how to print the result: %s", format.Type()))
	return cmd
}

const hostFlag = "host"

// hostOnly drops the defaults of the virtual machine and refuses what was said
// about it.
func hostOnly(cmd *cobra.Command, opts *e2e.Options) error {
	var problems []error
	for _, name := range []string{"firmware", "arch", "accel", "cpus", "memory", "repeat"} {
		if cmd.Flags().Changed(name) {
			problems = append(problems, fmt.Errorf("--%s is about a machine that is booted from an image: leave it out with --%s", name, hostFlag))
		}
	}
	opts.Arch, opts.Accel, opts.CPUs, opts.MemoryMiB = "", "", 0, 0
	return exitcode.BadInput(errors.Join(problems...))
}

// notForImages refuses what is about a host when there is none.
func notForImages(cmd *cobra.Command) error {
	var problems []error
	for _, name := range []string{"identity", "known-hosts", "allow-reboot", "keep-cluster"} {
		if cmd.Flags().Changed(name) {
			problems = append(problems, fmt.Errorf("--%s needs --%s", name, hostFlag))
		}
	}
	return exitcode.BadInput(errors.Join(problems...))
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
