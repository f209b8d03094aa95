package profiles

import (
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
)

func TestConfigVersion(t *testing.T) {
	t.Parallel()
	for version, want := range map[string]int{
		"1.6.20": 2, "1.7.15": 2, "1.7.24~ds1-6+deb13u1": 2,
		"2.0.14": 3, "2.1.9+ds1-5": 3, "2.2.9": 3,
		"2.3.0": 4, "2.3.7": 4, "v2.4.2": 4, "1:2.3.7-1": 4,
	} {
		got, err := ConfigVersion(version)
		if err != nil || got != want {
			t.Errorf("ConfigVersion(%q) = %d, %v, expected %d", version, got, err, want)
		}
	}
	for _, version := range []string{"", "2", "2.30.0", "3.0.0", "latest"} {
		got, err := ConfigVersion(version)
		if exitcode.Of(err) != exitcode.Usage || !strings.Contains(err.Error(), "2.3") {
			t.Errorf("ConfigVersion(%q) = %d, %v, expected bad input that names what is known", version, got, err)
		}
	}
}

func TestPair(t *testing.T) {
	t.Parallel()
	table := builtinTable(t)
	for _, tt := range []struct {
		kubernetes, containerd string
		want                   Verdict
	}{
		{"1.37.2", "2.3.7", Recommended},
		{"1.37.2", "2.2.9", Works},
		{"1.37.2", "1.7.35", Fallback},
		{"1.37.2", "1.6.36", ""},
		{"1.34.3", "2.1.2", Works}, // listed from 2.1.3 on
		{"1.34.3", "2.1.3", Recommended},
		{"1.34.3", "2.1.10", Recommended},
		{"1.38.0", "2.4.2", ""},
		{"1.37.2", "2.5.0", ""},
	} {
		got, known := table.Pair(tt.kubernetes, tt.containerd)
		if got != tt.want || known != (tt.want != "") {
			t.Errorf("Pair(%s, %s) = %q, %t, expected %q", tt.kubernetes, tt.containerd, got, known, tt.want)
		}
	}
}

func TestWants(t *testing.T) {
	t.Parallel()
	table := builtinTable(t)
	for version, want := range map[string]string{
		"1.34.0": "3.6.4-0", "1.34.1": "3.6.4-0", "1.34.2": "3.6.5-0", "1.34.10": "3.6.5-0",
		"1.36.3": "3.6.8-0", "1.37.2": "3.7.0-0",
		"1.35.3": "", "1.38.0": "", "": "",
	} {
		got, known := table.Wants(version)
		if got.Etcd != want || known != (want != "") {
			t.Errorf("Wants(%q) = %+v, %t, expected etcd %q", version, got, known, want)
		}
	}
}

func TestBranchesAreInNumericOrder(t *testing.T) {
	t.Parallel()
	got := Branches(map[string]bool{"1.10": true, "2.0": true, "1.9": true, "1.2": true})
	if diff := cmp.Diff([]string{"1.2", "1.9", "1.10", "2.0"}, got); diff != "" {
		t.Errorf("Branches (-want +got):\n%s", diff)
	}
}

// table is small, valid, and has a pair that is refused.
const table = `apiVersion: nodeimage.dev/v1alpha1
kind: Compatibility
sources:
  notes: {title: release notes, url: "https://example.org/notes", read: 2026-11-23}
kubernetes:
  "1.37":
    endOfLife: 2027-10-28
    sources: [notes]
    kubeadm:
      - {from: 1.37.0, etcd: 3.7.0-0, coredns: v1.14.6, pause: 3.10.2}
    containerd:
      "2.3": {verdict: refused}
      "2.4": {verdict: works, from: 2.4.1}
containerd:
  "2.3": {configVersion: 4, runc: "1.5", endOfLife: 2028-04-30, sources: [notes]}
  "2.4": {configVersion: 4, runc: "1.5", endOfLife: 2028-04-30, sources: [notes]}
runc:
  "1.5": {support: full, sources: [notes]}
systems:
  debian-13: {codename: trixie, kernels: {linux-image-amd64: "6.12"}, labelledRunc: [/usr/sbin/runc], sources: [notes]}
faults:
  some-fault: {program: runc, title: it breaks, fixed: [1.4.1, 1.5.2], kernelFrom: "6.17", sources: [notes]}
`

func TestRefusedPair(t *testing.T) {
	t.Parallel()
	r := newReader()
	r.compatibility = func() (*Compatibility, error) {
		return readCompatibility(fstest.MapFS{compatibilityFile: {Data: []byte(table)}})
	}
	_, err := r.resolve(source{name: "x.yaml", data: []byte(readGood(t))})
	const want = `x.yaml:55:14: components.containerd.version: found "2.3.7", which does not run with Kubernetes 1.37.2; expected 2.4 (works)`
	if err == nil || err.Error() != want {
		t.Errorf("resolve: %v\nexpected: %s", err, want)
	}
}

