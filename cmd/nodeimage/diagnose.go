package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/nodeimage/packer-plugin-nodeimage/e2e"
	"github.com/nodeimage/packer-plugin-nodeimage/e2e/bundle"
	"github.com/nodeimage/packer-plugin-nodeimage/e2e/cause"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
)

// diagnosis is what `diagnose --format json` prints.
type diagnosis struct {
	Bundle  string      `json:"bundle"`
	Verdict e2e.Verdict `json:"verdict,omitempty"`
	Image   string      `json:"image,omitempty"`
	Failed  []e2e.Spec  `json:"failed"`
	Causes  []diagnosed `json:"causes"`
	Files   []string    `json:"files"`
	Cut     []string    `json:"cut,omitempty"`
}

// diagnosed is a cause with what would tell it from others.
type diagnosed struct {
	e2e.Cause
	Lines     int    `json:"lines"`
	TellApart string `json:"tellApart,omitempty"`
}

func newDiagnose() *cobra.Command {
	format := newFormat("text", "json")
	cmd := &cobra.Command{
		Use:   "diagnose BUNDLE",
		Short: "Name the cause of a failed run from the archive that it left",
		Long: `Read BUNDLE, the bundle.tar.zst that a failed run of the suite left, and name the
causes that its evidence points to: how sure that is, the line that gives it
away, how to mend it, and what would tell it from other causes.

Nothing is unpacked, and neither a network nor the image is needed.`,
		Args: usageArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			b, err := bundle.Read(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			d, err := diagnose(args[0], b)
			if err != nil {
				return err
			}
			if format.value == "json" {
				enc := json.NewEncoder(cmd.OutOrStdout())
				enc.SetIndent("", "  ")
				enc.SetEscapeHTML(false)
				return enc.Encode(d)
			}
			return d.writeText(cmd.OutOrStdout())
		},
	}
	cmd.Flags().Var(format, "format", "how to print the diagnosis")
	return cmd
}

func diagnose(name string, b bundle.Bundle) (diagnosis, error) {
	d := diagnosis{Bundle: name, Failed: []e2e.Spec{}, Causes: []diagnosed{}, Files: b.Files, Cut: b.Cut}
	if b.Summary != nil {
		var r e2e.Result
		if err := json.Unmarshal(b.Summary, &r); err != nil {
			return d, exitcode.BadInput(fmt.Errorf("bundle %s: summary.json: %w", name, err))
		}
		d.Verdict, d.Image = r.Verdict, r.Image
		for _, s := range r.Specs {
			if s.State != "passed" && s.State != "skipped" && s.State != "blocked" {
				d.Failed = append(d.Failed, s)
			}
		}
	}
	for _, f := range cause.Diagnose(cause.Catalogue(), b.Lines) {
		d.Causes = append(d.Causes, diagnosed{
			Cause: e2e.Cause{ID: f.Cause.ID, Confidence: f.Confidence.String(), Title: f.Cause.Title, Evidence: f.Evidence, Fix: f.Cause.Fix, See: f.Cause.See},
			Lines: f.Count, TellApart: f.Cause.TellApart,
		})
	}
	return d, nil
}

func (d diagnosis) writeText(w io.Writer) error {
	var b strings.Builder
	if d.Verdict != "" {
		fmt.Fprintf(&b, "image %s: %s\n", printable(d.Image), printable(string(d.Verdict)))
	}
	for _, s := range d.Failed {
		fmt.Fprintf(&b, "failed: %s\n", printable(s.Name))
	}
	if len(d.Causes) == 0 {
		fmt.Fprintf(&b, "cause: none that is known; the bundle holds %d files for you to read:\n  %s\n", len(d.Files), printable(strings.Join(d.Files, "\n  ")))
	}
	for _, c := range d.Causes {
		fmt.Fprintf(&b, "\ncause: %s (%s): %s\n  evidence: [%s] %s", c.ID, c.Confidence, c.Title, c.Evidence.Source, printable(c.Evidence.Text))
		if c.Lines > 1 {
			fmt.Fprintf(&b, " (and %d more like it)", c.Lines-1)
		}
		fmt.Fprintf(&b, "\n  fix: %s\n", c.Fix)
		if len(c.See) > 0 {
			fmt.Fprintf(&b, "  see: %s\n", strings.Join(c.See, ", "))
		}
		if c.TellApart != "" {
			fmt.Fprintf(&b, "  to tell it apart: %s\n", c.TellApart)
		}
	}
	for _, cut := range d.Cut {
		fmt.Fprintf(&b, "\nnot read: %s\n", printable(cut))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// printable takes control characters out of what somebody else wrote: it goes
// to a terminal.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\n' && r != '\t' || r >= 0x7f && r < 0xa0 {
			return '�'
		}
		return r
	}, text)
}
