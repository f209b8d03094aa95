package profiles

import (
	"strings"
	"testing"
)

// A text is held to the same as a file, and finds no profile beside it.
func TestRead(t *testing.T) {
	t.Parallel()
	base, err := Load("debian-13")
	if err != nil {
		t.Fatal(err)
	}
	text, err := base.YAML()
	if err != nil {
		t.Fatal(err)
	}
	if p, err := Read("again", text); err != nil || p.Hash() != base.Hash() {
		t.Errorf("got another profile, %v", err)
	}
	for _, tt := range []struct{ text, want string }{
		{strings.Replace(string(text), "kind: Profile", "kind: Profil", 1), `again:2:7: kind: found the string "Profil"`},
		{"apiVersion: nodeimage.dev/v1alpha1\nkind: Profile\nname: x\nextends: testdata\n", `no profile "testdata" built in`},
	} {
		if _, err := Read("again", []byte(tt.text)); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("got %v, want %s", err, tt.want)
		}
	}
}
