// Package kubernetes is the Packer provisioner nodeimage-kubernetes: kubeadm,
// kubelet, kubectl, their units, and every container image that kubeadm asks
// for, unpacked in containerd's store, so that a first boot pulls nothing.
package kubernetes

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/manifest"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/preload"
	"github.com/nodeimage/packer-plugin-nodeimage/profiles"
	"github.com/nodeimage/packer-plugin-nodeimage/provisioners/parts"
	"github.com/nodeimage/packer-plugin-nodeimage/provisioners/plan"
	"github.com/nodeimage/packer-plugin-nodeimage/provisioners/runtime"
)

// Name is the plan's and the manifest fragment's.
const Name = "kubernetes"

// kubernetesComponent is the one that holds kubeadm, kubelet and kubectl.
const kubernetesComponent = "kubernetes"

// crictlComponent is there when the profile wants it.
const crictlComponent = "crictl"

const binDir = "/usr/bin" // where upstream's packages and kubeadm's drop-in have them

// Components that the plan places, as files or inside container images: all
// but the runtime's.
func Components(p *profiles.Profile) []string {
	return slices.DeleteFunc(slices.Sorted(maps.Keys(p.Components)), func(name string) bool {
		return slices.Contains(runtime.Components(p), name)
	})
}

// Plan turns the profile into steps. With a nil set it names component files
// and images; it then needs neither network nor root.
func Plan(p *profiles.Profile, set *parts.Set) (plan.Plan, error) {
	made := plan.Plan{Name: Name}
	placed := map[string]string{}
	binaries := [][3]string{
		{kubernetesComponent, "kubeadm", "makes the node a member of a cluster"},
		{kubernetesComponent, "kubelet", "runs the pods"},
		{kubernetesComponent, "kubectl", "lets an administrator look around"},
	}
	if _, wanted := p.Components[crictlComponent]; wanted {
		binaries = append(binaries, [3]string{crictlComponent, "crictl", "lets an administrator look at containers when the API server is away"})
	}
	for _, b := range binaries {
		placed[b[1]] = binDir + "/" + b[1]
		f, err := set.File(p, b[0], b[1], placed[b[1]])
		if err != nil {
			return plan.Plan{}, err
		}
		made.Steps = append(made.Steps, plan.Step{Why: b[2], File: f})
	}
	made.Steps = append(made.Steps, kubeletSteps(p)...)
	if _, wanted := p.Components[crictlComponent]; wanted {
		made.Steps = append(made.Steps, plan.Step{Why: "crictl tries every runtime's socket in turn unless told which", File: &plan.File{
			Path: "/etc/crictl.yaml", Mode: 0o644, Content: "runtime-endpoint: " + runtime.Endpoint + "\nimage-endpoint: " + runtime.Endpoint + "\n"}})
	}
	preload, err := preloadStep(p, set)
	if err != nil {
		return plan.Plan{}, err
	}
	var fragment *manifest.Fragment
	if set != nil {
		fragment = &manifest.Fragment{}
		for _, name := range Components(p) {
			files := placed
			if name != kubernetesComponent && name != crictlComponent {
				files = nil
			}
			fragment.Components = append(fragment.Components, set.Record(name, files))
		}
		for _, image := range set.Images {
			fragment.Containers = append(fragment.Containers, manifest.Container{Name: image.Name, Digest: image.Digest, Size: image.Size})
		}
	}
	last, err := parts.Fragment(Name, fragment)
	if err != nil {
		return plan.Plan{}, err
	}
	made.Steps = append(made.Steps, preload, last)
	return made, made.Validate()
}

// ImageNames are the names that kubeadm of this profile asks for, in the
// order that `kubeadm config images list` prints them.
func ImageNames(p *profiles.Profile) []string {
	repository, version := p.Kubernetes.ImageRepository, "v"+p.Components[kubernetesComponent].Version
	var names []string
	for _, name := range []string{"kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy"} {
		names = append(names, repository+"/"+name+":"+version)
	}
	for _, name := range []string{"coredns", "pause", "etcd"} {
		names = append(names, repository+"/"+p.Components[name].Image)
	}
	return names
}

// preloadStep keeps the compressed layers beside the unpacked ones. Without
// them (CRI's discard_unpacked_layers) containerd, once restarted, does not
// list an image at all: it wants all of its content there.
func preloadStep(p *profiles.Profile, set *parts.Set) (plan.Step, error) {
	cmd := &plan.Command{}
	var wants []string
	if set == nil {
		for i, name := range ImageNames(p) {
			cmd.Stage = append(cmd.Stage, plan.File{Path: strconv.Itoa(i+1) + ".tar", Mode: 0o600, Component: name})
			wants = append(wants, name)
		}
	} else {
		for i, image := range set.Images {
			cmd.Stage = append(cmd.Stage, plan.File{Path: strconv.Itoa(i+1) + ".tar", Mode: 0o600, Component: image.Name, Source: image.Path})
			if !strings.HasPrefix(image.Digest, "sha256:") {
				return plan.Step{}, fmt.Errorf("image %s has digest %q, want sha256:…", image.Name, image.Digest)
			}
			wants = append(wants, image.Name+"="+image.Digest)
		}
	}
	cmd.Argv, cmd.Unless = preload.Import(wants), preload.Check(wants)
	return plan.Step{Why: "a first boot pulls and unpacks nothing, and the kubelet never collects these", Command: cmd}, nil
}
