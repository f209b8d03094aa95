package profiles

import (
	"fmt"
	"slices"
	"strings"
)

// versions refuses versions that are not known to go together.
func (v *validator) versions(p *Profile) {
	kubernetes, containerd, runc := p.Components["kubernetes"].Version, p.Components["containerd"].Version, p.Components["runc"].Version
	minor, known := v.table.Kubernetes[branch(kubernetes)]
	switch {
	case branch(kubernetes) == "":
	case !known:
		v.report("components.kubernetes.version", "found %s, whose minor version is not in the compatibility table; expected %s",
			quote(kubernetes), choice(Branches(v.table.Kubernetes)))
	default:
		v.kubeadmImages(p, minor)
	}
	for _, name := range append([]string{"control-plane"}, controlPlane...) {
		// A deb's version has Debian's revision at its end.
		if other := p.Components[name].Version; other != "" && other != strings.SplitN(kubernetes, "-", 2)[0] && other != kubernetes {
			v.report(join("components", name)+".version", "found %s, expected %q, the version of kubernetes", quote(other), kubernetes)
		}
	}
	if branch(containerd) != "" {
		v.containerd(kubernetes, containerd)
	}
	if branch(runc) != "" {
		v.runc(containerd, runc)
	}
}

func (v *validator) containerd(kubernetes, containerd string) {
	const at = "components.containerd.version"
	if _, known := v.table.Containerd[branch(containerd)]; !known {
		v.report(at, "found %s, whose branch is not in the compatibility table; expected %s",
			quote(containerd), choice(Branches(v.table.Containerd)))
		return
	}
	if _, known := v.table.Kubernetes[branch(kubernetes)]; !known {
		return // reported there
	}
	verdict, known := v.table.Pair(kubernetes, containerd)
	switch {
	case !known:
		v.report(at, "found %s, which is not known to run with Kubernetes %s; expected %s", quote(containerd), kubernetes, v.fitting(kubernetes))
	case verdict == Refused:
		v.report(at, "found %s, which does not run with Kubernetes %s; expected %s", quote(containerd), kubernetes, v.fitting(kubernetes))
	}
}

// fitting names the containerd branches for a Kubernetes version, best first.
func (v *validator) fitting(kubernetes string) string {
	pairs := v.table.Kubernetes[branch(kubernetes)].Containerd
	var parts []string
	for _, verdict := range []Verdict{Recommended, Works, Fallback} {
		var names []string
		for _, name := range Branches(pairs) {
			if pairs[name].Verdict == verdict {
				names = append(names, name)
			}
		}
		if len(names) > 0 {
			parts = append(parts, fmt.Sprintf("%s (%s)", strings.Join(names, ", "), verdict))
		}
	}
	return strings.Join(parts, " or ")
}

// runc has to be at least the branch that containerd is tested with
// (containerd's docs/RUNC.md).
func (v *validator) runc(containerd, runc string) {
	const at = "components.runc.version"
	lowest := v.table.Containerd[branch(containerd)].Runc
	var fit []string
	for _, name := range Branches(v.table.Runc) {
		if lowest == "" || compareVersions(name, lowest) >= 0 {
			fit = append(fit, name)
		}
	}
	if _, known := v.table.Runc[branch(runc)]; !known {
		v.report(at, "found %s, whose branch is not in the compatibility table; expected %s", quote(runc), choice(fit))
		return
	}
	if !slices.Contains(fit, branch(runc)) {
		v.report(at, "found %s, older than what containerd %s is tested with; expected %s", quote(runc), containerd, choice(fit))
	}
}

// kubeadmImages wants the very tags that this kubeadm asks for: another one
// would be pulled at the first boot, or not found without a network.
func (v *validator) kubeadmImages(p *Profile, minor KubernetesBranch) {
	kubernetes := p.Components["kubernetes"].Version
	wants, known := v.table.Wants(kubernetes)
	if !known {
		from := ""
		if len(minor.Kubeadm) > 0 {
			from = minor.Kubeadm[0].From
		}
		v.report("components.kubernetes.version", "found %s, whose image tags are not in the compatibility table; expected %s or later", quote(kubernetes), from)
		return
	}
	for _, rule := range componentRules() {
		var tag string
		switch rule.name {
		case "etcd":
			tag = wants.Etcd
		case "coredns":
			tag = wants.CoreDNS
		case "pause":
			tag = wants.Pause
		default:
			continue
		}
		c, at := p.Components[rule.name], join("components", rule.name)
		if want := rule.image + ":" + tag; c.Image != "" && c.Image != want {
			v.report(at+".image", "found %s, but kubeadm %s asks for %q", quote(c.Image), kubernetes, want)
		}
		// etcd's tag carries a number of the image's own build: 3.7.0-0.
		want, _, _ := strings.Cut(strings.TrimPrefix(tag, "v"), "-")
		if c.Source != SourceDeb && c.Version != "" && c.Version != want {
			v.report(at+".version", "found %s, but kubeadm %s asks for %q", quote(c.Version), kubernetes, want)
		}
	}
}
