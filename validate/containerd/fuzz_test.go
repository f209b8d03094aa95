package containerd

import (
	"testing"
	"testing/fstest"
)

// FuzzEffective feeds a main file and a drop-in to every rule set: nothing may
// panic, and what is said must hold together.
func FuzzEffective(f *testing.F) {
	for _, r := range matrix() {
		drop := ""
		for _, d := range r.drop {
			drop = d
		}
		f.Add(r.main, drop)
	}
	f.Add("version = 2\n[plugins]\n\"io.containerd.grpc.v1.cri\" = 1\n", "")
	f.Add("version = -1\nplugins = {cri = {containerd = {runtimes = [1]}}}\n", "imports = [\"[\", \"*\"]\n")
	f.Add("[[plugins.cri]]\na = 1\n", "version = 9223372036854775807\n")
	f.Fuzz(func(t *testing.T, main, drop string) {
		root := fstest.MapFS{
			"etc/containerd/config.toml":      {Data: []byte(main)},
			"etc/containerd/conf.d/10.toml":   {Data: []byte(drop)},
			"etc/containerd/conf.d/20.toml":   {Data: []byte(main)},
			"etc/containerd/conf.d/none.conf": {Data: []byte(drop)},
		}
		for _, v := range []string{"1.6.20", "1.7.24", "2.0.14", "2.2.9", "2.3.4", "2.4.2"} {
			c, err := Effective(root, DefaultPath, v)
			if err != nil {
				continue
			}
			if len(c.Files) > 3 {
				t.Fatalf("%s: a file was read twice: %v", v, c.Files)
			}
			if c.Refusal != nil && c.CRIServed() {
				t.Fatalf("%s: CRI served by a containerd that does not start", v)
			}
			a := c.RuntimeConfig(true)
			if a.Handler != "" && c.Handlers[a.Handler] == nil {
				t.Fatalf("%s: answer of an unknown handler %q", v, a.Handler)
			}
			for _, i := range c.Ignored {
				if i.Pos.IsDefault() {
					t.Fatalf("%s: ignored key %q without a file", v, i.Key)
				}
			}
		}
	})
}
