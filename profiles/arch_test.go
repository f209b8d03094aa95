package profiles

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestByArchLiesOverItsOwnFile(t *testing.T) {
	t.Parallel()
	files := map[string]string{
		"good.yaml": readGood(t),
		"base.yaml": header + `name: base
abstract: true
extends: good
kernel: {commandLine: [console=ttyS0]}
byArch:
  amd64: {disk: {rootLabel: pc}}
  arm64:
    kernel: {package: linux-image-arm64, commandLine: [console=ttyAMA0]}
    packages: {include: {network: [iproute2]}}
    components:
      runc: {source: gomod, version: 1.5.2, module: github.com/opencontainers/runc, sum: "h1:eUUowc2WJCnFYzI87C1WqRcu356Dk/wsoi90y+2wEfE="}
      cni-plugins: {source: gomod, version: 1.9.1, module: github.com/containernetworking/plugins, sum: "h1:8oU6WsIsU3bpnNZuvHp74a6cE1MJwbj2P7s4/yTUNlA="}
`,
		"amd64.yaml": header + "name: amd64\nextends: base\n",
		"arm64.yaml": header + "name: arm64\nextends: base\nos: {arch: arm64}\n",
		"word.yaml":  header + "name: word\nextends: base\nos: {arch: arm64}\nkernel: {commandLine: [quiet]}\ndisk: {rootLabel: mine}\n",
	}
	type found struct {
		Kernel  Kernel
		Network []string
		Label   string
		Runc    SourceKind
	}
	for name, want := range map[string]found{
		"amd64": {Kernel{"linux-image-amd64", []string{"console=ttyS0"}}, nil, "pc", SourceRelease},
		"arm64": {Kernel{"linux-image-arm64", []string{"console=ttyAMA0"}}, []string{"iproute2"}, "root", SourceGoModule},
		"word":  {Kernel{"linux-image-arm64", []string{"quiet"}}, []string{"iproute2"}, "mine", SourceGoModule},
	} {
		p, problems := tree(t, files, name+".yaml")
		if problems != nil {
			t.Errorf("%s:\n%s", name, strings.Join(problems, "\n"))
			continue
		}
		got := found{p.Kernel, p.Packages.Include["network"], p.Disk.RootLabel, p.Components["runc"].Source}
		if want.Network == nil {
			got.Network = nil
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		if p.ByArch != nil {
			t.Errorf("%s: the effective profile still has differences by architecture", name)
		}
	}
}

// Mistakes are found in what no build of today's architecture looks at, too.
func TestByArchMistakes(t *testing.T) {
	t.Parallel()
	_, got := tree(t, map[string]string{
		"good.yaml": readGood(t),
		"top.yaml": header + `name: top
extends: good
byArch:
  armhf: {kernel: {package: linux-image-armmp}}
  arm64:
    kernel: {pakage: linux-image-arm64}
    os: {arch: arm64}
    disk: 8GiB
`,
	}, "top.yaml")
	want := []string{
		`top.yaml:6:3: byArch.armhf: unknown architecture; expected one of amd64, arm64`,
		`top.yaml:8:14: byArch.arm64.kernel.pakage: unknown key; did you mean "package"?`,
		`top.yaml:9:5: byArch.arm64.os: unknown key; expected one of archive, base, packages, kernel, host, components, disk`,
		`top.yaml:10:11: byArch.arm64.disk: found the string "8GiB", expected a mapping`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
}

// Each built-in profile can be had for arm64 by its name and one line.
func TestArm64OfBuiltinProfiles(t *testing.T) {
	t.Parallel()
	for _, base := range Names() {
		text := "os: {arch: arm64}\n"
		if base == "ubuntu-24.04-docker" {
			text += "components: {containerd: {sha256: {arm64: " + strings.Repeat("a", 64) + "}}}\n"
		}
		p, err := child(t, base, text)
		if err != nil {
			t.Errorf("%s:\n%v", base, err)
			continue
		}
		list := p.PackageList()
		for _, name := range []string{"grub-efi-arm64-bin", "grub-efi-arm64-signed", "shim-signed"} {
			if !slices.Contains(list, name) {
				t.Errorf("%s: no package %s in %q", base, name, list)
			}
		}
		if !slices.Contains(p.Kernel.CommandLine, "console=ttyAMA0,115200n8") {
			t.Errorf("%s: kernel.commandLine %q", base, p.Kernel.CommandLine)
		}
		for _, s := range p.Archive.Sources {
			if strings.Contains(s.URI, "//archive.ubuntu.com") || strings.Contains(s.URI, "//security.ubuntu.com") {
				t.Errorf("%s: %s has no packages for arm64", base, s.URI)
			}
		}
	}
}

func TestPackagesOfAnotherArchitecture(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"os: {arch: arm64}\nkernel: {package: linux-image-cloud-amd64}\n":        `kernel.package: found "linux-image-cloud-amd64", a package for amd64: expected one for arm64, such as linux-image-cloud-arm64`,
		"os: {arch: arm64}\npackages: {include: {boot: [grub-efi-amd64-bin]}}\n": `packages.include.boot[0]: found "grub-efi-amd64-bin", a package for amd64: expected one for arm64, such as grub-efi-arm64-bin`,
		"os: {arch: arm64}\npackages: {include: {boot: [zstd, grub-pc-bin]}}\n":  `packages.include.boot[1]: found "grub-pc-bin", a boot loader for BIOS: expected grub-efi-arm64-bin, since arm64 boots by UEFI alone`,
		"packages: {include: {boot: [grub-efi-arm64-signed]}}\n":                 `packages.include.boot[0]: found "grub-efi-arm64-signed", a package for arm64: expected one for amd64, such as grub-efi-amd64-signed`,
	} {
		_, err := child(t, "debian-13", text)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v\nexpected: %s", text, err, want)
		}
	}
}
