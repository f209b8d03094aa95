package validate

import "github.com/nodeimage/packer-plugin-nodeimage/profiles"

// someProfile is a profile that the good node satisfies, with a change.
func someProfile(change func(*profiles.Profile)) *profiles.Profile {
	p := &profiles.Profile{
		Name: "some",
		OS:   profiles.OS{Distribution: "debian", Version: "13"},
		Host: profiles.Host{
			Modules:     []string{"overlay", "br_netfilter"},
			Sysctls:     map[string]string{"net.ipv4.ip_forward": "1"},
			EnableUnits: []string{"systemd-timesyncd.service"},
		},
		Runtime: profiles.Runtime{
			CgroupDriver: "systemd", RuncPath: "/usr/local/sbin/runc", CNIBinDir: "/opt/cni/bin", CNIConfDir: "/etc/cni/net.d",
			DefaultHandler: "runc", Handlers: []profiles.Handler{{Name: "runc", Type: "io.containerd.runc.v2"}},
		},
		Kubernetes: profiles.Kubernetes{ImageRepository: "registry.k8s.io"},
		Components: map[string]profiles.Component{
			"kubernetes": {Version: "1.37.2"}, "containerd": {Version: "2.3.7"}, "runc": {Version: "1.5.2"}, "cni-plugins": {Version: "1.9.1"},
			"pause": {Image: "pause:3.10.2"},
		},
	}
	if change != nil {
		change(p)
	}
	return p
}

// unlisted is what checks say of a target without a profile.
func unlisted() fixture {
	return fixture{name: "no profile", want: []expect{{Skip, "", 0, "", "no profile was named"}}}
}
