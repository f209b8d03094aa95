package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/matrix"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/page"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/reportfile"
)

func newMatrixCollect() *cobra.Command {
	var plan, previous, output string
	format := newFormat("text", "json")
	cmd := &cobra.Command{
		Use:   "collect RESULTS... --plan PLAN.JSON -o DIR",
		Short: "Merge the results of any number of machines and hold them against the plan",
		Long: `Merge folders of results, of any number of machines, and hold them against the
plan: every planned cell must have a verdict or a signed one from before, and it
must be the expected one. Of several runs of a cell the latest with a verdict
counts. DIR gets matrix.json, and for people index.html, a page that needs no
network, summary.md and badge.svg.

Exit codes: 0 all is as planned; 1 a cell is red that must be green, is known to
be bad and green or red for another cause, or is called bad by an entry that has
ended; 2 bad input; 75 all that is wrong is that cells are missing or have no
verdict.`,
		Args: usageArgs(cobra.ArbitraryArgs),
		RunE: func(cmd *cobra.Command, args []string) error {
			if plan == "" {
				return exitcode.BadInput(errors.New("--plan is missing: expected plan.json of 'nodeimage matrix plan --save'"))
			}
			o := matrix.CollectOptions{Folders: args, OutputDir: output, Now: time.Now()}
			var problems []error
			var err error
			o.Plan, err = matrix.ReadPlan(plan)
			problems = append(problems, err)
			if previous != "" {
				before, err := matrix.ReadCollected(previous)
				problems = append(problems, err)
				o.Previous = &before
			}
			if err := errors.Join(problems...); err != nil {
				return exitcode.BadInput(err)
			}
			collected, err := matrix.Collect(cmd.Context(), o)
			if err != nil {
				return err
			}
			if err := os.MkdirAll(output, 0o755); err != nil {
				return exitcode.BadInput(fmt.Errorf("making the output directory: %w", err))
			}
			if err := reportfile.Save(output, map[string]func(io.Writer) error{matrix.CollectedFile: collected.WriteJSON}); err != nil {
				return err
			}
			if err := page.Save(output, collected); err != nil {
				return err
			}
			write := collected.WriteText
			if format.value == "json" {
				write = collected.WriteJSON
			}
			if err := write(cmd.OutOrStdout()); err != nil {
				return fmt.Errorf("printing what was collected: %w", err)
			}
			return collected.Err()
		},
	}
	cmd.Flags().StringVar(&plan, "plan", "", "plan.json of 'nodeimage matrix plan --save'")
	cmd.Flags().StringVar(&previous, "previous", "", "matrix.json of an earlier time, whose history goes on")
	cmd.Flags().StringVarP(&output, "output", "o", "matrix-report", "directory for matrix.json and the page")
	cmd.Flags().Var(format, "format", "how to print it")
	return cmd
}
