package profiles

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
)

var update = flag.Bool("update", false, "write the golden files anew")

func TestEffectiveProfiles(t *testing.T) {
	t.Parallel()
	for _, name := range Names() {
		got, err := load(t, name).YAML()
		if err != nil {
			t.Fatal(err)
		}
		golden := "testdata/" + name + ".golden.yaml"
		if *update {
			if err := os.WriteFile(golden, got, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), string(got)); diff != "" {
			t.Errorf("effective %s (-golden +got; go test ./profiles -update writes it anew):\n%s", name, diff)
		}
	}
}

func TestDebian13PinsWhatItPromises(t *testing.T) {
	t.Parallel()
	p := load(t, "debian-13")
	got := map[string]string{}
	for name, c := range p.Components {
		got[name] = string(c.Source) + " " + c.Version + " " + c.Module
	}
	want := map[string]string{
		"kubernetes":      "gomod 1.37.2 k8s.io/kubernetes",
		"containerd":      "gomod 2.3.7 github.com/containerd/containerd/v2",
		"runc":            "gomod 1.5.2 github.com/opencontainers/runc",
		"cni-plugins":     "gomod 1.9.1 github.com/containernetworking/plugins",
		"etcd":            "gomod 3.7.0 go.etcd.io/etcd/server/v3",
		"coredns":         "gomod 1.14.6 github.com/coredns/coredns",
		"pause":           "gomod 3.10.2 k8s.io/kubernetes",
		"kube-proxy-base": "deb  ",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("components (-want +got):\n%s", diff)
	}
	list := p.PackageList()
	if !slices.IsSorted(list) || len(slices.Compact(slices.Clone(list))) != len(list) {
		t.Errorf("PackageList() = %q, expected it sorted, each once", list)
	}
	for _, name := range []string{"linux-image-amd64", "apparmor", "cloud-init", "openssh-server", "shim-signed", "grub-pc-bin", "libseccomp2"} {
		if !slices.Contains(list, name) {
			t.Errorf("PackageList() lacks %s", name)
		}
	}
	if slices.Contains(list, "ipset") {
		t.Error("PackageList() has ipset, which belongs into kube-proxy's image only")
	}
}

func TestPackageListHasThoseOfDebComponents(t *testing.T) {
	t.Parallel()
	p := &Profile{
		Kernel:   Kernel{Package: "linux-image-amd64"},
		Packages: Packages{Include: map[string][]string{"b": {"systemd", "kmod"}, "a": {"kmod", "apparmor"}}},
		Components: map[string]Component{
			"containerd":      {Source: SourceDeb, Packages: []string{"containerd"}},
			"runc":            {Source: SourceGoModule, Packages: []string{"runc"}},
			"kube-proxy-base": {Source: SourceDeb, Packages: []string{"nftables"}},
		},
	}
	want := []string{"apparmor", "containerd", "kmod", "linux-image-amd64", "systemd"}
	if diff := cmp.Diff(want, p.PackageList()); diff != "" {
		t.Errorf("PackageList (-want +got):\n%s", diff)
	}
}

// TestYAMLLoadsAgain: what plan prints is a profile of its own.
func TestYAMLLoadsAgain(t *testing.T) {
	t.Parallel()
	for _, name := range Names() {
		p := load(t, name)
		text, err := p.YAML()
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(t.TempDir(), "again.yaml")
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
		again := load(t, file)
		if again.Extends != "" {
			t.Errorf("%s: the effective profile extends %q", name, again.Extends)
		}
		if p.Hash() != again.Hash() {
			t.Errorf("%s: loaded again it differs (-first +again):\n%s", name, cmp.Diff(p, again))
		}
	}
}

