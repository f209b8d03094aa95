package modules

import (
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/nodeimage/packer-plugin-nodeimage/validate/source"
)

func load(t *testing.T, files map[string]string) *Config {
	t.Helper()
	root := fstest.MapFS{}
	for p, d := range files {
		root[source.Name(p)] = &fstest.MapFile{Data: []byte(d)}
	}
	c, err := Load(root)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestLoad(t *testing.T) {
	t.Parallel()
	c := load(t, map[string]string{
		"/etc/modules-load.d/k8s.conf":     "# needed\nbr_netfilter\n\n overlay \n; x\n",
		"/usr/lib/modules-load.d/k8s.conf": "hidden\n",
		"/usr/lib/modules-load.d/a.conf":   "nf-conntrack\n",
		"/etc/modprobe.d/b.conf": "blacklist br-netfilter\n" +
			"install sctp /bin/true\ninstall dccp \\\n  /bin/false\ninstall x /sbin/modprobe --ignore-install x && /bin/y\n" +
			"#blacklist overlay\noptions nf_conntrack hashsize=1\nnonsense\n",
	})
	want := []Entry{
		{"load", "nf_conntrack", "", source.Position{File: "/usr/lib/modules-load.d/a.conf", Line: 1}},
		{"load", "br_netfilter", "", source.Position{File: "/etc/modules-load.d/k8s.conf", Line: 2}},
		{"load", "overlay", "", source.Position{File: "/etc/modules-load.d/k8s.conf", Line: 4}},
	}
	if diff := cmp.Diff(want, c.Load); diff != "" {
		t.Error(diff)
	}
	if e, ok := c.Loads("br-netfilter"); !ok || e.Pos.Line != 2 {
		t.Errorf("%+v", e)
	}
	for module, line := range map[string]int{"br_netfilter": 1, "sctp": 2, "dccp": 3, "x": 0, "overlay": 0, "nf_conntrack": 0} {
		e, ok := c.Blocked(module)
		if ok != (line != 0) || e.Pos.Line != line {
			t.Errorf("%s: blocked %v by %+v, want line %d", module, ok, e, line)
		}
	}
}

func TestKernels(t *testing.T) {
	t.Parallel()
	c := load(t, map[string]string{
		"/usr/lib/modules/6.12.48+deb13-amd64/modules.dep":     "kernel/net/bridge/br_netfilter.ko.xz: kernel/net/bridge/bridge.ko.xz\nkernel/fs/overlayfs/overlay.ko:\n",
		"/usr/lib/modules/6.12.48+deb13-amd64/modules.builtin": "kernel/net/ipv4/netfilter/nf-x.ko\n",
		"/usr/lib/modules/5.10.0/modules.dep":                  "",
		"/usr/lib/modules/extra/readme":                        "x",
	})
	if len(c.Kernels) != 2 || c.Kernels[1].Release != "6.12.48+deb13-amd64" {
		t.Fatalf("%+v", c.Kernels)
	}
	k := c.Kernels[1]
	for m, want := range map[string]string{"br_netfilter": "module", "bridge": "", "overlay": "module", "nf_x": "builtin"} {
		if got := k.Has(m); got != want {
			t.Errorf("%s: %q, want %q", m, got, want)
		}
	}
}

func FuzzModprobe(f *testing.F) {
	f.Add("install a \\\n /bin/true\nblacklist b\n\\\n")
	f.Add("#x\\\nblacklist c\nalias a-* b\nblacklist")
	f.Fuzz(func(t *testing.T, data string) {
		for _, e := range ParseModprobe("/f", []byte(data)) {
			if e.Module == "" || e.Pos.Line == 0 {
				t.Fatalf("%+v", e)
			}
		}
		for _, e := range ParseLoad("/f", []byte(data)) {
			if e.Module == "" || e.Pos.Line == 0 {
				t.Fatalf("%+v", e)
			}
		}
	})
}
