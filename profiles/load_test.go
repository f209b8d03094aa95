package profiles

import (
	"slices"
	"testing"
)

func TestBuiltinProfilesLoad(t *testing.T) {
	t.Parallel()
	names := Names()
	if !slices.Contains(names, "debian-13") || slices.Contains(names, "debian") {
		t.Fatalf("Names() = %q, expected debian-13 and no abstract base", names)
	}
	for _, name := range names {
		p, err := Load(name)
		if err != nil {
			t.Errorf("Load(%q):\n%v", name, err)
			continue
		}
		if p.Name != name {
			t.Errorf("profiles/%s.yaml: name is %q", name, p.Name)
		}
	}
}
