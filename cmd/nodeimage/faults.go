package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/nodeimage/packer-plugin-nodeimage/e2e/child"
	"github.com/nodeimage/packer-plugin-nodeimage/e2e/faults"
	"github.com/nodeimage/packer-plugin-nodeimage/e2e/faults/booted"
	"github.com/nodeimage/packer-plugin-nodeimage/e2e/machine"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/console"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/run"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/store"
	"github.com/nodeimage/packer-plugin-nodeimage/profiles"
	"github.com/nodeimage/packer-plugin-nodeimage/validate/target"
)

func newFaults() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "faults",
		Short: "Show that the checks and the suite catch what an image can have wrong",
		Args:  usageArgs(cobra.NoArgs),
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newFaultsList(), newFaultsRun(), newFaultsReport())
	return cmd
}

// listed is a fault as `faults list -o json` prints it.
type listed struct {
	ID     string         `json:"id"`
	Title  string         `json:"title"`
	Expect faults.Verdict `json:"expect"`
	Stages []faults.Stage `json:"stages"`
	Checks []string       `json:"checks,omitempty"`
	Cause  string         `json:"cause,omitempty"`
	See    []string       `json:"see"`
}

func newFaultsList() *cobra.Command {
	format := newFormat("text", "json")
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the faults and where each must be caught",
		Args:  usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			all, err := faults.All()
			if err != nil {
				return err
			}
			out := cmd.OutOrStdout()
			if format.value == "json" {
				list := []listed{}
				for _, f := range all {
					list = append(list, listed{f.ID, f.Title, f.Expect, f.Stages(), f.Caught.Validate.Checks, f.Caught.E2E.Cause, f.See})
				}
				enc := json.NewEncoder(out)
				enc.SetIndent("", "  ")
				enc.SetEscapeHTML(false)
				return enc.Encode(list)
			}
			w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
			if _, err := fmt.Fprintln(w, "FAULT\tEXPECT\tSTAGES\tCAUGHT AS\tTITLE"); err != nil {
				return err
			}
			for _, f := range all {
				var stages []string
				for _, s := range f.Stages() {
					stages = append(stages, string(s))
				}
				as := cmp.Or(strings.Join(f.Caught.Validate.Checks, ", "), f.Caught.E2E.Cause)
				if _, err := fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", f.ID, f.Expect, strings.Join(stages, ","), as, f.Title); err != nil {
					return err
				}
			}
			return w.Flush()
		},
	}
	cmd.Flags().VarP(format, "output", "o", "how to print the list")
	return cmd
}

// faultsRun is what `faults run` was asked for.
type faultsRun struct {
	all, witness           bool
	stage                  string
	image, profile, output string
	accel                  string
}

func newFaultsRun() *cobra.Command {
	var r faultsRun
	stage := newFormat(string(faults.StageValidate), string(faults.StageE2E))
	accel := newFormat(string(machine.AccelAuto), string(machine.AccelKVM), string(machine.AccelTCG))
	format := newFormat("text", "json", "markdown")
	cmd := &cobra.Command{
		Use:   "run [ID...]",
		Short: "Put faults into a good image and see that each is caught as it declares",
		Long: `Put faults into a good image, one at a time, and see that each is caught at the
stage, by the checks and for the reason that it declares, and that nothing else
is red.

At the stage validate the image is only looked at: the change lies over it in
memory, and the unchanged image is judged first and must pass. At the stage e2e
an image with the change is made and booted, and only the specs run that must
see it; --witness lets the fault go on until it shows itself.

DIR gets faults.json and faults.md, and for each booted fault a directory with its evidence.

Exit codes: 0 all as declared; 1 a fault was not caught, or caught otherwise, or
a good image is called bad; 2 bad input; 75 there is no verdict.`,
		Args: usageArgs(cobra.ArbitraryArgs),
		RunE: func(cmd *cobra.Command, args []string) error {
			r.stage, r.accel = stage.value, accel.value
			report, noVerdict := r.run(cmd, args)
			if noVerdict != nil && len(report.Results) == 0 {
				return noVerdict
			}
			if r.output != "" {
				if err := report.Save(r.output); err != nil {
					return err
				}
			}
			if err := printFaults(cmd.OutOrStdout(), report, format.value); err != nil {
				return err
			}
			if noVerdict != nil {
				return noVerdict
			}
			return report.Err()
		},
	}
	cmd.Flags().BoolVar(&r.all, "all", false, "run all faults that the stage is declared for")
	cmd.Flags().Var(stage, "stage", "where to judge")
	cmd.Flags().StringVar(&r.image, "image", "", "the good image (qcow2 or raw; at the stage validate anything that can be validated)")
	cmd.Flags().StringVar(&r.profile, "profile", "debian-13", "profile the image was made from: its components are what faults swap")
	cmd.Flags().StringVarP(&r.output, "output", "o", "", "directory for faults.json, faults.md and the evidence (needed for the stage e2e)")
	cmd.Flags().BoolVar(&r.witness, "witness", false, "at the stage e2e, let a proven fault go on and show itself")
	cmd.Flags().Var(accel, "accel", "accelerator for the stage e2e")
	cmd.Flags().Var(format, "format", "how to print the report")
	return cmd
}

