// Package builder is the Packer builder `nodeimage`: it bootstraps the system
// that a profile describes, lets provisioners work on it in a chroot, and makes
// a disk image of it that boots by its own loader under UEFI and BIOS.
package builder

import (
	"context"
	"errors"
	"fmt"

	"github.com/hashicorp/hcl/v2/hcldec"
	"github.com/hashicorp/packer-plugin-sdk/multistep"
	"github.com/hashicorp/packer-plugin-sdk/multistep/commonsteps"
	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/run"
	"github.com/nodeimage/packer-plugin-nodeimage/profiles/lock"
)

// BuilderID is the artifact's BuilderId, unique among all Packer plugins.
const BuilderID = "nodeimage.nodeimage"

// Builder implements packersdk.Builder. The zero value is ready for Prepare.
type Builder struct {
	config Config
}

var _ packersdk.Builder = (*Builder)(nil)

// ConfigSpec implements packersdk.HCL2Speccer.
func (b *Builder) ConfigSpec() hcldec.ObjectSpec { return b.config.FlatMapstructure().HCL2Spec() }

// Prepare implements packersdk.Builder. It needs neither root nor network. The
// variables are available to provisioners as build.ProfileName and so on.
// Errors are bad input.
func (b *Builder) Prepare(raws ...any) (variables, warnings []string, err error) {
	b.config = Config{}
	if err := b.config.prepare(raws...); err != nil {
		return nil, nil, exitcode.BadInput(err)
	}
	return generatedKeys(), nil, nil
}

// UseLock makes a prepared build install what the lock says and nothing else, or
// with nil what the archive has now. Offline, what is not in the store is an error.
func (b *Builder) UseLock(l *lock.Lock, offline bool) { b.config.lock, b.config.offline = l, offline }

// UseMirrors has a prepared build ask these mirrors, HOST=URL, beside those of the
// environment, over which they win.
func (b *Builder) UseMirrors(settings []string) { b.config.mirrors = settings }

// Run implements packersdk.Builder. Its errors carry an exit code (package
// exitcode).
func (b *Builder) Run(ctx context.Context, ui packersdk.Ui, hook packersdk.Hook) (packersdk.Artifact, error) {
	if b.config.profile == nil {
		return nil, exitcode.BadInput(errors.New("the builder was not prepared"))
	}
	bd := &build{config: &b.config, ui: ui, host: run.Host{}}
	return bd.run(ctx, hook, bd.steps())
}

func (b *build) run(ctx context.Context, hook packersdk.Hook, steps []multistep.Step) (packersdk.Artifact, error) {
	state := new(multistep.BasicStateBag)
	state.Put("hook", hook)
	state.Put("ui", b.ui)

	commonsteps.NewRunner(steps, b.config.PackerConfig, b.ui).Run(ctx, state)

	if err := stateError(state); err != nil {
		return nil, err
	}
	if b.artifact == nil {
		if err := ctx.Err(); err != nil {
			return nil, exitcode.Transient(fmt.Errorf("the build was cancelled: %w", err))
		}
		return nil, exitcode.Transient(errors.New("the build was halted before there was an image"))
	}
	b.artifact.generated, _ = state.Get("generated_data").(map[string]any)
	return b.artifact, nil
}
