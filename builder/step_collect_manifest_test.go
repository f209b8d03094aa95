package builder

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/packer-plugin-sdk/multistep"

	"github.com/nodeimage/packer-plugin-nodeimage/builder/bootstrap"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/manifest"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/rooted"
)

func openRoot(t *testing.T, files map[string]string) *rooted.Dir {
	t.Helper()
	dir := t.TempDir()
	write(t, dir, files)
	root, err := rooted.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	return root
}

func TestReadFragments(t *testing.T) {
	t.Parallel()
	dir := strings.TrimPrefix(manifest.FragmentDir, "/") + "/"
	got, err := readFragments(openRoot(t, map[string]string{
		dir + "runtime.json":    `{"components":[{"name":"runc","version":"1.5.2","source":"gomod","sum":"h1:x"},{"name":"containerd","version":"2.3.7","source":"gomod","sum":"h1:y"}]}`,
		dir + "kubernetes.json": `{"components":[{"name":"etcd","version":"3.7.0","source":"gomod","sum":"h1:z"}],"containerImages":[{"name":"b","digest":"sha256:1","size":1},{"name":"a","digest":"sha256:2","size":2}]}`,
		dir + "host.json":       `{}`,
		dir + "README":          `not a fragment`,
	}))
	want := manifest.Fragment{
		Components: []manifest.Component{
			{Name: "containerd", Version: "2.3.7", Source: "gomod", Sum: "h1:y"},
			{Name: "etcd", Version: "3.7.0", Source: "gomod", Sum: "h1:z"},
			{Name: "runc", Version: "1.5.2", Source: "gomod", Sum: "h1:x"},
		},
		Containers: []manifest.Container{{Name: "a", Digest: "sha256:2", Size: 2}, {Name: "b", Digest: "sha256:1", Size: 1}},
	}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v, fragments (-want +got):\n%s", err, diff)
	}
	if got, err := readFragments(openRoot(t, nil)); err != nil || !cmp.Equal(got, manifest.Fragment{}) {
		t.Errorf("without fragments: %v, %v", got, err)
	}
	_, err = readFragments(openRoot(t, map[string]string{
		dir + "a.json": `{"components":[{"name":"runc"}]}`, dir + "b.json": `{"components":[{"name":"runc"}]}`,
		dir + "c.json": `{"componets":[]}`, dir + "d.json": `{`,
	}))
	for _, want := range []string{"component runc", "a.json", "b.json", "componets", "d.json"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v lacks %q", err, want)
		}
	}
}

func TestCollectManifest(t *testing.T) {
	t.Parallel()
	collect := func(t *testing.T, status string) (*build, string, error) {
		b, said := prepared(t, nil)
		b.root = openRoot(t, map[string]string{"var/lib/dpkg/status": status})
		b.base = bootstrap.Base{Key: "k", Packages: []manifest.Package{{Name: "bash", Version: "5", Arch: "amd64", SHA256: "aa"}}}
		state := new(multistep.BasicStateBag)
		(&stepCollectManifest{build: b}).Run(t.Context(), state)
		return b, said.String(), stateError(state)
	}
	installed := func(name, version string) string {
		return "Package: " + name + "\nStatus: install ok installed\nVersion: " + version + "\nArchitecture: amd64\n\n"
	}
	b, said, err := collect(t, installed("bash", "5"))
	if err != nil || strings.Contains(said, "warning") {
		t.Fatalf("%v, %s", err, said)
	}
	again, _, _ := collect(t, installed("bash", "5"))
	other, said, err := collect(t, installed("bash", "5")+installed("htop", "3"))
	if err != nil || !strings.Contains(said, "htop 3") || strings.Contains(said, "bash") {
		t.Errorf("a package from elsewhere: %v, %q", err, said)
	}
	if diff := cmp.Diff([]manifest.Package{{Name: "bash", Version: "5", Arch: "amd64", SHA256: "aa"}, {Name: "htop", Version: "3", Arch: "amd64"}}, other.packages); diff != "" {
		t.Errorf("packages (-want +got):\n%s", diff)
	}
	if !strings.HasPrefix(b.inputs, "sha256:") || b.inputs != again.inputs || b.inputs == other.inputs {
		t.Errorf("inputs %s, again %s, other %s", b.inputs, again.inputs, other.inputs)
	}
	if _, _, err := collect(t, "Package: x\nStatus: install ok unpacked\nVersion: 1\nArchitecture: all\n"); err == nil || !strings.Contains(err.Error(), "unpacked") {
		t.Errorf("a half-installed package gave %v", err)
	}
}
