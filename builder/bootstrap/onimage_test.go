package bootstrap

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/manifest"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/rooted/rootedtest"
	"github.com/nodeimage/packer-plugin-nodeimage/profiles"
	"github.com/nodeimage/packer-plugin-nodeimage/profiles/lock"
)

func TestSuitable(t *testing.T) {
	t.Parallel()
	p := &profiles.Profile{OS: profiles.OS{Distribution: "ubuntu", Version: "24.04", Arch: "amd64"}, Kernel: profiles.Kernel{Package: "linux-image-virtual"}}
	packages := []manifest.Package{{Name: "dpkg", Arch: "amd64"}, {Name: "linux-image-6.8.0-87-generic"}, {Name: "linux-image-virtual"}}
	const release = "NAME=\"Ubuntu\"\nVERSION_ID=\"24.04\"\nID=ubuntu\n"
	for name, tt := range map[string]struct {
		release  string
		packages []manifest.Package
		want     []string
	}{
		"the right one": {release, packages, nil},
		"all at once": {strings.Replace(release, "24.04", "22.04", 1), []manifest.Package{{Name: "dpkg", Arch: "arm64"}, {Name: "linux-image-azure"}}, []string{
			"it is ubuntu 22.04, expected ubuntu 24.04", "its architecture is arm64, expected amd64",
			"it has no package linux-image-virtual, and its kernel is kept: expected kernel.package to be one that it has (linux-image-azure)"}},
	} {
		err := suitable(rootedtest.Dir(t, map[string]string{"etc/os-release": tt.release}), tt.packages, p)
		if (err == nil) != (tt.want == nil) {
			t.Errorf("%s: got %v", name, err)
		}
		for _, want := range tt.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %q is not said in: %v", name, want, err)
			}
		}
	}
}

func TestBootProblems(t *testing.T) {
	t.Parallel()
	const harmless = `Reading package lists...
Inst socat (1.8.0 Ubuntu:24.04/noble [amd64])
Inst grub-pc-bin (2.12-1ubuntu7 Ubuntu:24.04/noble [amd64])
Inst grub-efi-amd64-bin (2.12-1ubuntu7 Ubuntu:24.04/noble [amd64])
Inst shim-helpers-amd64-signed (1 Debian:13 [amd64])
Inst libsystemd0 [255.4-1ubuntu8.11] (255.4-1ubuntu8.12 Ubuntu:24.04/noble-updates [amd64]) [systemd:amd64 ]
Conf socat (1.8.0 Ubuntu:24.04/noble [amd64])
`
	if got := bootProblems(harmless); got != nil {
		t.Errorf("got %q", got)
	}
	want := []string{"grub-efi-amd64-bin=2.12-1ubuntu7", "grub-pc-bin=2.12-1ubuntu7", "libsystemd0=255.4-1ubuntu8.12", "shim-helpers-amd64-signed=1", "socat=1.8.0"}
	if diff := cmp.Diff(want, installs(harmless+"Remv chrony [4.5-1]\n")); diff != "" {
		t.Errorf("packages (-want +got):\n%s", diff)
	}
	for line, want := range map[string]string{
		"Inst shim-signed [1.58] (1.59 Ubuntu:24.04/noble-updates [amd64])":                  "shim-signed would go from 1.58 to 1.59, and what boots is kept as it is",
		"Inst grub-pc-bin [2.12-1] (2.12-2 Ubuntu:24.04/noble-updates [amd64])":              "grub-pc-bin would go from 2.12-1 to 2.12-2, and what boots is kept as it is",
		"Inst linux-image-6.8.0-90-generic (6.8.0-90.91 Ubuntu:24.04/noble-updates [amd64])": "linux-image-6.8.0-90-generic 6.8.0-90.91 would be installed, and the boot loader and the kernel are the image's own",
		"Inst grub-efi-amd64-signed (1.202 Ubuntu:24.04/noble [amd64])":                      "grub-efi-amd64-signed 1.202 would be installed, and the boot loader and the kernel are the image's own",
		"Remv chrony [4.5-1]": "chrony 4.5-1 would be removed",
	} {
		if diff := cmp.Diff([]string{want}, bootProblems(harmless+line+"\n")); diff != "" {
			t.Errorf("of %q (-want +got):\n%s", line, diff)
		}
	}
}

