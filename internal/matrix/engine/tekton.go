package engine

import "fmt"

// tekton is the matrix of a task of a Pipeline, with the parameters shard and
// arch.
func tekton(o Options) (any, error) {
	include := []any{}
	for i, j := range o.jobs() {
		include = append(include, map[string]any{
			"name":   fmt.Sprintf("shard-%d", i),
			"params": []any{map[string]any{"name": "shard", "value": j.Shard}, map[string]any{"name": "arch", "value": j.Arch}},
		})
	}
	return map[string]any{"matrix": map[string]any{"include": include}}, nil
}
