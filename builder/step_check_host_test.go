package builder

import (
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/packer-plugin-sdk/multistep"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/run"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/run/runtest"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/store"
)

func TestCheckHost(t *testing.T) {
	t.Parallel()
	all := func(name string) (string, error) { return "/bin/" + name, nil }
	some := func(name string) (string, error) {
		if name == "mcopy" || name == "e2fsck" || name == "mke2fs" {
			return "", os.ErrNotExist
		}
		return all(name)
	}
	err := checkTools(tools(runtime.GOARCH), some)
	if err == nil || !strings.Contains(err.Error(), "mke2fs, e2fsck, mcopy: run apt-get install e2fsprogs mtools") {
		t.Errorf("got %v, want all missing tools and each package once", err)
	}
	if err := checkTools(tools(runtime.GOARCH), all); err != nil {
		t.Error(err)
	}
	if got := tools(runtime.GOARCH); slices.ContainsFunc(got, isArchTest) {
		t.Errorf("this host's own architecture needs arch-test: %v", got)
	}
	if got := tools("s390x"); !slices.ContainsFunc(got, isArchTest) {
		t.Errorf("another architecture needs no arch-test, which mmdebstrap runs: %v", got)
	}

	b, _ := prepared(t, nil)
	s := &stepCheckHost{build: b, lookUp: some, euid: func() int { return 1000 }}
	state := new(multistep.BasicStateBag)
	if s.Run(t.Context(), state) != multistep.ActionHalt {
		t.Fatal("the build went on")
	}
	err = stateError(state)
	if exitcode.Of(err) != exitcode.Usage {
		t.Errorf("got code %d, want bad input", exitcode.Of(err))
	}
	for _, want := range []string{"sudo", "user 1000", "mtools"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v lacks %q", err, want)
		}
	}
	if _, err := os.Stat(b.config.CacheDirectory); err == nil {
		t.Error("something was changed although the build cannot be")
	}
}

// Whether a foreign program runs is tried in the store, and leaves nothing there.
func TestCheckArch(t *testing.T) {
	t.Parallel()
	foreign := "arm64"
	if runtime.GOARCH == foreign {
		foreign = "amd64"
	}
	for want, answer := range map[string]func(*runtest.Call){
		"":                   func(c *runtest.Call) { c.Fails(42, "") },
		"qemu-user-static":   func(c *runtest.Call) { c.Fails(126, "chroot: failed to run command: Exec format error") },
		"has no flag F, so ": func(c *runtest.Call) { c.Fails(127, "chroot: failed to run command: No such file or directory") },
	} {
		b, _ := prepared(t, map[string]any{"profile": "debian-13"})
		b.config.profile.OS.Arch = foreign
		fake := runtest.New(t)
		b.host = fake
		var err error
		if b.store, err = store.Open(b.config.CacheDirectory); err != nil {
			t.Fatal(err)
		}
		answer(fake.ExpectFunc("chroot", func(c run.Cmd) bool {
			return c.Argv[0] == "chroot" && strings.HasPrefix(c.Argv[1], b.store.Dir()+"/")
		}))
		err = (&stepCheckHost{build: b}).checkArch(t.Context())
		if want == "" && err != nil {
			t.Errorf("refused: %v", err)
		}
		if want != "" && (exitcode.Of(err) != exitcode.Usage || !strings.Contains(err.Error(), want)) {
			t.Errorf("%v, expected bad input and %q", err, want)
		}
		if left, err := os.ReadDir(filepath.Join(b.store.Dir(), "scratch")); err != nil || len(left) > 0 {
			t.Errorf("left in the store: %v, %v", left, err)
		}
	}
}

func isArchTest(t tool) bool { return t.name == "arch-test" }

func TestCheckSpace(t *testing.T) {
	t.Parallel()
	missing := filepath.Join(t.TempDir(), "to/be/made")
	if err := checkSpace("cache_directory", missing, 1); err != nil {
		t.Error(err)
	}
	err := checkSpace("cache_directory", missing, 1<<62)
	if exitcode.Of(err) != exitcode.Infrastructure || !strings.Contains(err.Error(), "set cache_directory") {
		t.Errorf("got %v", err)
	}
}
