package profiles

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
)

// child loads a profile that extends a built-in one.
func child(t *testing.T, base, text string) (*Profile, error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "child.yaml")
	head := "apiVersion: nodeimage.dev/v1alpha1\nkind: Profile\nname: child\nextends: " + base + "\n"
	if err := os.WriteFile(file, []byte(head+text), 0o600); err != nil {
		t.Fatal(err)
	}
	return Load(file)
}

const oldContainerd = `components:
  kubernetes: {version: 1.34.4}
  control-plane: {version: 1.34.4}
  etcd: {version: 3.6.5, image: "etcd:3.6.5-0"}
  coredns: {version: 1.12.1, image: "coredns/coredns:v1.12.1"}
  pause: {version: 3.10.1, image: "pause:3.10.1"}
  containerd: {version: 1.7.15}
`

// Each release's own fault is refused before anything is built, and the
// remedies that the message names are taken.
func TestFaultsOfASystem(t *testing.T) {
	t.Parallel()
	const labelled = "runtime: {runcPath: /usr/sbin/runc}\n"
	for name, tt := range map[string]struct{ base, text, want string }{
		"unfixed containerd, labelled runc": {"ubuntu-24.04", oldContainerd + labelled,
			`components.containerd.version: found "1.7.15" with runc at /usr/sbin/runc, which AppArmor of ubuntu-24.04 labels: AppArmor does not let runc stop containers, and pods stay in Terminating (apparmor-runc-signal-denied); expected 1.6.32, 1.7.16, 2.0.0-rc.2 or later in its branch, or runtime.runcPath /usr/local/sbin/runc`},
		"a fault that is wanted": {"ubuntu-24.04", oldContainerd + labelled + "knownFaults: [apparmor-runc-signal-denied]\n", ""},
		"a fault that is not there": {"ubuntu-24.04", oldContainerd + "knownFaults: [apparmor-runc-signal-denied]\n",
			`knownFaults[0]: found "apparmor-runc-signal-denied", which this profile does not have; expected no known fault`},
		"runc elsewhere":                         {"ubuntu-24.04", oldContainerd, ""},
		"runc where noble's AppArmor looks away": {"ubuntu-24.04", oldContainerd + "runtime: {runcPath: /usr/bin/runc}\n", ""},
		"without AppArmor":                       {"ubuntu-24.04", oldContainerd + labelled + "packages: {include: {security: []}}\n", ""},
		"AppArmor 3":                             {"ubuntu-22.04", oldContainerd + labelled, ""},
		"fixed containerd":                       {"ubuntu-24.04", strings.Replace(oldContainerd, "1.7.15", "1.7.28", 1) + labelled, ""},
		"hardware enablement, runc 1.4": {"ubuntu-24.04", "kernel: {package: linux-image-virtual-hwe-24.04}\ncomponents: {containerd: {version: 2.2.7}, runc: {version: 1.4.3, source: release}}\n",
			`components.runc.version: found "1.4.3" on kernel 7.0, which linux-image-virtual-hwe-24.04 of ubuntu-24.04 is: the kernel corrupts runc's memory when it sets up a container's devices (runc-bpf-corruption); expected 1.5.2 or later in its branch`},
		"hardware enablement, runc 1.5.2":  {"ubuntu-24.04", "kernel: {package: linux-image-virtual-hwe-24.04}\n", ""},
		"the release's kernel, runc 1.4":   {"ubuntu-24.04", "components: {containerd: {version: 2.2.7}, runc: {version: 1.4.3, source: release}}\n", ""},
		"a kernel that is not known":       {"ubuntu-24.04", "kernel: {package: linux-image-aws}\ncomponents: {containerd: {version: 2.2.7}, runc: {version: 1.4.3, source: release}}\n", ""},
		"26.04, runc 1.4":                  {"ubuntu-26.04", "components: {containerd: {version: 2.2.7}, runc: {version: 1.4.3, source: release}}\n", "(runc-bpf-corruption)"},
		"26.04, containerd without an ABI": {"ubuntu-26.04", "components: {containerd: {version: 2.2.1}}\n", "(apparmor-unix-sockets-denied); expected 1.7.31, 2.0.9, 2.1.7, 2.2.2, 2.3.0 or later"},
		"another release's name":           {"ubuntu-24.04", "os: {codename: jammy}\n", `os.codename: found "jammy", expected "noble", which ubuntu 24.04 is called`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := child(t, tt.base, tt.text)
			problems := problemsBesideSums(err)
			if tt.want == "" && len(problems) > 0 {
				t.Errorf("refused:\n%s", strings.Join(problems, "\n"))
			}
			if tt.want != "" && (len(problems) != 1 || !strings.Contains(problems[0], tt.want) || exitcode.Of(err) != exitcode.Usage) {
				t.Errorf("got:\n%s\nexpected bad input: %s", strings.Join(problems, "\n"), tt.want)
			}
		})
	}
}

