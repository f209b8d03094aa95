package validate

import (
	"context"
	"strings"

	"github.com/nodeimage/packer-plugin-nodeimage/validate/source"
)

func kubeletResolvConfLoop() Check {
	return Check{
		ID:    "kubelet-resolv-conf-loop",
		Title: "pods get systemd-resolved's stub as name server, and CoreDNS asks itself",
		Why: `CoreDNS then exits with: [FATAL] plugin/loop: Loop (127.0.0.1:… -> :53) detected. kubeadm sets
resolvConf to /run/systemd/resolve/resolv.conf only if systemd-resolved is active when it runs.`,
		Reads:      "the kubelet's resolvConf, the link /etc/resolv.conf, and whether systemd-resolved starts at boot",
		Scope:      "nodes with a kubelet whose configuration says which file it hands to pods",
		Fix:        "resolvConf: /run/systemd/resolve/resolv.conf",
		Severity:   Error,
		References: []string{"coredns/coredns#2087", "https://coredns.io/plugins/loop/#troubleshooting"},
		AppliesTo:  readsKubelet,
		Run:        runKubeletResolvConfLoop,
	}
}

func runKubeletResolvConfLoop(_ context.Context, n *Node) ([]Finding, error) {
	k, err := n.kubelet()
	if err != nil {
		return nil, err
	}
	const uplinks = "/run/systemd/resolve/resolv.conf"
	written := k.ResolvConf.Key != ""
	if !written && !k.Present {
		// kubeadm will write it: right if resolved runs by then.
		units, err := n.units()
		if err != nil {
			return nil, err
		}
		e, err := units.Enablement("systemd-resolved.service")
		if err != nil || e.Enabled() {
			return nil, err
		}
	}
	file := k.ResolvConf.Value
	if file == "" && written {
		return nil, nil // pods get no name server of the node's
	}
	if file == "" {
		file = "/etc/resolv.conf"
	}
	stub, at, err := n.stub(file)
	if err != nil || !stub {
		return nil, err
	}
	f := Finding{Key: "resolvConf", Got: file + ", which lists only the stub 127.0.0.53", Want: uplinks,
		Fix: "# in the kubelet's configuration\nresolvConf: " + uplinks}
	if written {
		return []Finding{f.at(k.ResolvConf.Pos)}, nil
	}
	return []Finding{f.at(at)}, nil
}

// stub tells whether a resolv.conf names nothing but a loopback address.
func (n *Node) stub(file string) (bool, source.Position, error) {
	at := source.Position{File: file}
	if target, ok := source.Link(n.Root, file); ok {
		switch source.ResolveLink(file, target) {
		case "/run/systemd/resolve/stub-resolv.conf", "/usr/lib/systemd/resolv.conf", "/lib/systemd/resolv.conf":
			return true, at, nil
		}
	}
	data, err := n.read(file)
	if err != nil {
		return false, at, err
	}
	loop := false
	for _, l := range source.Lines(file, data) {
		if words := strings.Fields(l.Text); len(words) > 1 && words[0] == "nameserver" {
			if !strings.HasPrefix(words[1], "127.") && words[1] != "::1" {
				return false, at, nil
			}
			loop, at = true, l.Pos
		}
	}
	return loop, at, nil
}
