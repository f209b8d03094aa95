package validate

import "maps"

// goodConfig is a containerd 2.3 configuration without a fault.
const goodConfig = `version = 4
imports = ['/etc/containerd/conf.d/*.toml']
[plugins.'io.containerd.cri.v1.images'.pinned_images]
  sandbox = 'registry.k8s.io/pause:3.10.2'
[plugins.'io.containerd.cri.v1.runtime'.containerd]
  default_runtime_name = 'runc'
  [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
    runtime_type = 'io.containerd.runc.v2'
    [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
      BinaryName = '/usr/local/sbin/runc'
      SystemdCgroup = true
[plugins.'io.containerd.cri.v1.runtime'.cni]
  bin_dirs = ['/opt/cni/bin']
`

// goodV2 is the same for containerd 1.x.
const goodV2 = `version = 2
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "registry.k8s.io/pause:3.10.2"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      BinaryName = "/usr/local/sbin/runc"
      SystemdCgroup = true
`

// goodNode is a sealed Debian 13 node image in which every check passes.
func goodNode() tree {
	return tree{
		"/etc/os-release": lines("ID=debian", `VERSION_ID="13"`, "VERSION_CODENAME=trixie"),
		"/etc/hostname":   lines("localhost"),
		"/etc/machine-id": file(""),
		"/etc/fstab":      lines("# nothing but the root", "LABEL=nodeimage-root / ext4 rw,x-systemd.growfs 0 1"),
		"/etc/sysctl.d/90-nodeimage.conf": lines(
			"net.ipv4.ip_forward = 1",
			"net.bridge.bridge-nf-call-iptables = 1",
			"fs.inotify.max_user_instances = 8192",
			"fs.inotify.max_user_watches = 524288"),
		"/etc/modules-load.d/90-nodeimage.conf": lines("overlay", "br_netfilter"),
		"/var/lib/dbus/machine-id":              link("/etc/machine-id"),

		"/usr/local/bin/containerd":              exe("containerd"),
		"/usr/local/bin/containerd-shim-runc-v2": exe("shim"),
		"/usr/local/sbin/runc":                   exe("runc"),
		"/usr/bin/kubelet":                       exe("kubelet"),
		"/usr/bin/kubeadm":                       exe("kubeadm"),
		"/usr/bin/kubectl":                       exe("kubectl"),
		fragment("containerd"):                   recorded("containerd", "2.3.7", "/usr/local/bin/containerd"),
		fragment("runc"):                         recorded("runc", "1.5.2", "/usr/local/sbin/runc"),
		fragment("kubernetes"):                   recorded("kubernetes", "1.37.2", "/usr/bin/kubelet", "/usr/bin/kubeadm", "/usr/bin/kubectl"),
		"/etc/containerd/config.toml":            file(goodConfig),
		"/usr/lib/systemd/system/containerd.service": lines(
			"[Unit]", "Description=containerd container runtime", "[Service]", "Type=notify",
			"ExecStartPre=-/sbin/modprobe overlay", "ExecStart=/usr/local/bin/containerd",
			"Restart=always", "KillMode=process", "Delegate=yes", "OOMScoreAdjust=-999", "TasksMax=infinity",
			"LimitNOFILE=1024:524288", "[Install]", "WantedBy=multi-user.target"),
		"/etc/systemd/system/multi-user.target.wants/containerd.service": link("/usr/lib/systemd/system/containerd.service"),
		"/usr/lib/systemd/system/kubelet.service": lines(
			"[Unit]", "Description=kubelet", "[Service]", "ExecStart=/usr/bin/kubelet", "Restart=always", "[Install]", "WantedBy=multi-user.target"),
		"/usr/lib/systemd/system/kubelet.service.d/10-kubeadm.conf": lines(
			"[Service]",
			`Environment="KUBELET_KUBECONFIG_ARGS=--bootstrap-kubeconfig=/etc/kubernetes/bootstrap-kubelet.conf --kubeconfig=/etc/kubernetes/kubelet.conf"`,
			`Environment="KUBELET_CONFIG_ARGS=--config=/var/lib/kubelet/config.yaml"`,
			"EnvironmentFile=-/var/lib/kubelet/kubeadm-flags.env",
			"EnvironmentFile=-/etc/default/kubelet",
			"ExecStart=",
			"ExecStart=/usr/bin/kubelet $KUBELET_KUBECONFIG_ARGS $KUBELET_CONFIG_ARGS $KUBELET_KUBEADM_ARGS $KUBELET_EXTRA_ARGS"),
		"/etc/systemd/system/multi-user.target.wants/kubelet.service":        link("/usr/lib/systemd/system/kubelet.service"),
		"/usr/lib/systemd/system/default.target":                             link("multi-user.target"),
		"/usr/lib/systemd/system/multi-user.target":                          lines("[Unit]", "Description=Multi-User"),
		"/etc/default/kubelet":                                               lines("KUBELET_EXTRA_ARGS="),
		"/usr/lib/systemd/system/systemd-timesyncd.service":                  lines("[Service]", "ExecStart=/usr/lib/systemd/systemd-timesyncd", "[Install]", "WantedBy=sysinit.target"),
		"/etc/systemd/system/sysinit.target.wants/systemd-timesyncd.service": link("/usr/lib/systemd/system/systemd-timesyncd.service"),
		"/opt/cni/bin/loopback":                                              exe("loopback"),
		"/opt/cni/bin/bridge":                                                exe("bridge"),
		"/opt/cni/bin/host-local":                                            exe("host-local"),
		"/opt/cni/bin/portmap":                                               exe("portmap"),
		fragment("cni-plugins"):                                              recorded("cni-plugins", "1.9.1", "/opt/cni/bin/loopback"),
		"/lib":                                                               link("usr/lib"),
		"/sbin":                                                              link("usr/sbin"),
		"/usr/sbin/apparmor_parser":                                          exe("parser"),
		"/usr/sbin/iptables":                                                 exe("iptables"),
		"/etc/apparmor.d/abi/3.0":                                            file("features"),
		"/etc/apparmor.d/runc":                                               runcProfile("/usr/{bin,sbin}/runc"),
		"/boot/grub/grub.cfg":                                                grubConfig("console=ttyS0"),
		modulesDir + "/modules.builtin":                                      file(""),
		modulesDir + "/modules.dep": lines(
			"kernel/fs/overlayfs/overlay.ko.xz:", "kernel/net/bridge/bridge.ko.xz:", "kernel/net/bridge/br_netfilter.ko.xz:",
			"kernel/drivers/net/veth.ko.xz:", "kernel/net/netfilter/nf_conntrack.ko.xz:"),
		"/etc/kubernetes/manifests": directory(0o700),
	}
}

