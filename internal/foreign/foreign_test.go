package foreign

import (
	"bytes"
	"debug/elf"
	"errors"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/programtest"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/run"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/run/runtest"
)

// other is an architecture that this host is not of.
func other() string {
	if runtime.GOARCH == "arm64" {
		return "amd64"
	}
	return "arm64"
}

func TestCheck(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		code   int
		stderr string
		want   []string // of the error; none for success
	}{
		"runs":       {answer, "", nil},
		"no handler": {noExec, "chroot: failed to run command '/try': Exec format error", []string{"the profile is for " + other() + " and this host is " + runtime.GOARCH, "qemu-user-static", "mount -t binfmt_misc", "flag F", "/proc/sys/fs/binfmt_misc/register", "Exec format error"}},
		"no flag F":  {notFound, "chroot: failed to run command '/try': No such file or directory", []string{"has no flag F", "/proc/sys/fs/binfmt_misc/register"}},
		"no root":    {125, "chroot: cannot change root directory: Operation not permitted", []string{"Operation not permitted"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			fake := runtest.New(t)
			fake.Expect("chroot", dir, "/try").Fails(tt.code, tt.stderr)
			err := Check(t.Context(), fake, other(), dir)
			if len(tt.want) == 0 && err != nil {
				t.Errorf("refused: %v", err)
			}
			if len(tt.want) > 0 && exitcode.Of(err) != exitcode.Usage {
				t.Errorf("%v, expected bad input", err)
			}
			for _, want := range tt.want {
				if err != nil && !strings.Contains(err.Error(), want) {
					t.Errorf("%v, expected %q in it", err, want)
				}
			}
		})
	}
}

func TestOwnArchitectureNeedsNothing(t *testing.T) {
	t.Parallel()
	if err := Check(t.Context(), runtest.New(t), runtime.GOARCH, "/nonexistent"); err != nil {
		t.Error(err)
	}
	if err := Check(t.Context(), runtest.New(t), "s390x", t.TempDir()); exitcode.Of(err) != exitcode.Usage {
		t.Errorf("s390x: %v, expected bad input", err)
	}
}

// The program is one: this host's own runs, the other's is not garbage.
func TestProgram(t *testing.T) {
	t.Parallel()
	for arch, machine := range map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64} {
		f, err := elf.NewFile(bytes.NewReader(cpus()[arch].program()))
		if err != nil || f.Machine != machine || len(f.Progs) != 1 {
			t.Errorf("%s: %+v, %v", arch, f, err)
		}
	}
	file := filepath.Join(t.TempDir(), "try")
	if err := programtest.WriteFile(file, cpus()[runtime.GOARCH].program()); err != nil {
		t.Fatal(err)
	}
	_, err := run.Host{}.Run(t.Context(), run.Cmd{Argv: []string{file}})
	var failed *run.Error
	if !errors.As(err, &failed) || failed.Result.ExitCode != answer {
		t.Errorf("%v, expected the exit code %d", err, answer)
	}
}
