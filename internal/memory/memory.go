// Package memory gives a build a directory that lies in memory.
//
// A tree of some ten thousand files takes a disk several times as long to write,
// read and remove as it takes memory, and what a build throws away need not wear
// out a disk.
package memory

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/run"
)

// enough is the least a build is given, in bytes: the tree, the disk and the
// image of a node with all container images are 3.5 GB together.
const enough = 4 << 30

// ScratchVariable names the variable of the environment by which a user keeps
// builds out of memory: its value is then [OnDisk].
const (
	ScratchVariable = "NODEIMAGE_SCRATCH"
	OnDisk          = "disk"
)

// Check refuses another value of the variable.
func Check() error {
	if value := os.Getenv(ScratchVariable); value != "" && value != OnDisk {
		return fmt.Errorf("%s is %q: expected %q, or nothing for memory where there is enough", ScratchVariable, value, OnDisk)
	}
	return nil
}

// Room returns how large a directory in memory may become on this host, in
// bytes: half of what is available, or 0 when that is too little or not wanted.
func Room() int64 {
	if os.Getenv(ScratchVariable) == OnDisk {
		return 0
	}
	meminfo, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0
	}
	return room(string(meminfo))
}

func room(meminfo string) int64 {
	for line := range strings.Lines(meminfo) {
		fields := strings.Fields(line)
		if len(fields) != 3 || fields[0] != "MemAvailable:" || fields[2] != "kB" {
			continue
		}
		kib, err := strconv.ParseInt(fields[1], 10, 64)
		if err != nil {
			return 0
		}
		if half := kib << 10 / 2; half >= enough {
			return half
		}
	}
	return 0
}

// Dir is a directory in memory. It is mounted in a mount namespace of its own,
// which a process holds that the kernel ends with this one: however a build
// ends, this host has neither the mount nor what was in it.
type Dir struct {
	// Path is for this process and the programs it starts.
	Path string
	// Namespace is the file of the mount namespace, and Inside the directory's
	// path there: what is to mount below it must enter the namespace first.
	Namespace, Inside string

	cancel context.CancelFunc
	ended  <-chan error
}

// holdScript mounts, says which process it is, and stays.
const holdScript = `mount -n -t tmpfs -o "mode=0755,size=$1" nodeimage "$2" && echo "$$" && exec sleep infinity`

// Mount gives dir, an empty directory, size bytes of memory until Close. It needs
// root, or to be root of a user namespace.
func Mount(dir string, size int64) (*Dir, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	said := &firstLine{found: make(chan string, 1)}
	ended := make(chan error, 1)
	go func() {
		_, err := run.Host{}.Run(ctx, run.Cmd{
			Argv:   []string{"unshare", "--mount", "--", "sh", "-c", holdScript, "sh", strconv.FormatInt(size, 10), dir},
			Stdout: said,
		})
		ended <- err
	}()
	select {
	case err := <-ended:
		cancel()
		return nil, fmt.Errorf("mounting memory on %s: %w", dir, err)
	case pid := <-said.found:
		process := filepath.Join("/proc", pid)
		return &Dir{
			Path: filepath.Join(process, "root", dir), Namespace: filepath.Join(process, "ns/mnt"), Inside: dir,
			cancel: cancel, ended: ended,
		}, nil
	}
}

// Close gives the memory back. Nothing below it may be open any more, or the
// memory stays until that is closed, too.
func (d *Dir) Close() error {
	d.cancel()
	err := <-d.ended
	var failed *run.Error
	// It was told to end.
	if errors.As(err, &failed) && errors.Is(failed.Err, context.Canceled) {
		return nil
	}
	return err
}

// firstLine passes on the first line that is written to it.
type firstLine struct {
	once  sync.Once
	text  []byte
	found chan string
}

func (f *firstLine) Write(p []byte) (int, error) {
	f.text = append(f.text, p...)
	if line, _, ok := bytes.Cut(f.text, []byte("\n")); ok {
		f.once.Do(func() { f.found <- string(line) })
	}
	return len(p), nil
}