// kubeletConfig is a config.yaml as kubeadm writes it, with more lines.
func kubeletConfig(more ...string) *entry {
	return lines(append([]string{"apiVersion: kubelet.config.k8s.io/v1beta1", "kind: KubeletConfiguration", "cgroupDriver: systemd"}, more...)...)
}

const (
	goodUnit     = "/usr/lib/systemd/system/containerd.service"
	config       = "/etc/containerd/config.toml"
	modulesDir   = "/usr/lib/modules/6.12.48+deb13-amd64"
	dropIn       = "/etc/systemd/system/containerd.service.d/10-test.conf"
	kubeletFile  = "/var/lib/kubelet/config.yaml"
	kubeletExtra = "/etc/default/kubelet"
)

// service is a drop-in with lines of the service section.
func service(l ...string) *entry { return lines(append([]string{"[Service]"}, l...)...) }

// runcProfile is the profile for runc of AppArmor 4, attached to a path.
func runcProfile(path string) *entry {
	return lines("abi <abi/4.0>,", "include <tunables/global>", "profile runc "+path+" flags=(unconfined) {", "  userns,", "}")
}

func grubConfig(args string) *entry {
	return lines("menuentry 'Debian' {", "\tlinux /boot/vmlinuz-6.12.48+deb13-amd64 root=LABEL=root "+args, "\tinitrd /boot/initrd.img", "}")
}

// onKernel gives the good node another kernel.
func onKernel(release string) tree {
	dir := "/usr/lib/modules/" + release
	return tree{modulesDir: nil,
		dir + "/modules.builtin": lines("kernel/fs/overlayfs/overlay.ko", "kernel/net/bridge/bridge.ko", "kernel/net/bridge/br_netfilter.ko", "kernel/drivers/net/veth.ko", "kernel/net/netfilter/nf_conntrack.ko"),
		dir + "/modules.dep":     file(""),
	}
}

// withRunc makes the good node's runc another release.
func withRunc(version string) tree {
	return tree{fragment("runc"): recorded("runc", version, "/usr/local/sbin/runc")}
}

// and joins two changes of a node; the second wins.
func (t tree) and(other tree) tree {
	out := maps.Clone(t)
	maps.Copy(out, other)
	return out
}
