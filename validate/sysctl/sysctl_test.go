package sysctl

import (
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/nodeimage/packer-plugin-nodeimage/validate/source"
)

func load(t *testing.T, files map[string]string) *Config {
	t.Helper()
	root := fstest.MapFS{}
	for p, d := range files {
		f := &fstest.MapFile{Data: []byte(d)}
		if target, ok := strings.CutPrefix(d, "-> "); ok {
			f = &fstest.MapFile{Data: []byte(target), Mode: fs.ModeSymlink | 0o777}
		}
		root[source.Name(p)] = f
	}
	c, err := Load(root)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestOrder(t *testing.T) {
	t.Parallel()
	c := load(t, map[string]string{
		"/usr/lib/sysctl.d/50-default.conf": "net.ipv4.ip_forward = 0\nkernel.sysrq = 438\n",
		"/etc/sysctl.d/50-default.conf":     "kernel.sysrq = 0\n", // hides the one in /usr
		"/usr/lib/sysctl.d/90-kube.conf":    "# forward\nnet.ipv4.ip_forward=1\n-net/bridge/bridge-nf-call-iptables = 1\n",
		"/etc/sysctl.d/60-off.conf":         "net.ipv4.ip_forward = 0\n",
		"/etc/sysctl.d/zz.txt":              "net.ipv4.ip_forward = 2\n",
		"/usr/lib/sysctl.d/95-masked.conf":  "net.ipv4.ip_forward = 0\n",
		"/etc/sysctl.d/95-masked.conf":      "-> /dev/null",
	})
	got, ok := c.Get("net.ipv4.ip_forward")
	off := source.Position{File: "/etc/sysctl.d/60-off.conf", Line: 1}
	want := Setting{"net.ipv4.ip_forward", "1", false, source.Position{File: "/usr/lib/sysctl.d/90-kube.conf", Line: 2},
		[]Setting{{"net.ipv4.ip_forward", "0", false, off, nil}}}
	if diff := cmp.Diff(want, got); !ok || diff != "" {
		t.Error(diff)
	}
	if s, _ := c.Get("kernel.sysrq"); s.Value != "0" {
		t.Errorf("a file in /etc has to hide its namesake: %+v", s)
	}
	s, ok := c.Get("/proc/sys/net/bridge/bridge-nf-call-iptables")
	if !ok || s.Value != "1" || !s.IgnoreFailure || s.Key != "net.bridge.bridge-nf-call-iptables" {
		t.Errorf("%+v", s)
	}
	if _, ok := c.Get("vm.swappiness"); ok {
		t.Error("a key that no file sets is set")
	}
}

func TestPatterns(t *testing.T) {
	t.Parallel()
	c := load(t, map[string]string{
		"/usr/lib/sysctl.d/50.conf": "net.ipv4.conf.all.rp_filter = 2\nnet.ipv4.conf.*.rp_filter = 1\n-net.ipv4.conf.lo.rp_filter\nnet.ipv4.conf.*.rp_filter = 0\n",
		"/etc/sysctl.d/60.conf":     "nothing here\n= 3\nnet/ipv4/conf/eth0.1/forwarding = 1\n",
	})
	for key, want := range map[string]string{"net.ipv4.conf.all.rp_filter": "2", "net.ipv4.conf.eth0.rp_filter": "0", "net/ipv4/conf/eth0.1/forwarding": "1",
		"/net/ipv4/conf/eth0.1/forwarding":          "1",
		"/proc/sys/net/ipv4/conf/eth0.1/forwarding": "1"} {
		if s, ok := c.Get(key); !ok || s.Value != want {
			t.Errorf("%s: %+v, want %s", key, s, want)
		}
	}
	if _, ok := c.Get("net.ipv4.conf.lo.rp_filter"); ok {
		t.Error("an excluded key is set")
	}
	if len(c.Problems) != 2 || c.Problems[0].Pos.Line != 1 || c.Problems[1].Pos.Line != 2 {
		t.Errorf("%+v", c.Problems)
	}
	if n := len(c.All()); n != 3 {
		t.Errorf("%d settings, want 3: %+v", n, c.All())
	}
}

func TestStraySysctlConf(t *testing.T) {
	t.Parallel()
	files := map[string]string{"/etc/sysctl.conf": "net.ipv4.ip_forward=1\n"}
	c := load(t, files)
	if _, ok := c.Get("net.ipv4.ip_forward"); ok || c.StrayFile == "" {
		t.Error("systemd-sysctl does not read /etc/sysctl.conf")
	}
	if s, ok := c.Stray("net.ipv4.ip_forward"); !ok || s.Value != "1" {
		t.Errorf("%+v", s)
	}
	files["/etc/sysctl.d/99-sysctl.conf"] = "-> ../sysctl.conf"
	if c = load(t, files); c.StrayFile != "" {
		t.Error("the link in sysctl.d makes it read")
	}
	if s, ok := c.Get("net.ipv4.ip_forward"); !ok || s.Value != "1" {
		t.Errorf("%+v", s)
	}
}

func FuzzParse(f *testing.F) {
	f.Add("net.ipv4.ip_forward = 1\n-a/b.c=2\n-x.*.y\n[=\n")
	f.Add("# c\n;\n=\n-\n-=\n/proc/sys/a/../b = \x00\n")
	f.Fuzz(func(t *testing.T, data string) {
		c, err := Load(fstest.MapFS{"etc/sysctl.d/1.conf": {Data: []byte(data)}, "usr/lib/sysctl.d/2.conf": {Data: []byte("net.*.x = 1\n")}})
		if err != nil {
			t.Skip()
		}
		for _, s := range c.All() {
			if s.Pos.Line == 0 || s.Key == "" {
				t.Fatalf("%+v", s)
			}
			if !isPattern(s.Key) {
				// As a path, since "a/b.c" may be a dotted key or a path.
				if got, ok := c.Get("/" + slashed(s.Key)); !ok || got.Value != s.Value {
					t.Fatalf("%q is listed as %q and read as %q, %v", s.Key, s.Value, got.Value, ok)
				}
			}
		}
	})
}