func TestBootChanges(t *testing.T) {
	t.Parallel()
	base := []manifest.Package{{Name: "grub-pc", Version: "2"}, {Name: "bash", Version: "5"}}
	now := []manifest.Package{{Name: "grub-pc", Version: "3"}, {Name: "bash", Version: "6"}, {Name: "grub-common", Version: "2"}, {Name: "linux-image-x", Version: "1"}}
	want := []string{"package grub-pc: found 3, expected 2", "package linux-image-x: found 1, expected none"}
	if diff := cmp.Diff(want, BootChanges(base, now)); diff != "" {
		t.Errorf("changes (-want +got):\n%s", diff)
	}
	if got := BootChanges(base, base); got != nil {
		t.Errorf("nothing changed: %q", got)
	}
}

func TestKernelsChanged(t *testing.T) {
	t.Parallel()
	root := rootedtest.Dir(t, map[string]string{"boot/vmlinuz-1": "one", "boot/vmlinuz-2": "two", "boot/config-1": "x"})
	kernels, err := kernelsIn(root)
	if err != nil || len(kernels) != 2 || kernels[0].Release != "1" {
		t.Fatalf("%+v, %v", kernels, err)
	}
	for what, tt := range map[string]struct {
		was  []lock.Kernel
		want []string
	}{
		"the same": {kernels, nil},
		"new":      {kernels[:1], []string{"/boot/vmlinuz-2 is new"}},
		"changed":  {[]lock.Kernel{kernels[0], {Release: "2", SHA256: "x"}}, []string{"/boot/vmlinuz-2 is gone or another one"}},
		"gone":     {append([]lock.Kernel{{Release: "0"}}, kernels...), []string{"/boot/vmlinuz-0 is gone or another one"}},
	} {
		got, err := Base{Record: Record{Kernels: tt.was}}.KernelsChanged(root)
		if diff := cmp.Diff(tt.want, got); err != nil || diff != "" {
			t.Errorf("%s: %v (-want +got):\n%s", what, err, diff)
		}
	}
}

func TestWantedOnImage(t *testing.T) {
	t.Parallel()
	p := &profiles.Profile{
		Kernel:     profiles.Kernel{Package: "linux-image-amd64"},
		Packages:   profiles.Packages{Include: map[string][]string{"a": {"socat", "bash"}}},
		Components: map[string]profiles.Component{"containerd": {Version: "2.3.4-1", Source: profiles.SourceDeb, Packages: []string{"containerd.io"}}},
	}
	before := []manifest.Package{{Name: "bash", Version: "5"}, {Name: "linux-image-amd64", Version: "6"}}
	if diff := cmp.Diff([]string{"containerd.io=2.3.4-1", "socat"}, Maker{}.wantedOnImage(p, before)); diff != "" {
		t.Errorf("unlocked (-want +got):\n%s", diff)
	}
	locked := Maker{Lock: &lock.Lock{Content: lock.Content{Packages: []lock.Package{{Name: "libc6", Version: "2.41"}}}}}
	if diff := cmp.Diff([]string{"libc6=2.41"}, locked.wantedOnImage(p, before)); diff != "" {
		t.Errorf("locked (-want +got):\n%s", diff)
	}
	status := "Package: containerd.io\nStatus: install ok installed\nVersion: 1.7.1-1\nArchitecture: amd64\n"
	err := pinned(rootedtest.Dir(t, map[string]string{dpkgStatus: status}), p)
	if exitcode.Of(err) != exitcode.Usage || !strings.Contains(err.Error(), "the cloud image has containerd.io 1.7.1-1, expected 2.3.4-1, which a component of the profile pins") {
		t.Errorf("another version of a component: %v", err)
	}
}

func TestSignerOfALock(t *testing.T) {
	t.Parallel()
	l := &lock.Lock{Content: lock.Content{Base: lock.Base{CloudImage: lock.CloudImage{SHA256: "a", Signer: "KEY"}}}}
	if got, err := (Maker{Lock: l}).signer(t.Context(), profiles.CloudImage{SHA256: "a"}); got != "KEY" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
	if _, err := (Maker{Lock: l}).signer(t.Context(), profiles.CloudImage{SHA256: "b"}); exitcode.Of(err) != exitcode.Usage || !strings.Contains(err.Error(), "lock --update") {
		t.Errorf("another image: %v", err)
	}
	if _, err := (Maker{}).signer(t.Context(), profiles.CloudImage{SHA256: "b"}); exitcode.Of(err) != exitcode.Usage || !strings.Contains(err.Error(), "needs a network unless it has a lock") {
		t.Errorf("without a network: %v", err)
	}
}
