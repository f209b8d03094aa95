package component

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/profiles"
	"github.com/nodeimage/packer-plugin-nodeimage/profiles/lock"
)

// What a component of packages is made from is what is installed: in the
// profile's version, and with its sum.
func TestPinnedPackages(t *testing.T) {
	t.Parallel()
	containerd := profiles.Component{Version: "2.3.6-1", Source: profiles.SourceDeb, Packages: []string{"containerd.io", "pigz"}, SHA256: map[string]string{"amd64": "aa"}}
	runc := profiles.Component{Version: "1.5.1", Source: profiles.SourceDeb, Packages: []string{"containerd.io"}}
	base := profiles.Component{Source: profiles.SourceDeb, Packages: []string{"kmod"}}
	m := &Maker{profile: &profiles.Profile{
		OS: profiles.OS{Arch: "amd64"}, Components: map[string]profiles.Component{"containerd": containerd, "runc": runc, "kube-proxy-base": base},
	}}
	for name, want := range map[string]string{"containerd": "containerd.io=2.3.6-1 pigz", "runc": "containerd.io=2.3.6-1", "kube-proxy-base": "kmod"} {
		d := &debs{maker: m, name: name, component: m.profile.Components[name]}
		if diff := cmp.Diff(want, strings.Join(d.pinned(), " ")); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		parts, err := d.keyParts(t.Context())
		if err != nil || (len(parts) == 4) != (name == "kube-proxy-base") {
			t.Errorf("%s: the key is of %v, %v", name, parts, err)
		}
	}
	d := &debs{maker: m, name: "containerd", component: containerd, packages: []lock.Package{{Name: "pigz", SHA256: "cc"}, {Name: "containerd.io", Version: "2.3.6-1", SHA256: "aa"}}}
	if err := d.checkSum(); err != nil {
		t.Errorf("refused: %v", err)
	}
	d.packages[1].SHA256 = "bb"
	if err := d.checkSum(); exitcode.Of(err) != exitcode.Usage || !strings.Contains(err.Error(), "component containerd: package containerd.io 2.3.6-1 has sha256 bb, expected aa") {
		t.Errorf("another sum: %v", err)
	}
}