func TestFixedReleases(t *testing.T) {
	t.Parallel()
	f := SystemFault{Fixed: []string{"1.6.32", "1.7.16", "2.0.0"}}
	for version, want := range map[string]bool{
		"1.5.9": false, "1.6.31": false, "1.6.32": true, "1.7.12-0ubuntu4": false, "1.7.15": false, "1.7.16": true, "1.7.24~ds1-6": true, "2.0.0": true, "2.3.7": true,
	} {
		if got := f.has(version); got != want {
			t.Errorf("%s has the fix: %t, expected %t", version, got, want)
		}
	}
}

func TestSnapshot(t *testing.T) {
	t.Parallel()
	p, err := child(t, "ubuntu-24.04", "archive: {snapshot: 20261101T000000Z}\n")
	if err != nil {
		t.Fatal(err)
	}
	const keyring = "/usr/share/keyrings/ubuntu-archive-keyring.gpg"
	const snapshot = "https://snapshot.ubuntu.com/ubuntu/20261101T000000Z"
	want := []ArchiveSource{
		{URI: snapshot, Suites: []string{"noble", "noble-updates"}, Components: []string{"main", "universe"}, Keyring: keyring},
		{URI: snapshot, Suites: []string{"noble-security"}, Components: []string{"main", "universe"}, Keyring: keyring},
	}
	if diff := cmp.Diff(want, p.Archive.Effective()); diff != "" {
		t.Errorf("sources (-want +got):\n%s", diff)
	}
	if p.Archive.Sources[0].URI != "http://archive.ubuntu.com/ubuntu" {
		t.Errorf("the image's own source is %s", p.Archive.Sources[0].URI)
	}
	for text, want := range map[string]string{
		"archive: {snapshot: \"2026-11-01\"}\n":   "a moment in UTC",
		"archive: {snapshot: 20261341T000000Z}\n": "a moment in UTC",
		"archive: {snapshot: 20261101T000000Z, sources: [{uri: \"http://a.example\", suites: [noble], components: [main]}]}\n":                                       "archive.sources[0].snapshotURI: missing",
		"archive: {sources: [{uri: \"http://a.example\", snapshotURI: \"http://a.example/now\", suites: [noble], components: [main]}]}\n":                            "with {snapshot} in it",
		"archive: {sources: [{uri: \"http://a.example\", snapshotURI: \"ftp://a.example/{snapshot}\", keyring: docker.asc, suites: [noble], components: [main]}]}\n": "starts with http://",
	} {
		if _, err := child(t, "ubuntu-24.04", text); exitcode.Of(err) != exitcode.Usage || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, expected %q", text, err, want)
		}
	}
}

func TestAComponentFromAnotherSourceReplacesTheBase(t *testing.T) {
	t.Parallel()
	p, err := child(t, "ubuntu-24.04", "components: {containerd: {version: 2.2.7}, runc: {version: 1.4.3, source: release}}\n")
	if err != nil {
		t.Fatal(err)
	}
	if c := p.Components["runc"]; c.Module != "" || c.Sum != "" || len(c.Files) != 1 {
		t.Errorf("runc from a release has the keys of a module: %+v", c)
	}
	if c := p.Components["containerd"]; c.Source != SourceRelease || c.Version != "2.2.7" {
		t.Errorf("containerd: %+v", c)
	}
}

func TestStandIns(t *testing.T) {
	t.Parallel()
	p, err := child(t, "debian-13", "standIns: [\"Debian's packages for Ubuntu's\"]\n")
	if err != nil || len(p.StandIns) != 1 {
		t.Fatalf("%v, %v", p, err)
	}
	if _, err := child(t, "debian-13", "standIns: [\"two\\nlines\"]\n"); exitcode.Of(err) != exitcode.Usage {
		t.Errorf("two lines: %v, expected bad input", err)
	}
}

// problemsBesideSums are the lines of an error, but for what the pinned sums
// lack: that is not what the tests of systems are about.
func problemsBesideSums(err error) (problems []string) {
	if err == nil {
		return nil
	}
	for line := range strings.Lines(err.Error()) {
		if !strings.Contains(line, "whose sums do not come") {
			problems = append(problems, strings.TrimSpace(line))
		}
	}
	return problems
}
