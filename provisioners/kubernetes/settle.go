package kubernetes

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/boltcopy"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/preload"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/run"
	"github.com/nodeimage/packer-plugin-nodeimage/provisioners/plan"
	"github.com/nodeimage/packer-plugin-nodeimage/provisioners/plan/executor"
)

const (
	containerdRoot = preload.Root
	snapshots      = containerdRoot + "/io.containerd.snapshotter.v1.overlayfs/snapshots"
)

// settleScript looks at containerd's store: its databases, and how much each
// snapshot holds. It says nothing where a containerd runs, or where nobody
// asked for a time, as in a machine that was booted: that one is like no other
// anyway.
const settleScript = `set -eu
[ -n "${SOURCE_DATE_EPOCH:-}" ] && [ ! -S /run/containerd/containerd.sock ] || exit 0
echo "epoch $SOURCE_DATE_EPOCH"
cd "$1"
find . -mindepth 2 -maxdepth 2 -type f -name '*.db' -printf 'database %P\n'
[ ! -d "$2" ] || find "$2" -mindepth 2 -printf 'file %P %y %s %n %i\n'
`

// Settle makes containerd's databases follow from what was preloaded and from
// nothing else: containerd writes the time of everything into them, how many
// blocks the build host's file system takes for it, and the history of its
// transactions into their layout. There is no setting against any of it, so the
// databases are written anew.
func Settle(ctx context.Context, t *executor.Target, comm packersdk.Communicator) error {
	res, err := t.Run(ctx, run.Cmd{Argv: []string{"sh", "-c", settleScript, "settle", containerdRoot, snapshots}})
	if err != nil {
		return fmt.Errorf("looking at containerd's databases: %w", err)
	}
	found, err := parseSettle(res.Stdout)
	if err != nil || len(found.databases) == 0 {
		return err
	}
	dir, err := os.MkdirTemp("", "nodeimage-settle-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	todo := plan.Plan{Name: Name + "-settle"}
	for i, name := range found.databases {
		from, to := filepath.Join(dir, strconv.Itoa(i)+".from"), filepath.Join(dir, strconv.Itoa(i)+".to")
		if err := download(comm, path.Join(containerdRoot, name), from); err != nil {
			return err
		}
		if err := boltcopy.Copy(from, to, found.edit); err != nil {
			return fmt.Errorf("%s/%s: %w", containerdRoot, name, err)
		}
		data, err := os.ReadFile(to)
		if err != nil {
			return err
		}
		sum := sha256.Sum256(data)
		todo.Steps = append(todo.Steps, plan.Step{Why: "the same images give the same database", File: &plan.File{
			Path: path.Join(containerdRoot, name), Mode: 0o644, Component: name, Source: to, SHA256: hex.EncodeToString(sum[:])}})
	}
	_, err = t.Carry(ctx, todo)
	return err
}

func download(comm packersdk.Communicator, from, to string) (err error) {
	f, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return comm.Download(from, f)
}

// settled is what settleScript saw.
type settled struct {
	epoch     time.Time
	databases []string // relative to containerdRoot, sorted
	// sizes are bytes by snapshot number.
	sizes map[uint64]int64
}

// parseSettle reads the script's output. Names in snapshots may hold spaces,
// and line ends, which make lines that say nothing: the fields are at the end.
func parseSettle(out string) (*settled, error) {
	s := &settled{sizes: map[uint64]int64{}}
	linked := map[string]bool{}
	for line := range strings.Lines(out) {
		line = strings.TrimSuffix(line, "\n")
		if text, ok := strings.CutPrefix(line, "epoch "); ok {
			seconds, err := strconv.ParseInt(text, 10, 64)
			if err != nil {
				return nil, fmt.Errorf("SOURCE_DATE_EPOCH is %q: expected seconds since 1970", text)
			}
			s.epoch = time.Unix(seconds, 0).UTC()
		} else if name, ok := strings.CutPrefix(line, "database "); ok {
			s.databases = append(s.databases, name)
		} else if text, ok := strings.CutPrefix(line, "file "); ok {
			s.addFile(text, linked)
		}
	}
	slices.Sort(s.databases)
	return s, nil
}

// addFile counts what a file takes on the root file system that the builder
// makes: whole blocks of 4 KiB, none for a short link, hard links once.
func (s *settled) addFile(text string, linked map[string]bool) {
	fields := strings.Split(text, " ")
	if len(fields) < 5 {
		return
	}
	number, rest, _ := strings.Cut(fields[0], "/")
	if rest != "fs" && !strings.HasPrefix(rest, "fs/") {
		return // work, which overlayfs uses and containerd does not count
	}
	snapshot, err := strconv.ParseUint(number, 10, 64)
	last := fields[len(fields)-4:]
	size, sizeErr := strconv.ParseInt(last[1], 10, 64)
	if err != nil || sizeErr != nil {
		return
	}
	const block, inline = 4096, 60
	switch {
	case last[0] == "d":
		size = block
	case last[0] == "l" && size < inline, last[0] != "l" && last[0] != "f":
		return
	case last[2] != "1":
		if linked[last[3]] {
			return
		}
		linked[last[3]] = true
	}
	s.sizes[snapshot] += (size + block - 1) / block * block
}

// edit replaces times and sizes. Keys are those of containerd's
// core/metadata/buckets.go and core/snapshots/storage/bolt.go, the same in 1.7.
func (s *settled) edit(path []string, sibling func([]byte) []byte, key, value []byte) []byte {
	switch string(key) {
	case "createdat", "updatedat":
		var t time.Time
		if t.UnmarshalBinary(value) != nil {
			return value
		}
		if text, err := s.epoch.MarshalBinary(); err == nil {
			return text
		}
	case "size":
		if len(path) != 3 || path[1] != "snapshots" {
			return value
		}
		if number, n := binary.Uvarint(sibling([]byte("id"))); n > 0 {
			if size, ok := s.sizes[number]; ok {
				return binary.AppendVarint(nil, size)
			}
		}
	}
	return value
}
