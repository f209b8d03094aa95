package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/component"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/run"
	"github.com/nodeimage/packer-plugin-nodeimage/profiles"
)

// VerifyNames asks the installed kubeadm for the images it wants, and compares
// them with those that were preloaded. A difference, told name by name, is a
// verdict (exit code 1): the node would have to pull.
func VerifyNames(ctx context.Context, machine run.Runner, p *profiles.Profile, images []component.Image) error {
	version := "v" + p.Components[kubernetesComponent].Version
	res, err := machine.Run(ctx, run.Cmd{Argv: []string{binDir + "/kubeadm", "config", "images", "list",
		"--kubernetes-version", version, "--image-repository", p.Kubernetes.ImageRepository}})
	if err != nil {
		if run.SaidNo(err) && ctx.Err() == nil {
			return exitcode.With(exitcode.Failed, fmt.Errorf("the installed kubeadm cannot name its images: %w", err))
		}
		return fmt.Errorf("asking kubeadm for its images: %w", err)
	}
	wanted := strings.Fields(res.Stdout)
	if len(wanted) == 0 {
		return exitcode.With(exitcode.Failed, errors.New("the installed kubeadm names no image at all"))
	}
	var have []string
	for _, image := range images {
		have = append(have, image.Name)
	}
	var problems []error
	for _, name := range wanted {
		if !slices.Contains(have, name) {
			problems = append(problems, fmt.Errorf("kubeadm %s wants image %s, which the profile does not preload; correct the component's version and image", version, name))
		}
	}
	for _, name := range have {
		if !slices.Contains(wanted, name) {
			problems = append(problems, fmt.Errorf("image %s is preloaded, but kubeadm %s does not ask for it", name, version))
		}
	}
	return exitcode.With(exitcode.Failed, errors.Join(problems...))
}
