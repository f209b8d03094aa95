package profiles

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// containerd and runc of Docker's package are pinned by version and sum, and by
// who signs the archive.
func TestDockersPackage(t *testing.T) {
	t.Parallel()
	p := load(t, "ubuntu-24.04-docker")
	if got := p.PackagePins()["containerd.io"]; got != "2.3.6-1~ubuntu.24.04~noble" {
		t.Errorf("containerd.io is pinned to %q", got)
	}
	if diff := cmp.Diff(map[string]string{"containerd.io": p.Components["containerd"].SHA256["amd64"]}, p.PackageSums()); diff != "" {
		t.Errorf("sums (-want +got):\n%s", diff)
	}
	sources := p.Archive.Effective()
	if docker := sources[len(sources)-1]; docker.URI != "https://download.docker.com/linux/ubuntu" || docker.Signer != "9DC858229FC7DD38854AE2D88D81803C0EBFCD88" || docker.Keyring != "/usr/share/keyrings/docker.asc" {
		t.Errorf("Docker's archive: %+v", docker)
	}
	for _, name := range p.PackageList() {
		if name == "containerd" || name == "runc" {
			t.Errorf("%s conflicts with containerd.io", name)
		}
	}
}

func TestRefusalsOfPackages(t *testing.T) {
	t.Parallel()
	const old = oldContainerd + "  runc: {version: 1.1.15, source: deb, packages: [containerd.io]}\n"
	unfixed := strings.Replace(old, "  containerd: {version: 1.7.15}\n", "  containerd: {version: 1.7.15-1, source: deb, packages: [containerd.io]}\n", 1)
	for name, tt := range map[string]struct{ base, text, want string }{
		"as it is": {"ubuntu-24.04-docker", "", ""},
		"runc elsewhere": {"ubuntu-24.04-docker", "runtime: {runcPath: /usr/local/sbin/runc}\n",
			`runtime.runcPath: found "/usr/local/sbin/runc", expected /usr/bin/runc or /usr/sbin/runc: components.runc is a package, which has it there`},
		"a name for the key": {"ubuntu-24.04-docker", "archive: {sources: [{uri: https://download.docker.com/linux/ubuntu, suites: [noble], components: [stable], signer: docker@docker.com}]}\n",
			`archive.sources[0].signer: found "docker@docker.com", expected the fingerprint of an OpenPGP key in 40 or 64 upper-case hexadecimal digits`},
		"a sum that is none": {"ubuntu-24.04-docker", "components: {containerd: {sha256: {amd64: abc}}}\n",
			`components.containerd.sha256.amd64: found "abc", expected 64 lower-case hexadecimal digits`},
		"no sum for the architecture": {"ubuntu-24.04-docker", "os: {arch: arm64}\n", `components.containerd.sha256.arm64: missing: expected the sha256 of the file for arm64`},
		"a sum without a version":     {"debian-13", "components: {kube-proxy-base: {sha256: {amd64: " + someSum + "}}}\n", `components.kube-proxy-base.sha256: a sum belongs to a version: this component has none`},
		"a sum of a module":           {"debian-13", "components: {runc: {sha256: {amd64: " + someSum + "}}}\n", `components.runc.sha256: source gomod does not use this key: remove it`},
		// The rule is about the path that the package has runc at.
		"unfixed, where noble's AppArmor looks away": {"ubuntu-24.04", unfixed + "runtime: {runcPath: /usr/bin/runc}\n", ""},
		"unfixed, on 26.04":                          {"ubuntu-26.04", unfixed + "runtime: {runcPath: /usr/bin/runc}\nknownFaults: []\n", "with runc at /usr/bin/runc, which AppArmor of ubuntu-26.04 labels: AppArmor does not let runc stop containers"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := child(t, tt.base, tt.text)
			all := strings.Join(problemsBesideSums(err), "\n")
			if tt.want == "" && all != "" || !strings.Contains(all, tt.want) {
				t.Errorf("got:\n%s\nexpected: %s", all, tt.want)
			}
		})
	}
}
