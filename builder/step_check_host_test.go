package builder

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/packer-plugin-sdk/multistep"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
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
	err := checkTools(tools(), some)
	if err == nil || !strings.Contains(err.Error(), "mke2fs, e2fsck, mcopy: run apt-get install e2fsprogs mtools") {
		t.Errorf("got %v, want all missing tools and each package once", err)
	}
	if err := checkTools(tools(), all); err != nil {
		t.Error(err)
	}
	if checkArch("arm64", "amd64") == nil || checkArch("amd64", "amd64") != nil {
		t.Error("architectures are mixed up")
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
