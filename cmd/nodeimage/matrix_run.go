package main

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/nodeimage/packer-plugin-nodeimage/e2e/machine"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/attest"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/console"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/matrix"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/run"
	"github.com/nodeimage/packer-plugin-nodeimage/profiles"
)

// stageGrace is what a stage gets to end its machines after an interrupt.
const stageGrace = 30 * time.Second

// matrixRun is what `matrix run` was asked for.
type matrixRun struct {
	expansion
	cells  []string
	shard  string
	all    bool
	runner matrix.Runner
}

func newMatrixRun() *cobra.Command {
	var r matrixRun
	accel := newFormat(string(machine.AccelAuto), string(machine.AccelKVM), string(machine.AccelTCG))
	cmd := &cobra.Command{
		Use:   "run MATRIX.YAML (--cell ID | --shard K/N | --all) -o DIR",
		Short: "Run cells of a matrix on this machine",
		Long: `Build, validate, boot and attest cells of a matrix on this machine, as many at a
time as --cpus and --memory allow. Cells of one image share its build. Each cell
leaves a folder in DIR/cells with its result and all its evidence; a cell that
has a verdict there is not run again, so an interrupted run goes on.

Only a stage that told nothing (exit code 75) is tried again, and every such
failure is counted in the result.

Shard K of N, from 0 to N-1, is an equal part of the cells that are wanted and
are for this machine's architecture.

Exit codes: 0 all cells are as planned; 1 one is not; 2 bad input; 75 nothing can
be said about one.`,
		Args: usageArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			r.runner.Accel = accel.value
			return r.run(cmd, args[0])
		},
	}
	r.add(cmd)
	flags := cmd.Flags()
	flags.StringArrayVar(&r.cells, "cell", nil, "ID of a cell, or its beginning; may be given several times")
	flags.StringVar(&r.shard, "shard", "", "K/N: part K of N, from 0")
	flags.BoolVar(&r.all, "all", false, "every cell that is wanted")
	flags.StringVarP(&r.runner.OutputDir, "output", "o", "matrix-results", "folder of results")
	flags.StringVar(&r.runner.Key, "key", "", "private key that signs the verdicts: a file, or env://NAME (default: nothing is signed)")
	flags.IntVar(&r.runner.Retries, "retries", 2, "how often a stage that told nothing is tried again")
	flags.DurationVar(&r.runner.Backoff, "backoff", 10*time.Second, "how long before that, and twice as long the next time")
	flags.IntVar(&r.runner.Budget.CPUs, "cpus", 0, "CPUs that all cells together may take (default: all)")
	flags.IntVar(&r.runner.Budget.MemoryMiB, "memory", 0, "memory in MiB that all cells together may take (default: what is available)")
	flags.IntVar(&r.runner.Machine.CPUs, "vm-cpus", 2, "CPUs of each virtual machine")
	flags.IntVar(&r.runner.Machine.MemoryMiB, "vm-memory", 4096, "memory of each virtual machine in MiB")
	flags.BoolVar(&r.runner.KeepImages, "keep-images", false, "keep the images, in DIR/images")
	flags.BoolVar(&r.runner.Again, "again", false, "also run cells that have a verdict in DIR")
	flags.Var(accel, "accel", "accelerator; auto is KVM where it is proven to run a guest")
	return cmd
}

// check reports everything that is wrong with the request at once.
func (r *matrixRun) check() error {
	var problems []error
	given := 0
	for _, is := range []bool{len(r.cells) > 0, r.shard != "", r.all} {
		if is {
			given++
		}
	}
	if given != 1 {
		problems = append(problems, errors.New("say which cells: one of --cell, --shard and --all"))
	}
	if r.shard != "" {
		_, err := matrix.ParseShard(r.shard)
		problems = append(problems, err)
	}
	if r.runner.Retries < 0 || r.runner.Budget.CPUs < 0 || r.runner.Budget.MemoryMiB < 0 || r.runner.Machine.CPUs < 1 || r.runner.Machine.MemoryMiB < 1 || r.runner.Backoff < 0 {
		problems = append(problems, errors.New("--retries, --backoff, --cpus, --memory, --vm-cpus and --vm-memory: expected no negative numbers, and a machine with a CPU and memory"))
	}
	if r.runner.Key != "" {
		// Known now rather than after the first boot.
		_, err := attest.LoadPrivateKey(r.runner.Key)
		problems = append(problems, err)
	}
	return exitcode.BadInput(errors.Join(problems...))
}

// choose returns the cells that were asked for.
func (r *matrixRun) choose(p matrix.Plan, wanted []matrix.Cell) ([]matrix.Cell, error) {
	if len(r.cells) > 0 {
		var cells []matrix.Cell
		var problems []error
		for _, prefix := range r.cells {
			c, err := p.Find(prefix)
			if err == nil && slices.ContainsFunc(cells, func(x matrix.Cell) bool { return x.ID == c.ID }) {
				err = fmt.Errorf("the cell %q was named twice", prefix)
			}
			problems = append(problems, err)
			cells = append(cells, c)
		}
		return cells, exitcode.BadInput(errors.Join(problems...))
	}
	cells := slices.DeleteFunc(slices.Clone(wanted), func(c matrix.Cell) bool { return c.Arch != runtime.GOARCH })
	if r.all {
		return cells, nil
	}
	s, err := matrix.ParseShard(r.shard)
	if err != nil {
		return nil, err
	}
	return s.Cells(cells), nil
}

func (r *matrixRun) run(cmd *cobra.Command, path string) error {
	if err := r.check(); err != nil {
		return err
	}
	_, e, wanted, err := r.expand(cmd.Context(), path)
	if err != nil {
		return err
	}
	cells, err := r.choose(e.Plan, wanted)
	if err != nil {
		return err
	}
	host, err := matrix.HostBudget()
	if err != nil {
		return exitcode.Transient(err)
	}
	if r.runner.Budget.CPUs == 0 {
		r.runner.Budget.CPUs = host.CPUs
	}
	if r.runner.Budget.MemoryMiB == 0 {
		r.runner.Budget.MemoryMiB = host.MemoryMiB
	}
	if r.runner.Program, err = os.Executable(); err != nil {
		return exitcode.Transient(fmt.Errorf("finding this program: %w", err))
	}
	r.runner.Exec, r.runner.Tool, r.runner.Now = run.Host{Grace: stageGrace}, e.Plan.Tool, time.Now
	r.runner.Say = console.New(cmd.ErrOrStderr()).Sayf
	results, err := r.runner.Run(cmd.Context(), e, cells)
	if err != nil {
		return err
	}
	today := profiles.Date(time.Now().UTC().Format(time.DateOnly))
	for _, x := range results {
		outcome, _ := matrix.Judge(x, today)
		if _, err := fmt.Fprintf(cmd.OutOrStdout(), "%-12s %.12s  %s\n", outcome, x.Cell.ID, x.Cell.Name); err != nil {
			return err
		}
	}
	return matrix.Err(results, today)
}
