package runtime

import (
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nodeimage/packer-plugin-nodeimage/profiles"
)

var update = flag.Bool("update", false, "write the golden files anew")

// debian13 is the built-in profile with another containerd.
func debian13(t *testing.T, containerd string) *profiles.Profile {
	t.Helper()
	p, err := profiles.Load("debian-13")
	if err != nil {
		t.Fatal(err)
	}
	c := p.Components["containerd"]
	c.Version = containerd
	p.Components["containerd"] = c
	return p
}

func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got; -update writes it anew):\n%s", path, diff)
	}
}

func TestConfigTOML(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"1.7.18", "2.0.14", "2.1.9", "2.2.9", "2.3.7"} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			p := debian13(t, version)
			// A second runc handler and one that is none: every runc handler
			// gets the driver (kubelet asks for one only), the other no options.
			p.Runtime.Handlers = append(p.Runtime.Handlers,
				profiles.Handler{Name: "nvidia", Type: "io.containerd.runc.v2"},
				profiles.Handler{Name: "kata", Type: "io.containerd.kata.v2"})
			got, err := ConfigTOML(p)
			if err != nil {
				t.Fatal(err)
			}
			golden(t, filepath.Join("testdata", "config", version+".toml"), got)
		})
	}
}

func TestConfigTOMLFaultProfile(t *testing.T) {
	t.Parallel()
	p := debian13(t, "1.7.18")
	p.Runtime.CgroupDriver = "cgroupfs"
	got, err := ConfigTOML(p)
	if err != nil {
		t.Fatal(err)
	}
	golden(t, filepath.Join("testdata", "config", "1.7.18-cgroupfs.toml"), got)
}

func TestConfigTOMLUnknownContainerd(t *testing.T) {
	t.Parallel()
	if _, err := ConfigTOML(debian13(t, "9.9.9")); err == nil {
		t.Error("ConfigTOML accepted a containerd whose configuration version nobody knows")
	}
}
