package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"

	"github.com/spf13/cobra"
	"gopkg.in/yaml.v3"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/pipeline"
)

func newPlan() *cobra.Command {
	format := newFormat("yaml", "json")
	cmd := &cobra.Command{
		Use:   "plan PROFILE",
		Short: "Print the effective profile and what would be done; changes nothing",
		Long: `Print the effective profile (after 'extends' and defaults), its digest, and the
plan of each provisioner: every file, link, unit and command, with the reason.

Needs neither root nor network and changes nothing. Component files are named
symbolically, since they need not have been built yet.`,
		Args: usageArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			description, err := pipeline.Describe(args[0])
			if err != nil {
				return err
			}
			data, err := json.MarshalIndent(description, "", "  ")
			if err != nil {
				return fmt.Errorf("rendering the plan: %w", err)
			}
			if format.value == "json" {
				_, err := fmt.Fprintln(cmd.OutOrStdout(), string(data))
				return err
			}
			return writeYAML(cmd.OutOrStdout(), data)
		},
	}
	cmd.Flags().Var(format, "format", "output format")
	return cmd
}

// writeYAML prints a JSON document as block-style YAML, keys in the same order.
func writeYAML(w io.Writer, document []byte) error {
	var node yaml.Node
	if err := yaml.Unmarshal(document, &node); err != nil {
		return fmt.Errorf("rendering YAML: %w", err)
	}
	blockStyle(&node)
	var out bytes.Buffer
	enc := yaml.NewEncoder(&out)
	enc.SetIndent(2)
	if err := enc.Encode(&node); err != nil {
		return fmt.Errorf("rendering YAML: %w", err)
	}
	_, err := w.Write(out.Bytes())
	return err
}

func blockStyle(n *yaml.Node) {
	// Quotes stay where YAML needs them: the encoder adds them to strings
	// that would read as something else, since the tag says !!str.
	n.Style = 0
	for _, child := range n.Content {
		blockStyle(child)
	}
}