func newFaultsReport() *cobra.Command {
	format := newFormat("text", "json", "markdown")
	cmd := &cobra.Command{
		Use:   "report FAULTS.JSON...",
		Short: "Put the reports of several runs over faults into one table",
		Long: `Put the reports of several runs over faults into one table. Of two runs of one
fault at one stage, the one that is named later counts.

Exit codes: 0 all as declared; 1 a fault was not caught, or caught otherwise, or
a good image is called bad; 2 bad input.`,
		Args: usageArgs(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			var all faults.Report
			for _, path := range args {
				r, err := faults.ReadReport(path)
				if err != nil {
					return err
				}
				all.Merge(r)
			}
			if err := printFaults(cmd.OutOrStdout(), all, format.value); err != nil {
				return err
			}
			return all.Err()
		},
	}
	cmd.Flags().Var(format, "format", "how to print the report")
	return cmd
}

func printFaults(out io.Writer, report faults.Report, format string) error {
	write := map[string]func(io.Writer) error{"text": report.WriteText, "json": report.WriteJSON, "markdown": report.WriteMarkdown}[format]
	if err := write(out); err != nil {
		return fmt.Errorf("printing the report: %w", err)
	}
	return nil
}

// check reports everything that is wrong with the request at once.
func (r faultsRun) check(ids []string) error {
	var errs []error
	if r.image == "" {
		errs = append(errs, errors.New("no image was named: give --image"))
	}
	if r.all == (len(ids) > 0) {
		errs = append(errs, errors.New("name faults, or give --all"))
	}
	if r.stage == string(faults.StageE2E) && r.output == "" {
		errs = append(errs, errors.New("the stage e2e leaves evidence: name a directory with --output"))
	}
	if r.stage == string(faults.StageValidate) && r.witness {
		errs = append(errs, errors.New("--witness is for the stage e2e"))
	}
	return exitcode.BadInput(errors.Join(errs...))
}

func (r faultsRun) run(cmd *cobra.Command, ids []string) (report faults.Report, err error) {
	all, err := faults.All()
	if err != nil {
		return report, err
	}
	if err := r.check(ids); err != nil {
		return report, err
	}
	if !r.all {
		if all, err = faults.Select(all, ids); err != nil {
			return report, err
		}
		for _, f := range all {
			if !f.In(faults.Stage(r.stage)) {
				return report, exitcode.BadInput(fmt.Errorf("fault %s is not declared for the stage %s", f.ID, r.stage))
			}
		}
	}
	profile, err := profiles.Load(r.profile)
	if err != nil {
		return report, err
	}
	ui := console.New(cmd.ErrOrStderr())
	s, err := openStore()
	if err != nil {
		return report, err
	}
	t, err := target.Open(cmd.Context(), r.image)
	if err != nil {
		return report, err
	}
	defer func() { err = errors.Join(err, t.Close()) }()
	if r.output != "" {
		if err := os.MkdirAll(r.output, 0o755); err != nil {
			return report, exitcode.BadInput(fmt.Errorf("making the output directory: %w", err))
		}
	}
	done := func(x faults.Result) {
		verdict := "as declared"
		if !x.AsDeclared {
			verdict = "NOT as declared: " + strings.Join(x.Problems, "; ")
		}
		ui.Sayf("%s (%.1fs): %s", x.ID, x.Seconds, verdict)
	}
	components := faults.FromStore(profile, s, ui.Sayf)
	if r.stage == string(faults.StageValidate) {
		debug.SetGCPercent(30) // as newValidate does
		return faults.Offline{Target: t, Profile: profile, Components: components, Done: done}.Run(cmd.Context(), all)
	}
	return r.boot(cmd.Context(), booted.Runner{
		Target: t, Profile: profile, Components: components, Store: s,
		Make: faults.Maker{Host: run.Host{}, Store: s}.Make, OutputDir: r.output,
		Witness: r.witness, Accel: machine.Accel(r.accel), Progress: cmd.ErrOrStderr(), Done: done,
	}, all)
}

func (r faultsRun) boot(ctx context.Context, runner booted.Runner, all []faults.Fault) (faults.Report, error) {
	suite, err := ownSuite(r.profile)
	if err != nil {
		return faults.Report{}, err
	}
	runner.Suite = suite
	return runner.Run(ctx, all)
}

// ownSuite runs the suite by this very program.
func ownSuite(profile string) (child.Suite, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, exitcode.Transient(fmt.Errorf("finding this program: %w", err))
	}
	return child.Process(self, profile), nil
}

func openStore() (*store.Store, error) {
	dir, err := store.DefaultDir()
	if err != nil {
		return nil, err
	}
	return store.Open(dir)
}
