package validate

import "testing"

func TestFixedIn(t *testing.T) {
	t.Parallel()
	fixed := []string{"1.6.32", "1.7.16", "2.0.0-rc.2"}
	for _, test := range []struct {
		version string
		want    Answer
	}{
		{"1.7.15", Answer{false, "1.7.16"}},
		{"1.7.16", Answer{true, "1.7.16"}},
		{"1.7", Answer{false, "1.7.16"}},
		{"2.0", Answer{true, "2.0.0-rc.2"}},
		{"2.3", Answer{true, ""}},
		{"1.5", Answer{false, ""}},
		{"1.5.9", Answer{false, ""}},
	} {
		if got := FixedIn(fixed, test.version); got != test.want {
			t.Errorf("%s: got %+v, want %+v", test.version, got, test.want)
		}
	}
	hole := Vulnerability{Introduced: "2.1.0", Fixed: []string{"2.1.9", "2.2.5", "2.3.2"}}
	for version, want := range map[string]bool{"1.7": false, "2.0.5": false, "2.1": true, "2.1.8": true, "2.1.9": false, "2.3": true, "2.4": false} {
		if got := hole.Affects(version); got != want {
			t.Errorf("%s: affected %v, want %v", version, got, want)
		}
	}
}
