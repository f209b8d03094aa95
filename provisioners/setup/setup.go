// Package setup holds what the four Packer provisioners share: their options,
// the way to their components, and how they report a plan's progress.
package setup

import (
	"context"
	"errors"
	"fmt"
	"time"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/component"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/store"
	"github.com/nodeimage/packer-plugin-nodeimage/profiles"
	"github.com/nodeimage/packer-plugin-nodeimage/provisioners/plan"
	"github.com/nodeimage/packer-plugin-nodeimage/provisioners/plan/executor"
)

// OpenResolver opens the way to a profile's components, which are kept in the
// store at dir (empty: the default one). logf gets progress lines.
type OpenResolver func(p *profiles.Profile, dir string, logf func(string, ...any)) (component.Resolver, error)

// Open is the OpenResolver of a real build.
func Open(p *profiles.Profile, dir string, logf func(string, ...any)) (component.Resolver, error) {
	if dir == "" {
		var err error
		if dir, err = store.DefaultDir(); err != nil {
			return nil, err
		}
	}
	s, err := store.Open(dir)
	if err != nil {
		return nil, err
	}
	return component.New(p, s, component.Options{Logf: logf})
}

// Resolver opens the way to components by open, or by Open if that is nil, and
// has it tell ui what takes long.
func Resolver(ui packersdk.Ui, open OpenResolver, p *profiles.Profile, dir string) (component.Resolver, error) {
	if open == nil {
		open = Open
	}
	return open(p, dir, func(format string, args ...any) { ui.Say(fmt.Sprintf(format, args...)) })
}

// Profile loads the profile that the option names. All its problems are
// reported, as bad input.
func Profile(name string) (*profiles.Profile, error) {
	if name == "" {
		return nil, exitcode.BadInput(errors.New("profile: it is required; name a built-in profile or a YAML file"))
	}
	p, err := profiles.Load(name)
	if err != nil {
		return nil, fmt.Errorf("profile: %w", err)
	}
	return p, nil
}

// Carry carries a plan out and says what it changed.
func Carry(ctx context.Context, ui packersdk.Ui, t *executor.Target, p plan.Plan) error {
	start := time.Now()
	t.Progress = ui.Say
	report, err := t.Carry(ctx, p)
	for _, s := range report.Steps {
		if s.Changed {
			ui.Say("changed: " + s.What)
		}
	}
	if err != nil {
		return err
	}
	ui.Say(fmt.Sprintf("plan %s: %d of %d steps changed something, %.1fs", p.Name, report.Changed(), len(report.Steps), time.Since(start).Seconds()))
	return nil
}
