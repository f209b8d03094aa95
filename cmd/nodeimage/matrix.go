package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/google/renameio/v2"
	"github.com/spf13/cobra"

	"github.com/nodeimage/packer-plugin-nodeimage/builder/bootstrap"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/attest"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/console"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/fetch"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/matrix"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/matrix/engine"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/version"
	"github.com/nodeimage/packer-plugin-nodeimage/profiles"
)

func newMatrix() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "matrix",
		Short: "Plan, run and collect many combinations of profiles, versions and firmwares",
		Args:  usageArgs(cobra.NoArgs),
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newMatrixPlan(), newMatrixRun(), newMatrixCollect())
	return cmd
}

// Files that `matrix plan --save` writes.
const (
	planFile   = "plan.json"
	ticketFile = "ticket.json"
)

// expansion makes a plan, for the verbs that need one.
type expansion struct {
	offline bool
	ticket  string
}

func (x *expansion) add(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&x.offline, "offline", false, "leave the state of the archives out of the cells' IDs instead of asking them")
	cmd.Flags().StringVar(&x.ticket, "ticket", "", "ticket of a plan that was made elsewhere: the same cells are planned, or nothing is done")
}

// expand returns the matrix, its plan and the cells that are wanted.
func (x expansion) expand(ctx context.Context, path string) (*matrix.Matrix, *matrix.Expanded, []matrix.Cell, error) {
	m, err := matrix.Load(path)
	if err != nil {
		return nil, nil, nil, err
	}
	tool, err := thisTool()
	if err != nil {
		return nil, nil, nil, err
	}
	bases := archiveState
	if x.offline {
		bases = matrix.NoBases
	}
	var ticket matrix.Ticket
	if x.ticket != "" {
		if ticket, err = matrix.ReadTicket(x.ticket); err != nil {
			return nil, nil, nil, err
		}
		bases = func(_ context.Context, p *profiles.Profile) (string, error) { return ticket.Bases[p.Name], nil }
	}
	e, err := m.Expand(ctx, tool, bases)
	if err != nil {
		return nil, nil, nil, err
	}
	cells := e.Plan.Cells
	if x.ticket != "" {
		cells, err = ticket.Check(e.Plan)
	}
	return m, e, cells, err
}

// archiveState is a digest over the signed indexes that a profile's packages
// come from.
func archiveState(ctx context.Context, p *profiles.Profile) (string, error) {
	mirrors, err := fetch.MirrorsFromEnvironment()
	if err != nil {
		return "", err
	}
	releases, err := bootstrap.FetchReleases(ctx, p.Archive, mirrors)
	if err != nil {
		return "", err
	}
	data, err := json.Marshal(releases)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:]), nil
}

// thisTool is this very program.
func thisTool() (t matrix.Tool, err error) {
	f, err := os.Open("/proc/self/exe")
	if err != nil {
		return t, exitcode.Transient(fmt.Errorf("reading this program: %w", err))
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return t, exitcode.Transient(fmt.Errorf("reading this program: %w", err))
	}
	return matrix.Tool{Version: version.String(), SHA256: hex.EncodeToString(h.Sum(nil))}, nil
}

// matrixPlan is what `matrix plan` was asked for.
type matrixPlan struct {
	expansion
	attestations string
	keys         []string
	maxAge       time.Duration
	save         string
	options      engine.Options
}

func newMatrixPlan() *cobra.Command {
	var p matrixPlan
	names := []string{"text", "json", "ticket"}
	for _, e := range engine.Engines() {
		names = append(names, e.Name)
	}
	format := newFormat(names...)
	cmd := &cobra.Command{
		Use:   "plan MATRIX.YAML",
		Short: "List the cells of a matrix, or hand them to an engine",
		Long: `List the cells of a matrix, each with an ID that stands for all that its verdict
depends on: the effective profile with its pins, the state of the archive, how it
is judged, and this program. With --attestations, cells whose ID has a valid
signed verdict are not run again.

With -o the jobs are printed as an engine takes them: github (strategy.matrix),
gitlab (a child pipeline), buildkite (a pipeline upload), argo (withParam), tekton
(a task's matrix) and kubernetes (Indexed Jobs). A job needs MATRIX.YAML and the
ticket: DIR/ticket.json of --save, which also writes DIR/plan.json for
'nodeimage matrix collect'.`,
		Args: usageArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error { return p.run(cmd, args[0], format.value) },
	}
	p.add(cmd)
	flags := cmd.Flags()
	flags.VarP(format, "output", "o", "what to print")
	flags.StringVar(&p.attestations, "attestations", "", "folder of attestations, or of results with them: cells with a valid verdict are not run again")
	flags.StringArrayVar(&p.keys, "key", nil, "public key whose verdicts count; may be given several times")
	flags.DurationVar(&p.maxAge, "max-age", 0, "how old a verdict may be (default: any age, since the ID has all that it depends on)")
	flags.StringVar(&p.save, "save", "", "directory for plan.json and ticket.json")
	flags.IntVar(&p.options.Shards, "shards", 0, "jobs for each architecture (default: one an image)")
	flags.IntVar(&p.options.Retries, "retries", 2, "how often an engine runs a job again whose machine failed")
	flags.StringVar(&p.options.TicketFile, "ticket-path", ticketFile, "where jobs find the ticket")
	flags.StringVar(&p.options.Kubernetes.Image, "image", "", "kubernetes: container image of the pods")
	flags.StringVar(&p.options.Kubernetes.Namespace, "namespace", "", "kubernetes: namespace of the jobs")
	flags.StringVar(&p.options.Kubernetes.Claim, "results-claim", "", "kubernetes: PersistentVolumeClaim that gets the results")
	flags.IntVar(&p.options.Kubernetes.Parallelism, "parallelism", 4, "kubernetes: how many pods run at one time")
	flags.StringVar(&p.options.Kubernetes.KVM, "kvm-resource", "devices.kubevirt.io/kvm", "kubernetes: resource that gives /dev/kvm out, empty for none")
	return cmd
}

