package component

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/foreign"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/run"
)

// probeTimeout is ample for printing a version on a busy machine.
const probeTimeout = time.Minute

// probe runs what was built. A program that does not say the pinned version
// fails the component.
func (w workspace) probe(ctx context.Context) error {
	for _, p := range w.recipe.Probes {
		if err := w.probeOne(ctx, p); err != nil {
			return err
		}
	}
	return nil
}

func (w workspace) probeOne(ctx context.Context, p probe) error {
	ctx, cancel := context.WithTimeoutCause(ctx, probeTimeout, fmt.Errorf("no answer after %s", probeTimeout))
	defer cancel()
	// An empty environment and home: what is asked for is in the program.
	argv := append([]string{"env", "-i", "HOME=" + w.tmp, filepath.Join(w.out, p.Name)}, p.Args...)
	result, err := w.maker.runner.Run(ctx, run.Cmd{Argv: argv, Dir: w.tmp})
	if w.tools.cross() && foreign.NotRun(err) {
		return exitcode.BadInput(fmt.Errorf("trying %s, which was compiled for %s: %s: %w", p.Name, w.tools.goArch, foreign.Remedy(w.tools.goArch), err))
	}
	if err != nil {
		return fmt.Errorf("trying %s: %w", p.Name, err)
	}
	said := result.Stdout + result.Stderr
	for _, want := range p.Want {
		if !strings.Contains(said, want) {
			return exitcode.With(exitcode.Failed, fmt.Errorf("the program %s was built wrong: `%s` printed %q, expected it to contain %q",
				p.Name, strings.Join(append([]string{p.Name}, p.Args...), " "), said, want))
		}
	}
	return nil
}
