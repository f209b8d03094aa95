package validate

import (
	"errors"

	"github.com/nodeimage/packer-plugin-nodeimage/validate/containerd"
	"github.com/nodeimage/packer-plugin-nodeimage/validate/kubelet"
	"github.com/nodeimage/packer-plugin-nodeimage/validate/source"
)

// kubeletDriver is the cgroup driver that the kubelet is configured for.
type kubeletDriver struct {
	driver  string
	because string
	key     string
	pos     source.Position
	config  *kubelet.Config // nil without a kubelet
}

// kubeletDriver tells which driver the kubelet is configured for. In an image
// that is in no cluster yet, kubeadm will still write the configuration, and
// it has written systemd since 1.22.
func (n *Node) kubeletDriver() (kubeletDriver, error) {
	k, err := n.kubelet()
	if errors.Is(err, errAbsent) {
		return kubeletDriver{driver: "systemd", because: "kubeadm's default since 1.22"}, nil
	}
	if err != nil {
		return kubeletDriver{}, err
	}
	d := kubeletDriver{driver: k.CgroupDriver.Value, key: k.CgroupDriver.Key, pos: k.CgroupDriver.Pos, config: k}
	switch {
	case d.key != "":
		d.because = d.pos.String()
	case !k.Present:
		d.driver, d.because = "systemd", "kubeadm's default since 1.22"
	default:
		d.because = "its own default, since no file says anything else"
		d.key, d.pos = "cgroupDriver", source.Position{File: k.File.Value}
	}
	return d, nil
}

// negotiate is the driver that the kubelet ends up with, given what the
// runtime answers. A kubelet that is not there is taken for a current one.
func (d kubeletDriver) negotiate(a containerd.Answer) string {
	if d.config == nil {
		if a.Implemented {
			return string(a.Driver)
		}
		return d.driver
	}
	k := *d.config
	k.CgroupDriver.Value = d.driver
	got := k.Negotiate(a.Implemented, string(a.Driver))
	if got.Driver == "" { // the kubelet refuses; another check says so
		return d.driver
	}
	return got.Driver
}
