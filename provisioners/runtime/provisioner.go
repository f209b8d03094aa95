package runtime

import (
	"context"

	"github.com/hashicorp/hcl/v2/hcldec"
	"github.com/hashicorp/packer-plugin-sdk/common"
	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"
	"github.com/hashicorp/packer-plugin-sdk/template/config"
	"github.com/hashicorp/packer-plugin-sdk/template/interpolate"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/profiles"
	"github.com/nodeimage/packer-plugin-nodeimage/provisioners/parts"
	"github.com/nodeimage/packer-plugin-nodeimage/provisioners/plan/executor"
	"github.com/nodeimage/packer-plugin-nodeimage/provisioners/setup"
)

//go:generate go tool packer-sdc mapstructure-to-hcl2 -type Config

// Config is what a template may say.
type Config struct {
	common.PackerConfig `mapstructure:",squash"`

	// The name of a built-in profile, or the path of a profile file.
	Profile string `mapstructure:"profile" required:"true"`
	// Where components are kept between builds. The default is the user's
	// cache directory.
	CacheDirectory string `mapstructure:"cache_directory"`

	ctx interpolate.Context
}

// Provisioner is the Packer provisioner nodeimage-runtime.
type Provisioner struct {
	// Open opens the way to components; nil stands for setup.Open.
	Open setup.OpenResolver

	config  Config
	profile *profiles.Profile
}

var _ packersdk.Provisioner = (*Provisioner)(nil)

// ConfigSpec implements packersdk.HCL2Speccer.
func (p *Provisioner) ConfigSpec() hcldec.ObjectSpec { return p.config.FlatMapstructure().HCL2Spec() }

// Prepare reads the options and the profile, and makes the plan once, so that
// a bad profile is told before anything is built.
func (p *Provisioner) Prepare(raws ...any) error {
	if err := config.Decode(&p.config, &config.DecodeOpts{
		PluginType: "nodeimage-runtime", Interpolate: true, InterpolateContext: &p.config.ctx,
	}, raws...); err != nil {
		return exitcode.BadInput(err)
	}
	profile, err := setup.Profile(p.config.Profile)
	if err != nil {
		return err
	}
	p.profile = profile
	_, err = Plan(profile, nil)
	return exitcode.BadInput(err)
}

// Provision carries the plan out.
func (p *Provisioner) Provision(ctx context.Context, ui packersdk.Ui, comm packersdk.Communicator, _ map[string]any) error {
	target, err := executor.New(ctx, comm)
	if err != nil {
		return err
	}
	resolver, err := setup.Resolver(ui, p.Open, p.profile, p.config.CacheDirectory)
	if err != nil {
		return err
	}
	set, err := parts.Resolve(ctx, resolver, false, Components(p.profile)...)
	if err != nil {
		return err
	}
	todo, err := Plan(p.profile, set)
	if err != nil {
		return err
	}
	if err := setup.Carry(ctx, ui, target, todo); err != nil {
		return err
	}
	if err := ReadBack(ctx, target, p.profile); err != nil {
		return err
	}
	ui.Say("containerd effective configuration is as the profile asks")
	return nil
}
