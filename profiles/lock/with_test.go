package lock

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/profiles"
)

// later is what a resolve of today gives: everything has moved.
func later() *Lock {
	l := example()
	for i := range l.Packages {
		l.Packages[i].Version += "+new"
	}
	l.Packages = append(l.Packages, Package{Name: "zlib1g", Version: "1.3"})
	l.Kernel.Release = "6.12.2-amd64"
	l.Releases[0].Date = "2026-03-01T00:00:00Z"
	l.Components[0].Version, l.Components[0].Sum = "1.5.3", "h1:y="
	l.Images[0].Digest = "sha256:" + sum("0")
	return l
}

func wants(runc string) *profiles.Profile {
	return &profiles.Profile{Components: map[string]profiles.Component{"runc": {Version: runc}, "kube-proxy-base": {}}}
}

func TestOnlyWhatIsNamedMoves(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		names []string
		runc  string
		want  []string
	}{
		"a component": {[]string{"runc"}, "1.5.3", []string{
			"~ component runc 1.5.2 -> 1.5.3",
			"~ image registry.k8s.io/pause:3.10.2 sha256:999999999999 -> sha256:000000000000",
		}},
		"a package": {[]string{"libc6"}, "1.5.2", []string{
			"~ image registry.k8s.io/pause:3.10.2 sha256:999999999999 -> sha256:000000000000",
			"~ package libc6 2.41-12+deb13u1 -> 2.41-12+deb13u1+new",
			"~ release http://m.example/debian trixie 2026-01-31T12:00:00Z -> 2026-03-01T00:00:00Z",
		}},
		"the kernel": {[]string{"linux-image-6.12.1-amd64"}, "1.5.2", []string{
			"~ kernel kernel 6.12.1-amd64 -> 6.12.2-amd64",
			"~ image registry.k8s.io/pause:3.10.2 sha256:999999999999 -> sha256:000000000000",
			"~ package linux-image-6.12.1-amd64 6.12.1-1 -> 6.12.1-1+new",
			"~ release http://m.example/debian trixie 2026-01-31T12:00:00Z -> 2026-03-01T00:00:00Z",
		}},
		"a package that is new": {[]string{"zlib1g"}, "1.5.2", []string{
			"~ image registry.k8s.io/pause:3.10.2 sha256:999999999999 -> sha256:000000000000",
			"+ package zlib1g 1.3",
			"~ release http://m.example/debian trixie 2026-01-31T12:00:00Z -> 2026-03-01T00:00:00Z",
		}},
	} {
		old := example()
		merged, err := old.With(later(), wants(tc.runc), tc.names)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		var got []string
		for _, c := range merged.Compare(old) {
			got = append(got, c.String())
		}
		if diff := cmp.Diff(tc.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		if diff := cmp.Diff(example().Content, old.Content); diff != "" {
			t.Errorf("%s: the old lock was changed:\n%s", name, diff)
		}
	}
}

func TestWhatCannotMoveAlone(t *testing.T) {
	t.Parallel()
	// The profile was moved to another runc, which is not named.
	_, err := example().With(later(), wants("1.5.3"), []string{"libc6", "nonsense"})
	if exitcode.Of(err) != exitcode.Usage {
		t.Fatalf("got %v, want bad input", err)
	}
	for _, want := range []string{"nonsense is no component and no package", `component runc: the profile wants 1.5.3, and the lock has "1.5.2": name it, too`} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("want %q in: %v", want, err)
		}
	}
	// What the profile no longer has goes without being named.
	p := wants("1.5.2")
	delete(p.Components, "kube-proxy-base")
	now := later()
	now.Components = now.Components[:1]
	merged, err := example().With(now, p, []string{"libc6"})
	if err != nil || len(merged.Components) != 1 {
		t.Errorf("%v: %+v", err, merged)
	}
}
