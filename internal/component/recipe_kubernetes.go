package component

import (
	"slices"
	"strings"
)

// kubernetesRecipe builds the programs of a node and of the control plane with
// the flags of upstream's release. kubelet is built without cgo too: the rest
// is, and one set of compiled packages then serves all.
func kubernetesRecipe(r release) recipe {
	return kubernetesPrograms(r, []string{"kubeadm", "kubectl"}, append([]string{"kubelet"}, controlPlane()...))
}

// controlPlaneRecipe builds what goes into container images, for a node whose
// own programs come from elsewhere.
func controlPlaneRecipe(r release) recipe { return kubernetesPrograms(r, nil, controlPlane()) }

// controlPlane are the programs of kubeadm's images, in its order.
func controlPlane() []string {
	return []string{"kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy"}
}

// kubernetesPrograms builds clients, which say their version in ways of their
// own, and daemons, which all do it alike.
func kubernetesPrograms(r release, clients, daemons []string) recipe {
	major, rest, _ := strings.Cut(r.Version, ".")
	minor, _, _ := strings.Cut(rest, ".")
	var stamps []string
	// Unstamped, kubeadm refuses its own version.
	for _, pkg := range []string{"k8s.io/component-base/version", "k8s.io/client-go/pkg/version"} {
		stamps = append(stamps,
			pkg+".gitVersion="+r.ModuleVersion,
			pkg+".gitMajor="+major,
			pkg+".gitMinor="+minor,
			pkg+".gitCommit="+r.Sum,
			// What upstream calls a tree that has no git directory.
			pkg+".gitTreeState=archive",
		)
	}
	const cmd = "k8s.io/kubernetes/cmd"
	recipe := recipe{
		Builds: []build{{
			Binaries: under(cmd, append(slices.Clone(clients), daemons...)...),
			Tags:     []string{"selinux", "notest", "grpcnotrace"},
			Stamps:   stamps,
		}},
	}
	clientProbes := map[string]probe{
		"kubeadm": {"kubeadm", []string{"version", "--output=short"}, []string{r.ModuleVersion + "\n"}},
		"kubectl": {"kubectl", []string{"version", "--client"}, []string{"Client Version: " + r.ModuleVersion + "\n"}},
	}
	for _, name := range clients {
		recipe.Probes = append(recipe.Probes, clientProbes[name])
	}
	for _, name := range daemons {
		recipe.Probes = append(recipe.Probes, probe{name, []string{"--version"}, []string{"Kubernetes " + r.ModuleVersion + "\n"}})
	}
	return recipe
}
