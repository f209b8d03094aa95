package workload

import (
	"context"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/run"
)

// Markers holds what containers wrote, by pod and container.
type Markers map[string]map[string][]string

// ReadMarkers reads all markers from the node.
func ReadMarkers(ctx context.Context, node run.Runner) (Markers, error) {
	// grep prints "<path>:<line>" and exits 1 when there is no line at all.
	res, err := node.Run(ctx, run.Cmd{Argv: []string{"grep", "--recursive", "--no-messages", "", MarkerRoot}})
	if err != nil && res.ExitCode != 1 {
		return nil, fmt.Errorf("reading the markers: %w", err)
	}
	return parseMarkers(res.Stdout), nil
}

func parseMarkers(text string) Markers {
	markers := Markers{}
	for l := range strings.Lines(text) {
		file, mark, ok := strings.Cut(strings.TrimSpace(l), ":")
		if !ok {
			continue
		}
		pod, container := path.Base(path.Dir(file)), path.Base(file)
		if markers[pod] == nil {
			markers[pod] = map[string][]string{}
		}
		markers[pod][container] = append(markers[pod][container], markWords(mark)...)
	}
	return markers
}

// markWords returns the words of a marker file in the order they were written.
func markWords(text string) []string {
	var words []string
	for l := range strings.Lines(text) {
		if _, word, ok := strings.Cut(strings.TrimSpace(l), " "); ok {
			words = append(words, word)
		}
	}
	return words
}

// NotStarted names the containers of the variants that have not said START. The
// kubelet calls a container running, and a pod ready, before its program has
// asked for SIGTERM; until then the first process of a PID namespace never
// sees the signal.
func (m Markers) NotStarted(variants []Variant) []string {
	var late []string
	for _, v := range variants {
		for _, name := range slices.Sorted(maps.Keys(v.Markers)) {
			if slices.Contains(v.Markers[name], "START") && !slices.Contains(m[v.Name][name], "START") {
				late = append(late, fmt.Sprintf("container %s of pod %s", name, v.Name))
			}
		}
	}
	return late
}

// Judge returns a sentence for each container of a variant whose marker is not
// what a clean end leaves.
func (m Markers) Judge(v Variant) []string {
	var problems []string
	for _, c := range v.Pod.Spec.Containers {
		want, ok := v.Markers[c.Name]
		if !ok {
			continue
		}
		got := m[v.Name][c.Name]
		if slices.Equal(got, want) {
			continue
		}
		why := ""
		if slices.Contains(want, "TERM") && !slices.Contains(got, "TERM") {
			why = ": SIGTERM did not arrive"
		}
		problems = append(problems, fmt.Sprintf("container %s of pod %s left the marker %q, expected %q%s", c.Name, v.Name, strings.Join(got, " "), strings.Join(want, " "), why))
	}
	return problems
}