func TestTableRefusals(t *testing.T) {
	t.Parallel()
	if _, err := readCompatibility(fstest.MapFS{compatibilityFile: {Data: []byte(table)}}); err != nil {
		t.Fatalf("the unchanged table:\n%v", err)
	}
	for _, tt := range []struct{ name, old, new, want string }{
		{"unknown key", "support: full", "suport: full", `18:11: runc["1.5"].suport: unknown key; did you mean "support"?`},
		{"other kind", "kind: Compatibility", "kind: Profile", `2:7: kind: found "Profile", expected Compatibility`},
		{"source without a date", ", read: 2026-11-23", "", `4:3: sources.notes.read: missing: expected a day such as 2026-11-23`},
		{"source over http", "https://example.org", "http://example.org", `4:38: sources.notes.url: found "http://example.org/notes", expected a URI that starts with https://`},
		{"unknown source", "2027-10-28\n    sources: [notes]", "2027-10-28\n    sources: [hearsay]", `8:15: kubernetes["1.37"].sources[0]: found "hearsay", expected notes`},
		{"no source", "{support: full, sources: [notes]}", "{support: full}", `18:3: runc["1.5"].sources: found none, expected at least one source`},
		{"branch that is a version", "  \"1.5\": {sup", "  \"1.5.2\": {sup", `15:35: containerd["2.3"].runc: runc 1.5 is not described under runc
profiles/compatibility.yaml:16:35: containerd["2.4"].runc: runc 1.5 is not described under runc
profiles/compatibility.yaml:18:3: runc["1.5.2"]: found "1.5.2", expected a major and minor version such as "1.37"`},
		{"verdict", "verdict: refused", "verdict: maybe", `12:24: kubernetes["1.37"].containerd["2.3"].verdict: found "maybe", expected one of recommended, works, fallback, refused`},
		{"pair with an unknown branch", "      \"2.3\": {v", "      \"2.5\": {v", `12:7: kubernetes["1.37"].containerd["2.5"]: containerd 2.5 is not described under containerd`},
		{"pair from another branch", "from: 2.4.1", "from: 2.3.1", `13:37: kubernetes["1.37"].containerd["2.4"].from: found "2.3.1", expected a version of 2.4`},
		{"kubeadm of another minor", "from: 1.37.0", "from: 1.36.0", `10:16: kubernetes["1.37"].kubeadm[0].from: found "1.36.0", expected a version of 1.37, in ascending order`},
		{"tag without v", "v1.14.6", "1.14.6", `10:48: kubernetes["1.37"].kubeadm[0].coredns: found "1.14.6", expected a CoreDNS image tag`},
		{"configuration version", "\"2.4\": {configVersion: 4", "\"2.4\": {configVersion: 5", `16:26: containerd["2.4"].configVersion: found 5, expected 2, 3 or 4`},
		{"system that is none", "debian-13:", "gentoo-13:", `20:3: systems.gentoo-13: found "gentoo-13", expected ID and VERSION_ID of os-release, such as ubuntu-24.04`},
		{"kernel that is none", "\"6.12\"", "stable", `20:62: systems.debian-13.kernels.linux-image-amd64: found "stable", expected a kernel version such as "6.8"`},
		{"runc that is no path", "[/usr/sbin/runc]", "[runc]", `20:86: systems.debian-13.labelledRunc[0]: found "runc", expected the absolute path of a runc that AppArmor labels, without ., .. or a slash at the end`},
		{"fault of another program", "program: runc", "program: kubelet", `22:25: faults.some-fault.program: found "kubelet", expected one of containerd, runc`},
		{"fixes out of order", "[1.4.1, 1.5.2]", "[1.5.2, 1.4.1]", `22:56: faults.some-fault.fixed: found 1.5.2, 1.4.1, expected them in ascending order`},
		{"day that is none", "2027-10-28", "next year", `7:16: kubernetes["1.37"].endOfLife: found "next year", expected a day such as 2026-11-23`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if n := strings.Count(table, tt.old); n != 1 {
				t.Fatalf("%q is %d times in the table, expected once", tt.old, n)
			}
			changed := strings.Replace(table, tt.old, tt.new, 1)
			_, err := readCompatibility(fstest.MapFS{compatibilityFile: {Data: []byte(changed)}})
			want := "profiles/" + compatibilityFile + ":" + tt.want
			if err == nil || err.Error() != want {
				t.Errorf("got:      %v\nexpected: %s", err, want)
			}
		})
	}
}

func TestTableIsMissing(t *testing.T) {
	t.Parallel()
	if _, err := readCompatibility(fstest.MapFS{}); err == nil || !strings.Contains(err.Error(), fs.ErrNotExist.Error()) {
		t.Errorf("readCompatibility without a file: %v, expected an error", err)
	}
}

func builtinTable(t *testing.T) *Compatibility {
	t.Helper()
	c, err := LoadCompatibility()
	if err != nil {
		t.Fatal(err)
	}
	return c
}
