package profiles

import (
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

// releaseNode has every program from a release whose sums come with nodeimage
// and every image but etcd's from a registry.
const releaseNode = header + `name: release-node
extends: debian
os: {version: "13", codename: trixie}
archive: {sources: [{uri: "http://deb.debian.org/debian", suites: [trixie], components: [main]}]}
components:
  kubernetes: {version: 1.36.4, source: release}
  containerd: {version: 2.2.7, source: release}
  runc: {version: 1.4.3, source: release}
  cni-plugins: {version: 1.9.1, source: release}
  crictl: {version: 1.36.0, source: release}
  etcd: {version: 3.6.8, source: release, image: "etcd:3.6.8-0"}
  coredns: {version: 1.14.2, source: registry, image: "coredns/coredns:v1.14.2", digest: "sha256:` + digestOfTest + `"}
  pause: {version: 3.10.2, source: registry, image: "pause:3.10.2", digest: "sha256:` + digestOfTest + `"}
  kube-apiserver: {source: registry, digest: "sha256:` + digestOfTest + `"}
  kube-controller-manager: {source: registry, digest: "sha256:` + digestOfTest + `"}
  kube-scheduler: {source: registry, digest: "sha256:` + digestOfTest + `"}
  kube-proxy: {source: registry, digest: "sha256:` + digestOfTest + `"}
`

const digestOfTest = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

func TestReleaseProfile(t *testing.T) {
	t.Parallel()
	p, problems := tree(t, map[string]string{"n.yaml": releaseNode}, "n.yaml")
	if problems != nil {
		t.Fatal(problems)
	}
	if v := p.Components["kube-apiserver"].Version; v != "1.36.4" {
		t.Errorf("kube-apiserver has version %q, expected that of kubernetes", v)
	}
	want := []Fetch{
		{URL: "https://dl.k8s.io/release/v1.36.4/bin/linux/amd64/kubeadm", Name: "kubeadm", SHA256: "10d054585907f2c8bb823c84f6a66b3bd2a474c3d795475f04e9a44f78650fe6"},
		{URL: "https://dl.k8s.io/release/v1.36.4/bin/linux/amd64/kubelet", Name: "kubelet", SHA256: "cf2562db46c48ab84cc3791540778ee7fb1a0a008529adbb434723dd02ed8b4b"},
		{URL: "https://dl.k8s.io/release/v1.36.4/bin/linux/amd64/kubectl", Name: "kubectl", SHA256: "8b8f088da2dab964f853b38464033b1be15ede2839eca751482357c45abdd05a"},
	}
	if diff := cmp.Diff(want, p.Components["kubernetes"].Fetches("amd64")); diff != "" {
		t.Errorf("files of kubernetes (-want +got):\n%s", diff)
	}
	for name, want := range map[string]Fetch{
		"runc":       {URL: "https://github.com/opencontainers/runc/releases/download/v1.4.3/runc.arm64", Name: "runc", SHA256: "633301e2e32f8a5ad54031aab4901eb00308bec677dd15faa2751e8f9dab5ca4"},
		"containerd": {URL: "https://github.com/containerd/containerd/releases/download/v2.2.7/containerd-2.2.7-linux-arm64.tar.gz", SHA256: "84eb0a161e20ad45465202fa2d6d93b3d9b74666c363e9908706d590a86e2618"},
	} {
		if diff := cmp.Diff([]Fetch{want}, p.Components[name].Fetches("arm64")); diff != "" {
			t.Errorf("files of %s for arm64 (-want +got):\n%s", name, diff)
		}
	}
	// What the file left out is in the effective profile, which says the same
	// when it is read again, with other sums compiled in or none.
	text, err := p.YAML()
	if err != nil {
		t.Fatal(err)
	}
	again, problems := tree(t, map[string]string{"n.yaml": string(text)}, "n.yaml")
	if problems != nil || again.Hash() != p.Hash() {
		t.Errorf("the effective profile, read again: %v\n%s", problems, text)
	}
}

// With the control plane in no registry it is assembled, from a component of
// its own or from programs that the profile names.
func TestControlPlaneAssembled(t *testing.T) {
	t.Parallel()
	lines := strings.Split(releaseNode, "\n")
	var less []string
	for _, line := range lines {
		if !strings.HasPrefix(line, "  kube-") {
			less = append(less, line)
		}
	}
	base := strings.Join(less, "\n")
	for name, add := range map[string]string{
		"module":   "  control-plane: {version: 1.36.4, source: gomod, module: k8s.io/kubernetes, sum: \"h1:A2VDEiObzkYqFTKhSsn0ZEb0RlLEXpHWj93gi2HqEwE=\"}\n",
		"programs": "  control-plane:\n    version: 1.36.4\n    source: file\n    files: [{path: \"/srv/{arch}/{version}/kube-proxy\", sha256: {amd64: " + digestOfTest + "}}]\n",
	} {
		if _, problems := tree(t, map[string]string{"n.yaml": base + add}, "n.yaml"); problems != nil {
			t.Errorf("%s: %v", name, problems)
		}
	}
}

func TestReleasesRefused(t *testing.T) {
	t.Parallel()
	const good = `apiVersion: nodeimage.dev/v1alpha1
kind: Releases
sources:
  a: {title: t, url: "https://example.org", read: 2026-11-24}
components:
  runc:
    sources: [a]
    files: [{name: runc, url: "https://example.org/v{version}/runc.{arch}"}]
    signature: {kind: cosign, subject: a@example.org, issuer: "https://example.org"}
    versions:
      "1.4.3":
        - {amd64: ` + digestOfTest + `, arm64: ` + digestOfTest + `}
`
	for _, tt := range []struct{ name, old, new, want string }{
		{"other kind", "kind: Releases", "kind: Profile", `2:7: kind: found "Profile", expected Releases`},
		{"source that is not described", "sources: [a]", "sources: [b]", `7:15: components.runc.sources[0]: found "b", expected a`},
		{"placeholder", "runc.{arch}", "runc.{os}", `8:31: components.runc.files[0].url: found the placeholder "{os}", expected {version} or {arch}`},
		{"sum missing for an architecture", ", arm64: " + digestOfTest, "", `12:11: components.runc.versions["1.4.3"][0].arm64: missing: expected 64 lower-case hexadecimal digits`},
		{"sum of a file that is not there", "    versions:\n      \"1.4.3\":\n", "    versions:\n      \"1.4.3\":\n        - {amd64: " + digestOfTest + ", arm64: " + digestOfTest + "}\n", `12:9: components.runc.versions["1.4.3"]: found sums of 2 files, expected 1`},
		{"signature without an issuer", ", issuer: \"https://example.org\"", "", `9:5: components.runc.signature.issuer: missing: expected a URI that starts with https://`},
		{"signature of an unknown kind", "kind: cosign", "kind: minisign", `9:23: components.runc.signature.kind: found "minisign", expected one of cosign, openpgp`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if strings.Count(good, tt.old) != 1 {
				t.Fatalf("%q is not once in the good file", tt.old)
			}
			_, err := readReleases(fstest.MapFS{releasesFile: {Data: []byte(strings.Replace(good, tt.old, tt.new, 1))}})
			if want := "profiles/" + releasesFile + ":" + tt.want; err == nil || err.Error() != want {
				t.Errorf("found\n%v\nexpected\n%s", err, want)
			}
		})
	}
	if _, err := readReleases(fstest.MapFS{releasesFile: {Data: []byte(good)}}); err != nil {
		t.Error(err)
	}
}

func TestBuiltinReleases(t *testing.T) {
	t.Parallel()
	r, err := LoadReleases()
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]string{}
	for name, c := range r.Components {
		for version, sums := range c.Versions {
			for i := range sums {
				for arch, sum := range sums[i] {
					// One sum twice is one of two pasted in the wrong place.
					id := strings.Join([]string{name, version, c.Files[i].URL, arch}, " ")
					if other, twice := seen[sum]; twice {
						t.Errorf("%s has the sum of %s", id, other)
					}
					seen[sum] = id
				}
			}
		}
	}
}