func TestHash(t *testing.T) {
	t.Parallel()
	p := load(t, "debian-13")
	first := p.Hash()
	if !regexp.MustCompile(`^[0-9a-f]{64}$`).MatchString(first) {
		t.Fatalf("Hash() = %q, expected 64 hexadecimal digits", first)
	}
	if again := load(t, "debian-13").Hash(); again != first {
		t.Errorf("Hash() is %s at first and %s then", first, again)
	}
	p.Extends = "" // says where a value came from, not what it is
	if got := p.Hash(); got != first {
		t.Error("Hash() depends on extends")
	}
	for name, change := range map[string]func(*Profile){
		"a sysctl":   func(p *Profile) { p.Host.Sysctls["kernel.panic"] = "11" },
		"a version":  func(p *Profile) { c := p.Components["runc"]; c.Version = "1.5.3"; p.Components["runc"] = c },
		"a package":  func(p *Profile) { p.Packages.Include["admin"] = append(p.Packages.Include["admin"], "jq") },
		"an order":   func(p *Profile) { slices.Reverse(p.Kernel.CommandLine) },
		"the name":   func(p *Profile) { p.Name = "other" },
		"the number": func(p *Profile) { p.Runtime.MaxConcurrentDownloads++ },
	} {
		changed := load(t, "debian-13")
		change(changed)
		if changed.Hash() == first {
			t.Errorf("Hash() does not notice %s", name)
		}
	}
}

func TestCanonicalJSONHasSortedKeys(t *testing.T) {
	t.Parallel()
	got := string((&Profile{Name: "a", Host: Host{Sysctls: map[string]string{"b.c": "1", "a.b": "2"}}}).canonical())
	if !strings.HasPrefix(got, `{"apiVersion":"","archive":{"keyring":"","sources":null},"components":null,"disk":{`) ||
		!strings.Contains(got, `"sysctls":{"a.b":"2","b.c":"1"}`) || strings.ContainsAny(got, " \n") {
		t.Errorf("canonical JSON: %s", got)
	}
}

func TestJSONHasListsAndNoNull(t *testing.T) {
	t.Parallel()
	out, err := load(t, "debian-13").JSON()
	if err != nil {
		t.Fatal(err)
	}
	var back Profile
	if err := json.Unmarshal(out, &back); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(out), "null") || !strings.HasSuffix(string(out), "}\n") {
		t.Errorf("JSON:\n%s\nexpected no null, and a newline at the end", out)
	}
}

func TestKubeadmImages(t *testing.T) {
	t.Parallel()
	p := load(t, "debian-13")
	got, err := KubeadmImages(p)
	if err != nil {
		t.Fatal(err)
	}
	// As `kubeadm config images list --kubernetes-version v1.37.2` prints them.
	want := []string{
		"registry.k8s.io/kube-apiserver:v1.37.2",
		"registry.k8s.io/kube-controller-manager:v1.37.2",
		"registry.k8s.io/kube-scheduler:v1.37.2",
		"registry.k8s.io/kube-proxy:v1.37.2",
		"registry.k8s.io/coredns/coredns:v1.14.6",
		"registry.k8s.io/pause:3.10.2",
		"registry.k8s.io/etcd:3.7.0-0",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("images (-want +got):\n%s", diff)
	}

	p.Kubernetes.ImageRepository = "registry.example.org:5000/k8s"
	kubernetes := p.Components["kubernetes"]
	kubernetes.Source, kubernetes.Version = SourceDeb, "1.37.2-1.1"
	p.Components["kubernetes"] = kubernetes
	if got, err = KubeadmImages(p); err != nil {
		t.Fatal(err)
	}
	if got[0] != "registry.example.org:5000/k8s/kube-apiserver:v1.37.2" {
		t.Errorf("first image %s: expected the tag without the Debian revision", got[0])
	}
	if got[4] != "registry.example.org:5000/k8s/coredns:v1.14.6" {
		t.Errorf("CoreDNS image %s: expected no directory of its own below another repository", got[4])
	}

	for _, name := range []string{"kubernetes", "etcd", "coredns", "pause"} {
		p := load(t, "debian-13")
		delete(p.Components, name)
		if got, err := KubeadmImages(p); exitcode.Of(err) != exitcode.Usage {
			t.Errorf("without %s: %q, %v: expected bad input", name, got, err)
		}
	}
}

func load(t *testing.T, name string) *Profile {
	t.Helper()
	p, err := Load(name)
	if err != nil {
		t.Fatalf("Load(%q):\n%v", name, err)
	}
	return p
}
