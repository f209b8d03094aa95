package component

import (
	"github.com/nodeimage/packer-plugin-nodeimage/internal/oci"
	"github.com/nodeimage/packer-plugin-nodeimage/profiles"
)

// layout says what is in one of kubeadm's images. Where programs lie, whom
// they run as and what they are granted is what upstream's images have, since
// kubeadm's manifests count on it.
type layout struct {
	components []string // the first one is the programs'
	programs   []string // paths in the image; the base name is the file's
	xattrs     map[string]string
	extra      []oci.Entry
	spec       oci.Spec
}

// layouts lists the images by the last element of their names. The programs
// of the control plane come from the component of that name where the profile
// has one, else from kubernetes.
func layouts(p *profiles.Profile) map[string]layout {
	controlPlane := "kubernetes"
	if _, ok := p.Components["control-plane"]; ok {
		controlPlane = "control-plane"
	}
	all := map[string]layout{
		"etcd": {
			components: []string{"etcd"},
			// etcdctl and etcdutl are what a backup and a restore call.
			programs: []string{"/usr/local/bin/etcd", "/usr/local/bin/etcdctl", "/usr/local/bin/etcdutl"},
			extra:    accounts(),
			spec:     oci.Spec{Env: []string{oci.PathEnv}, Entrypoint: []string{"/usr/local/bin/etcd"}, Ports: []string{"2379/tcp", "2380/tcp"}},
		},
		"coredns": {
			components: []string{"coredns"},
			programs:   []string{"/coredns"},
			// It runs as nonroot with port 53: kubeadm's manifest adds the
			// capability to the container, the file must grant it too.
			xattrs: oci.NetBindService(),
			extra:  accounts(),
			spec: oci.Spec{Env: []string{oci.PathEnv}, Entrypoint: []string{"/coredns"}, User: "65532:65532", WorkingDir: "/",
				Ports: []string{"53/tcp", "53/udp"}},
		},
		"pause": {
			components: []string{"pause"},
			programs:   []string{"/pause"},
			spec:       oci.Spec{Env: []string{oci.PathEnv}, Entrypoint: []string{"/pause"}, User: "65535:65535"},
		},
		"kube-proxy": {
			components: []string{controlPlane, "kube-proxy-base"},
			programs:   []string{"/usr/local/bin/kube-proxy"},
			extra:      accounts(),
			spec:       oci.Spec{Env: []string{oci.PathEnv}, Entrypoint: []string{"/usr/local/bin/kube-proxy"}},
		},
	}
	for _, name := range []string{"kube-apiserver", "kube-controller-manager", "kube-scheduler"} {
		program := "/usr/local/bin/" + name
		l := layout{
			components: []string{controlPlane},
			programs:   []string{program},
			extra:      accounts(),
			spec:       oci.Spec{Env: []string{oci.PathEnv}, Entrypoint: []string{program}},
		}
		if name == "kube-apiserver" {
			// kubeadm's RootlessControlPlane runs it as a user, port 443 or not.
			l.xattrs = oci.NetBindService()
		}
		all[name] = l
	}
	return all
}

// accounts are the files of an image that is nothing but a program: names for
// the users that kubeadm's manifests and the images run as, and a /tmp.
func accounts() []oci.Entry {
	return []oci.Entry{
		{Path: "/etc/passwd", Kind: oci.File, Mode: 0o644, Content: "root:x:0:0:root:/root:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin\nnobody:x:65534:65534:nobody:/nonexistent:/sbin/nologin\n"},
		{Path: "/etc/group", Kind: oci.File, Mode: 0o644, Content: "root:x:0:\nnonroot:x:65532:\nnobody:x:65534:\n"},
		{Path: "/tmp", Kind: oci.Dir, Mode: 0o1777},
	}
}
