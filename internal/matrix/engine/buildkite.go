package engine

import (
	"maps"
	"slices"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
)

// buildkite is what `buildkite-agent pipeline upload` takes: one step of
// parallel jobs for each architecture, and one that collects whatever they
// came to.
func buildkite(o Options) (any, error) {
	steps := []any{}
	parts := o.parts()
	for _, arch := range slices.Sorted(maps.Keys(parts)) {
		steps = append(steps, map[string]any{
			"label": "cells " + arch, "key": "cells-" + arch,
			"agents":      map[string]any{"queue": "nodeimage-" + arch},
			"parallelism": parts[arch].shards,
			// Two dollars are one after the upload.
			"command": []string{
				"buildkite-agent artifact download '" + o.TicketFile + "' .",
				o.command("$$BUILDKITE_PARALLEL_JOB/$$BUILDKITE_PARALLEL_JOB_COUNT", arch+"-$$BUILDKITE_PARALLEL_JOB"),
			},
			// Not the image of a cell without a verdict.
			"artifact_paths": []string{"results/*/cells/**/*"},
			"retry":          map[string]any{"automatic": []any{map[string]any{"exit_status": exitcode.Infrastructure, "limit": o.Retries}}},
		})
	}
	if len(steps) > 0 {
		steps = append(steps, map[string]any{"wait": nil, "continue_on_failure": true}, map[string]any{
			"label": "collect", "key": "collect",
			"command": []string{
				"buildkite-agent artifact download 'results/**/*' .",
				"buildkite-agent artifact download plan.json .",
				"nodeimage matrix collect results/* --plan plan.json --output report",
			},
			"artifact_paths": []string{"report/**/*"},
		})
	}
	return map[string]any{"steps": steps}, nil
}