func (p *matrixPlan) run(cmd *cobra.Command, path, format string) error {
	m, e, _, err := p.expand(cmd.Context(), path)
	if err != nil {
		return err
	}
	ui := console.New(cmd.ErrOrStderr())
	if p.attestations != "" {
		if err := p.reuse(cmd.Context(), ui, &e.Plan); err != nil {
			return err
		}
	}
	today := profiles.Date(time.Now().UTC().Format(time.DateOnly))
	for _, c := range e.Plan.Cells {
		if c.KnownBad != nil && c.KnownBad.Expired(today) {
			ui.Errorf("%s is known to be bad only until %s (%s): collect will fail", c.Name, c.KnownBad.Expires, c.KnownBad.Tracker)
		}
	}
	plan, err := json.MarshalIndent(e.Plan, "", " ")
	if err != nil {
		return fmt.Errorf("rendering the plan: %w", err)
	}
	plan = append(plan, '\n')
	var ticket bytes.Buffer
	if err := e.Ticket().WriteJSON(&ticket); err != nil {
		return fmt.Errorf("rendering the ticket: %w", err)
	}
	var out bytes.Buffer
	switch format {
	case "text":
		err = writePlanText(&out, e.Plan)
	case "json":
		out.Write(plan)
	case "ticket":
		out.Write(ticket.Bytes())
	default:
		p.options.Matrix, p.options.Expanded, p.options.MatrixFile = m, e, path
		err = p.render(&out, format)
	}
	if err != nil {
		return err
	}
	if p.save != "" {
		if err := os.MkdirAll(p.save, 0o755); err != nil {
			return exitcode.BadInput(fmt.Errorf("making the directory for the plan: %w", err))
		}
		for name, data := range map[string][]byte{planFile: plan, ticketFile: ticket.Bytes()} {
			if err := renameio.WriteFile(filepath.Join(p.save, name), data, 0o644); err != nil {
				return exitcode.Transient(fmt.Errorf("writing the plan: %w", err))
			}
		}
	}
	_, err = cmd.OutOrStdout().Write(out.Bytes())
	return err
}

// render prints for an engine: JSON where it wants a value, YAML where a file.
func (p *matrixPlan) render(w io.Writer, name string) error {
	data, err := engine.Document(name, p.options)
	if err != nil {
		return err
	}
	switch name {
	case "github", "argo":
		var line bytes.Buffer
		if err := json.Compact(&line, data); err != nil {
			return err
		}
		_, err = fmt.Fprintln(w, line.String())
		return err
	default:
		return writeYAML(w, data)
	}
}

func (p *matrixPlan) reuse(ctx context.Context, ui *console.UI, plan *matrix.Plan) error {
	o := matrix.ReuseOptions{Dir: p.attestations, MaxAge: p.maxAge, Now: time.Now()}
	var problems []error
	for _, name := range p.keys {
		key, err := attest.LoadPublicKey(name)
		problems = append(problems, err)
		o.Keys = append(o.Keys, key)
	}
	if err := errors.Join(problems...); err != nil {
		return exitcode.BadInput(err)
	}
	leftOut, err := plan.Reuse(ctx, o)
	if err == nil && leftOut > 0 {
		ui.Sayf("%d test results were left out: damaged, unclear, or signed by no key that was given", leftOut)
	}
	return err
}

func writePlanText(w io.Writer, p matrix.Plan) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	var b strings.Builder
	b.WriteString("ID\tCELL\tEXPECT\tRUN\n")
	run := 0
	for _, c := range p.Cells {
		expect, todo := "green", "yes"
		if c.KnownBad != nil {
			expect = "red: " + c.KnownBad.Cause + " until " + string(c.KnownBad.Expires)
		}
		if c.Attested != nil {
			todo = "no, " + c.Attested.File
		} else {
			run++
		}
		fmt.Fprintf(&b, "%.12s\t%s\t%s\t%s\n", c.ID, c.Name, expect, todo)
	}
	if _, err := io.WriteString(t, b.String()); err != nil {
		return err
	}
	if err := t.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "%d cells, %d to run, plan %s\n", len(p.Cells), run, p.SHA256)
	return err
}
