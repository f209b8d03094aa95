package preload

import (
	"slices"
	"strings"
	"testing"
)

func TestMountPointHidesNothing(t *testing.T) {
	t.Parallel()
	for want, paths := range map[string][]string{
		"/run": {"/home/me/.cache/nodeimage/entries/a", "/running/x"},
		"/mnt": {"/home/me/x", "/run/user/1000/nodeimage/entries/a"},
		"/srv": {"/run/a", "/mnt/b"},
	} {
		if got, err := mountPoint(paths); err != nil || got != want {
			t.Errorf("%v: got %q, %v; want %q", paths, got, err, want)
		}
	}
	if got, err := mountPoint([]string{"/run/a", "/mnt/b", "/srv/c"}); err == nil || !strings.Contains(err.Error(), "/run, /mnt, /srv") {
		t.Errorf("none left: got %q, %v; want an error that names them", got, err)
	}
}

func TestCommands(t *testing.T) {
	t.Parallel()
	wants := []string{"registry.example/pause:1=sha256:0"}
	for mode, argv := range map[string][]string{"check": Check(wants), "import": Import(wants), "unpack": Unpack()} {
		want := []string{"preload", mode}
		if mode != "unpack" {
			want = append(want, wants...)
		}
		if argv[0] != "sh" || argv[1] != "-c" || !slices.Equal(argv[3:], want) {
			t.Errorf("%s: %q", mode, argv)
		}
	}
}
