package builder

import (
	"context"
	"os"
	"os/exec"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/run"
)

// CheckHost does what a build begins with, and nothing else: it tells whether
// this host can build at all. Prepare must have succeeded. The command line
// asks before it compiles components for minutes.
func (b *Builder) CheckHost(ctx context.Context) error {
	step := &stepCheckHost{
		build:  &build{config: &b.config, host: run.Host{}},
		needs:  storeNeeds,
		lookUp: exec.LookPath,
		euid:   os.Geteuid,
	}
	return step.check(ctx)
}
