// Package foreign tells whether this host runs programs of another
// architecture, as a build in a chroot needs it to.
package foreign

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/run"
)

// answer is what the program of Check exits with: nothing else does by chance.
const answer = 42

// What chroot(1) exits with when the kernel takes the program for none of its
// own, and when it does not find it or its interpreter.
const (
	noExec   = 126
	notFound = 127
)

// cpu is what differs between architectures.
type cpu struct {
	machine uint16 // of the ELF header
	qemu    string // QEMU's name
	exit    []byte // code that calls exit(answer)
}

// cpus are the architectures, by their Debian names, that are also Go's.
func cpus() map[string]cpu {
	return map[string]cpu{
		"amd64": {0x3e, "x86_64", []byte{
			0xbf, answer, 0, 0, 0, // mov edi, answer
			0xb8, 60, 0, 0, 0, // mov eax, exit
			0x0f, 0x05, // syscall
		}},
		"arm64": {0xb7, "aarch64", []byte{
			0x40, 0x05, 0x80, 0xd2, // mov x0, #answer
			0xa8, 0x0b, 0x80, 0xd2, // mov x8, #exit
			0x01, 0x00, 0x00, 0xd4, // svc #0
		}},
	}
}

// program is a file that needs nothing beside it.
func (c cpu) program() []byte {
	const (
		base   = 0x400000
		header = 64 + 56
	)
	size := uint64(header + len(c.exit))
	var b bytes.Buffer
	b.WriteString("\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00")
	for _, v := range []any{
		uint16(2), c.machine, uint32(1), uint64(base + header), uint64(64), uint64(0), // executable; entry, program headers
		uint32(0), uint16(64), uint16(56), uint16(1), uint16(64), uint16(0), uint16(0),
		uint32(1), uint32(5), uint64(0), uint64(base), uint64(base), size, size, uint64(0x1000), // load, to be read and executed
	} {
		_ = binary.Write(&b, binary.LittleEndian, v) // a Buffer takes all
	}
	b.Write(c.exit)
	return b.Bytes()
}

// Check returns nil if programs of arch run in a root directory that has nothing
// but them, and otherwise what to do about it. It tries one in the directory dir,
// by chroot(8), which needs root.
func Check(ctx context.Context, host run.Runner, arch, dir string) error {
	if arch == runtime.GOARCH {
		return nil
	}
	c, ok := cpus()[arch]
	if !ok {
		return exitcode.BadInput(fmt.Errorf("architecture %q: expected amd64 or arm64", arch))
	}
	if err := os.WriteFile(filepath.Join(dir, "try"), c.program(), 0o755); err != nil {
		return err
	}
	_, err := host.Run(ctx, run.Cmd{Argv: []string{"chroot", dir, "/try"}})
	var failed *run.Error
	if ctx.Err() != nil || err != nil && !errors.As(err, &failed) {
		return err
	}
	code := 0
	if failed != nil {
		code = failed.Result.ExitCode
	}
	switch {
	case code == answer:
		return nil
	case code == notFound:
		return exitcode.BadInput(fmt.Errorf("the profile is for %s, this host is %s, and the handler of binfmt_misc for %s has no flag F, so that it is looked for inside the image: remove it (echo -1 >/proc/sys/fs/binfmt_misc/NAME) and %s",
			arch, runtime.GOARCH, c.qemu, register(arch)))
	}
	return exitcode.BadInput(fmt.Errorf("the profile is for %s and this host is %s, which cannot run its programs: %s: %w", arch, runtime.GOARCH, Remedy(arch), err))
}

// NotRun tells whether err is of a program that was found and not run, as the
// kernel does with one that it takes for none of its own. What env(1) and
// chroot(1) say about it depends on the locale.
func NotRun(err error) bool {
	var failed *run.Error
	return errors.As(err, &failed) && failed.Result.ExitCode == noExec
}

// Remedy says how a host comes to run the programs of an architecture.
func Remedy(arch string) string {
	return "build it on a machine of that architecture, or install the package qemu-user-static, mount binfmt_misc where it is not (mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc), and " + register(arch)
}

func register(arch string) string {
	return fmt.Sprintf("register QEMU with the flag F, as systemd-binfmt does when it is restarted, or by hand: cat /usr/lib/binfmt.d/qemu-%s.conf >/proc/sys/fs/binfmt_misc/register", cpus()[arch].qemu)
}
