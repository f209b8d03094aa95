package userns

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestFindRange(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]idRange{
		"other:100000:65536\nme:200000:65536\n":                {200000, 65536},
		"1000:300000:65536\n":                                  {300000, 65536},
		"me:100000:1000\nme:400000:70000\n":                    {400000, 70000}, // the first is too small
		"me:0:65536\n":                                         {},              // root of this host
		"me:100000\nme:x:65536\nme:1:y\nmeme:100000:65536\n\n": {},
		"": {},
	} {
		got, ok := findRange(text, "me", "1000")
		if got != want || ok != (want != idRange{}) {
			t.Errorf("%q: got %v, %v, want %v", text, got, ok, want)
		}
	}
}

func TestMapArgv(t *testing.T) {
	t.Parallel()
	want := [][]string{
		{"newuidmap", "42", "0", "1000", "1", "1", "100000", "65536"},
		{"newgidmap", "42", "0", "1001", "1", "1", "200000", "65536"},
	}
	got := mapArgv(42, idMaps{uid: 1000, gid: 1001, subUID: idRange{100000, 65536}, subGID: idRange{200000, 65536}})
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestWhySaysWhatToDo(t *testing.T) {
	t.Parallel()
	for path, value := range map[string]string{
		"/proc/sys/kernel/apparmor_restrict_unprivileged_userns": "1",
		"/proc/sys/kernel/unprivileged_userns_clone":             "0",
		"/proc/sys/user/max_user_namespaces":                     "0",
	} {
		say := func(content string) string {
			return why(func(name string) ([]byte, error) {
				if name != path {
					return nil, os.ErrNotExist
				}
				return []byte(content + "\n"), nil
			})
		}
		if got := say(value); !strings.Contains(got, path) || !strings.Contains(got, "sysctl -w") || !strings.Contains(got, "sudo") {
			t.Errorf("%s=%s: got %q", path, value, got)
		}
		if got := say("2"); got != "" {
			t.Errorf("%s=2: got %q, want nothing", path, got)
		}
	}
}
