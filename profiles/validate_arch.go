package profiles

import (
	"slices"
	"strings"
)

// arch refuses packages that are made for another architecture: the archive has
// none of that name, and mmdebstrap would say so minutes later. A base that is
// for both has its differences under byArch.
func (v *validator) arch(p *Profile) {
	if !slices.Contains(architecture, p.OS.Arch) {
		return
	}
	for _, group := range sortedKeys(p.Packages.Include) {
		v.list(join("packages.include", group), p.Packages.Include[group], func(at, name string) { v.madeFor(at, name, p.OS.Arch) })
	}
	v.madeFor("kernel.package", p.Kernel.Package, p.OS.Arch)
}

func (v *validator) madeFor(at, name, arch string) {
	for _, other := range architecture {
		if other == arch {
			continue
		}
		words := strings.Split(name, "-")
		if i := slices.Index(words, other); i >= 0 {
			words[i] = arch
			v.report(at, "found %s, a package for %s: expected one for %s, such as %s", quote(name), other, arch, strings.Join(words, "-"))
			return
		}
	}
	if arch != "amd64" && (name == "grub-pc" || name == "grub-pc-bin") {
		v.report(at, "found %s, a boot loader for BIOS: expected grub-efi-%s-bin, since %s boots by UEFI alone", quote(name), arch, arch)
	}
}
