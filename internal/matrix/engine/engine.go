// Package engine hands a plan to what already runs jobs on a team's machines:
// continuous-integration services and workflow engines. Each of them gets as
// many jobs as there are shards, and every job is the same command with another
// shard; what a job does is package matrix's business alone.
package engine

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/matrix"
)

// Options says what is handed over.
type Options struct {
	Matrix   *matrix.Matrix
	Expanded *matrix.Expanded
	// MatrixFile and TicketFile are where jobs find them, from their working
	// folder.
	MatrixFile, TicketFile string
	// Shards is how many jobs there are for each architecture, at most one a
	// cell; 0 for one an image, so that no image is built twice.
	Shards int
	// Retries is how often a job that ended with 75 is run again.
	Retries    int
	Kubernetes KubernetesOptions
}

// Job is one job, for engines that take parameters.
type Job struct {
	Shard string `json:"shard"` // K/N
	Arch  string `json:"arch"`
	Cells int    `json:"cells"` // how many it runs
}

// Engine is one of the ways to hand a plan over.
type Engine struct {
	Name string
	// Most is how many jobs it takes at one time in one list, 0 for any number.
	Most   int
	Render func(Options) (any, error)
}

// Engines are all that there are.
func Engines() []Engine {
	return []Engine{
		{"github", 256, github},
		{"gitlab", 200, gitlab},
		{"buildkite", 0, buildkite},
		{"argo", 0, argo},
		{"tekton", 256, tekton},
		{"kubernetes", 0, kubernetes},
	}
}

// Document returns what an engine is given, as JSON.
func Document(name string, o Options) ([]byte, error) {
	i := slices.IndexFunc(Engines(), func(e Engine) bool { return e.Name == name })
	if i < 0 {
		return nil, exitcode.BadInput(fmt.Errorf("no engine is called %q", name))
	}
	e := Engines()[i]
	if n := len(o.jobs()); e.Most > 0 && n > e.Most {
		return nil, exitcode.BadInput(fmt.Errorf("%s takes %d jobs at most and there are %d: give fewer --shards", name, e.Most, n))
	}
	for _, path := range []string{o.MatrixFile, o.TicketFile} {
		if !shellSafe(path) {
			return nil, exitcode.BadInput(fmt.Errorf("path %q: expected letters, digits, dots, hyphens and slashes alone, since it stands in the commands of jobs", path))
		}
	}
	value, err := e.Render(o)
	if err != nil {
		return nil, err
	}
	data, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("rendering for %s: %w", name, err)
	}
	return append(data, '\n'), nil
}

// parts are the cells to run by architecture, and how many shards they make.
func (o Options) parts() map[string]part {
	parts := map[string]part{}
	images := map[string]map[string]bool{}
	for _, c := range o.Expanded.Plan.Wanted() {
		p := parts[c.Arch]
		p.cells = append(p.cells, c)
		if images[c.Arch] == nil {
			images[c.Arch] = map[string]bool{}
		}
		images[c.Arch][c.ImageKey] = true
		p.shards = len(images[c.Arch])
		parts[c.Arch] = p
	}
	for arch, p := range parts {
		if o.Shards > 0 {
			p.shards = min(o.Shards, len(p.cells))
			parts[arch] = p
		}
	}
	return parts
}

type part struct {
	cells  []matrix.Cell
	shards int
}

// jobs lists all shards, empty if there is nothing to run.
func (o Options) jobs() []Job {
	jobs := []Job{}
	parts := o.parts()
	for _, arch := range slices.Sorted(maps.Keys(parts)) {
		p := parts[arch]
		for k := range p.shards {
			s := matrix.Shard{Index: k, Of: p.shards}
			jobs = append(jobs, Job{s.String(), arch, len(s.Cells(p.cells))})
		}
	}
	return jobs
}

// command is the line of a job that runs a shard and keeps its results in
// results/. The shard and the folder's name are for a shell to fill in.
func (o Options) command(shard, folder string) string {
	return fmt.Sprintf("nodeimage matrix run %s --ticket %s --shard %s --retries 0 --output results/%s", o.MatrixFile, o.TicketFile, shard, folder)
}

// shellSafe tells whether a path can stand in a job's command as it is.
func shellSafe(path string) bool {
	return path != "" && strings.Trim(path, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._/-") == "" && path[0] != '-'
}
