package engine

import (
	"maps"
	"slices"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
)

// gitlab is a child pipeline: a job for each shard, and one that collects. The
// plan's job hands the matrix file, the ticket and the plan on as artifacts.
func gitlab(o Options) (any, error) {
	pipeline := map[string]any{"stages": []string{"cells", "collect"}}
	parts := o.parts()
	needs := []map[string]any{}
	for _, arch := range slices.Sorted(maps.Keys(parts)) {
		var shards []string
		for _, j := range o.jobs() {
			if j.Arch == arch {
				shards = append(shards, j.Shard)
			}
		}
		job := "cells " + arch
		needs = append(needs, map[string]any{"job": job, "artifacts": true})
		pipeline[job] = map[string]any{
			"stage":    "cells",
			"tags":     []string{"nodeimage-" + arch},
			"parallel": map[string]any{"matrix": []any{map[string]any{"SHARD": shards}}},
			"needs":    []any{map[string]any{"pipeline": "$PARENT_PIPELINE_ID", "job": "plan"}},
			"script":   []string{o.command(`"$SHARD"`, arch+`-"${SHARD%/*}"`)},
			// A verdict is no failure of a machine: only 75 is tried again.
			"retry": map[string]any{"max": min(o.Retries, 2), "exit_codes": []int{exitcode.Infrastructure}},
			// Not the image of a cell without a verdict.
			"artifacts": map[string]any{"when": "always", "paths": []string{"results/"}, "exclude": []string{"results/*/images/**/*"}},
		}
	}
	if len(needs) == 0 {
		// A pipeline without a job is an error there.
		pipeline["nothing to run"] = map[string]any{"stage": "cells", "script": []string{"echo 'every cell has a signed verdict'"}}
		return pipeline, nil
	}
	needs = append(needs, map[string]any{"pipeline": "$PARENT_PIPELINE_ID", "job": "plan"})
	pipeline["collect"] = map[string]any{
		"stage": "collect", "when": "always", "needs": needs,
		"script":    []string{"nodeimage matrix collect results/* --plan plan.json --output report"},
		"artifacts": map[string]any{"when": "always", "paths": []string{"report/"}},
	}
	return pipeline, nil
}
