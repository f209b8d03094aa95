// Package postprocessor is the Packer post-processor nodeimage-validate: it
// looks into the finished image and fails the build if a check fails.
package postprocessor

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/renameio/v2"
	"github.com/hashicorp/hcl/v2/hcldec"
	"github.com/hashicorp/packer-plugin-sdk/common"
	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"
	"github.com/hashicorp/packer-plugin-sdk/template/config"
	"github.com/hashicorp/packer-plugin-sdk/template/interpolate"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/profiles"
	"github.com/nodeimage/packer-plugin-nodeimage/validate"
	"github.com/nodeimage/packer-plugin-nodeimage/validate/target"
)

//go:generate go tool packer-sdc mapstructure-to-hcl2 -type Config

// Config is what a template may say.
type Config struct {
	common.PackerConfig `mapstructure:",squash"`

	// The name of a built-in profile, or the path of a profile file, that the
	// image must also agree with. Without one, the image is judged by itself.
	Profile string `mapstructure:"profile"`
	// A file that changes the severity of checks for a time; see
	// `nodeimage validate --policy`.
	Policy string `mapstructure:"policy"`
	// A file to write the report to, also when the build fails. Its name ends
	// in `.json`, `.sarif` or `.xml` (JUnit). With several images in one
	// artifact, the image's name is put before that ending.
	Report string `mapstructure:"report"`

	ctx interpolate.Context
}

// PostProcessor is the Packer post-processor nodeimage-validate.
type PostProcessor struct {
	config  Config
	profile *profiles.Profile
	policy  *validate.Policy
}

var _ packersdk.PostProcessor = (*PostProcessor)(nil)

// ConfigSpec implements packersdk.HCL2Speccer.
func (p *PostProcessor) ConfigSpec() hcldec.ObjectSpec { return p.config.FlatMapstructure().HCL2Spec() }

// Configure reads the options, the profile and the policy, so that a bad one
// is told before anything is built.
func (p *PostProcessor) Configure(raws ...any) error {
	if err := config.Decode(&p.config, &config.DecodeOpts{
		PluginType: "nodeimage-validate", Interpolate: true, InterpolateContext: &p.config.ctx,
	}, raws...); err != nil {
		return exitcode.BadInput(err)
	}
	var problems []error
	if p.config.Profile != "" {
		var err error
		if p.profile, err = profiles.Load(p.config.Profile); err != nil {
			problems = append(problems, fmt.Errorf("profile: %w", err))
		}
	}
	if p.config.Policy != "" {
		var err error
		if p.policy, err = validate.LoadPolicy(p.config.Policy, time.Now()); err != nil {
			problems = append(problems, fmt.Errorf("policy: %w", err))
		}
	}
	if p.config.Report != "" && writer(p.config.Report) == nil {
		problems = append(problems, fmt.Errorf("report: found %q, want a name that ends in .json, .sarif or .xml", p.config.Report))
	}
	return exitcode.BadInput(errors.Join(problems...))
}

// PostProcess looks into each image of the artifact and passes the artifact
// on unchanged. The error carries exit code 1 if a check failed.
func (p *PostProcessor) PostProcess(ctx context.Context, ui packersdk.Ui, artifact packersdk.Artifact) (packersdk.Artifact, bool, bool, error) {
	images := imagesOf(artifact)
	if len(images) == 0 {
		return artifact, true, true, exitcode.BadInput(fmt.Errorf("nodeimage-validate: %s has no image among its files (%s); want a .qcow2, .raw or .img",
			artifact.BuilderId(), strings.Join(artifact.Files(), ", ")))
	}
	var verdicts []error
	for _, image := range images {
		verdicts = append(verdicts, p.look(ctx, ui, image, len(images) > 1))
	}
	return artifact, true, true, errors.Join(verdicts...)
}

// look judges one image.
func (p *PostProcessor) look(ctx context.Context, ui packersdk.Ui, image string, several bool) (err error) {
	t, err := target.Open(ctx, image)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.Close()) }()
	report, err := validate.Run(ctx, t, p.profile, p.policy)
	if err != nil {
		return err
	}
	if strings.HasSuffix(p.config.Report, ".json") {
		if err := report.Identify(ctx, t); err != nil {
			return err
		}
	}
	var text strings.Builder
	if err := report.WriteText(&text, validate.TextOptions{}); err != nil {
		return err
	}
	for line := range strings.Lines(text.String()) {
		ui.Say(strings.TrimRight(line, "\n"))
	}
	if p.config.Report != "" {
		if err := write(report, p.config.Report, image, several); err != nil {
			return exitcode.Transient(fmt.Errorf("writing the report: %w", err))
		}
	}
	return report.Err()
}

// write puts a report into its file, whole or not at all.
func write(report validate.Report, path, image string, several bool) error {
	if several {
		ext := filepath.Ext(path)
		path = strings.TrimSuffix(path, ext) + "." + filepath.Base(image) + ext
	}
	var out strings.Builder
	if err := writer(path)(report, &out); err != nil {
		return err
	}
	return renameio.WriteFile(path, []byte(out.String()), 0o644)
}

// writer chooses a report's format by the end of its file's name, nil if that
// is none.
func writer(path string) func(validate.Report, *strings.Builder) error {
	switch filepath.Ext(path) {
	case ".json":
		return func(r validate.Report, w *strings.Builder) error { return r.WriteJSON(w) }
	case ".sarif":
		return func(r validate.Report, w *strings.Builder) error { return r.WriteSARIF(w) }
	case ".xml":
		return func(r validate.Report, w *strings.Builder) error { return r.WriteJUnit(w) }
	}
	return nil
}

// imagesOf picks the disk images among an artifact's files.
func imagesOf(a packersdk.Artifact) []string {
	var images []string
	for _, f := range a.Files() {
		switch strings.ToLower(filepath.Ext(f)) {
		case ".qcow2", ".raw", ".img":
			images = append(images, f)
		}
	}
	return images
}
