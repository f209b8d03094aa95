package containerd

// defaults fills in what containerd has without a file.
func (l *loader) defaults() {
	c, v := l.c, l.c.Version
	c.Handlers = map[string]*Handler{"runc": builtinRunc()}
	c.DefaultHandler.Value = "runc"
	c.SandboxImage.Value = defaultSandbox(v)
	c.CNIConfDir.Value = "/etc/cni/net.d"
	c.CNIBinDirs.Value = defaultCNI(v)
	c.Snapshotter.Value = "overlayfs"
	c.Root.Value = "/var/lib/containerd"
	c.State.Value = "/run/containerd"
	c.Address.Value = "/run/containerd/containerd.sock"
	if v.AtLeast(2, 2, 0) {
		c.RegistryConfigPath.Value = "/etc/containerd/certs.d:/etc/docker/certs.d"
	}
}

func defaultSandbox(v Version) string {
	switch {
	case v.AtLeast(2, 3, 0):
		return "registry.k8s.io/pause:3.10.2"
	case v.AtLeast(2, 2, 0):
		return "registry.k8s.io/pause:3.10.1"
	case v.AtLeast(2, 0, 0):
		return "registry.k8s.io/pause:3.10"
	case v.AtLeast(1, 7, 0):
		return "registry.k8s.io/pause:3.8"
	case v.AtLeast(1, 6, 19):
		return "registry.k8s.io/pause:3.6" // k8s.gcr.io still in 1.6.1
	case v.AtLeast(1, 6, 0):
		return "k8s.gcr.io/pause:3.6"
	}
	return "k8s.gcr.io/pause:3.5"
}

func defaultCNI(v Version) []string {
	switch {
	case v.debian() && v.AtLeast(2, 1, 0):
		return []string{"/usr/lib/cni", "/opt/cni/bin"}
	case v.debian() && v.AtLeast(1, 7, 0):
		return []string{"/usr/lib/cni"}
	}
	return []string{"/opt/cni/bin"}
}
