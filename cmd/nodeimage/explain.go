package main

import (
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/validate"
)

func newExplain() *cobra.Command {
	return &cobra.Command{
		Use:   "explain [ID]",
		Short: "Say what a check looks for, why, and how to mend what it finds",
		Long: `Say what a check of 'nodeimage validate' looks for, why, how to mend what it
finds, and the upstream threads. Without an ID, list all checks.`,
		Args: usageArgs(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			out := cmd.OutOrStdout()
			if len(args) == 0 {
				w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
				for _, c := range validate.Catalogue() {
					if _, err := fmt.Fprintf(w, "%s\t%s\t%s\n", c.ID, c.Severity, c.Title); err != nil {
						return err
					}
				}
				return w.Flush()
			}
			if c, ok := validate.Find(args[0]); ok {
				return c.Explain(out)
			}
			return exitcode.BadInput(fmt.Errorf("no check is called %q%s; 'nodeimage explain' lists them all", args[0], similar(args[0])))
		},
	}
}

// similar suggests checks that share a word with what was asked for.
func similar(id string) string {
	var names []string
	for _, c := range validate.Catalogue() {
		for word := range strings.SplitSeq(id, "-") {
			if len(word) > 3 && strings.Contains(c.ID, word) && !slices.Contains(names, c.ID) {
				names = append(names, c.ID)
			}
		}
	}
	if len(names) == 0 {
		return ""
	}
	return "; did you mean " + strings.Join(names[:min(len(names), 5)], ", ") + "?"
}
