package profiles

import "testing"

func TestClosest(t *testing.T) {
	t.Parallel()
	words := []string{"version", "source", "sum", "module", "moduleVersion", "sha256"}
	for word, want := range map[string]string{
		"verison": "version", "Version": "version", "vesion": "version", "modul": "module",
		"moduleversion": "moduleVersion", "sha265": "sha256", "summ": "sum",
		"flavour": "", "x": "", "": "", "ab": "",
	} {
		if got := closest(word, words); got != want {
			t.Errorf("closest(%q) = %q, expected %q", word, got, want)
		}
	}
	if d := distance("ca", "abc"); d != 3 {
		t.Errorf("distance(ca, abc) = %d, expected 3", d)
	}
}
