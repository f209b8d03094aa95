package validate

import (
	"fmt"

	"github.com/nodeimage/packer-plugin-nodeimage/validate/images"
)

// preload is what containerd's store must hold, and what it holds.
type preload struct {
	store  *images.Store
	wanted []string // by the names that kubeadm asks for
	// kubeadm says whose wishes these are.
	kubeadm string
}

// preloaded reads containerd's store. The error is errAbsent where images are
// not expected: without any in the store, and without a profile.
func (n *Node) preloaded() (*preload, error) {
	return n.preloadOnce.get(func() (*preload, error) {
		if n.Live != nil {
			return nil, absent("the running containerd writes to its store; ask it with crictl images")
		}
		c, err := n.containerd()
		if err != nil {
			return nil, err
		}
		p, err := n.program("containerd")
		if err != nil {
			return nil, err
		}
		o := images.Options{Root: c.Root.Value, Snapshotter: c.Snapshotter.Value}
		if p.Info != nil {
			o.Arch = p.Info.Arch
		}
		store, err := images.Load(n.Root, o)
		if err != nil {
			return nil, err
		}
		if n.Profile == nil && (!store.Present || len(store.Images) == 0) {
			return nil, absent("no container images are preloaded")
		}
		found := &preload{store: store}
		return found, n.wantedImages(found)
	})
}

// wantedImages lists what `kubeadm config images list` prints for the
// installed kubeadm, or for the profile's.
func (n *Node) wantedImages(p *preload) error {
	repository, version := "registry.k8s.io", ""
	if n.Profile != nil {
		repository, version = n.Profile.Kubernetes.ImageRepository, n.Profile.Components["kubernetes"].Version
		p.kubeadm = "the profile's kubeadm " + version
	} else {
		kubeadm, err := n.program("kubeadm")
		if err != nil {
			return err
		}
		version, p.kubeadm = plain(kubeadm.Version), "kubeadm "+kubeadm.Version
	}
	w, ok := wantedBy(n.compat, version)
	if !ok {
		return absent("which images %s wants is not known", p.kubeadm)
	}
	for _, name := range []string{"kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy"} {
		p.wanted = append(p.wanted, fmt.Sprintf("%s/%s:v%s", repository, name, version))
	}
	coredns := repository + "/coredns:"
	if repository == "registry.k8s.io" {
		coredns = repository + "/coredns/coredns:"
	}
	p.wanted = append(p.wanted, coredns+w.CoreDNS, repository+"/pause:"+w.Pause, repository+"/etcd:"+w.Etcd)
	return nil
}

func hasPreload(n *Node) (string, error) {
	_, err := n.preloaded()
	return "", err
}

// eachPreloaded judges each wanted image that is there.
func (n *Node) eachPreloaded(judge func(*images.Image) *Finding) ([]Finding, error) {
	p, err := n.preloaded()
	if err != nil {
		return nil, err
	}
	var found []Finding
	for _, name := range p.wanted {
		i, ok := p.store.Image(name)
		if !ok {
			continue
		}
		if f := judge(i); f != nil {
			f.File, f.Key = p.store.Root, name
			found = append(found, *f)
		}
	}
	return found, nil
}
