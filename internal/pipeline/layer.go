package pipeline

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"
	"github.com/klauspost/compress/zstd"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/run"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/store"
	"github.com/nodeimage/packer-plugin-nodeimage/provisioners/plan"
	"github.com/nodeimage/packer-plugin-nodeimage/provisioners/plan/executor"
)

// layered is how many of the stages a layer stands for: host and runtime, which
// a new Kubernetes leaves as they are.
const layered = 2

// The files of a layer in the store.
const (
	layerTar     = "layer.tar.zst"
	layerRemoved = "removed"
)

// layer is what the first stages make of a base: files that are new or others,
// and the names of those that are gone. Carrying their plans out takes a quarter
// of a build whose base is ready, putting the result in place a second. Anything
// that the result follows from is in the key, this program included.
type layer struct {
	store *store.Store
	key   string
}

// newLayer returns the layer of a base and of the first of those plans.
func newLayer(s *store.Store, base string, plans []plan.Plan) (*layer, error) {
	tool, err := toolSHA256()
	if err != nil {
		return nil, err
	}
	parts := []any{"layer", base, tool}
	for _, p := range plans[:layered] {
		hash, err := p.Hash()
		if err != nil {
			return nil, err
		}
		parts = append(parts, hash)
	}
	key, err := store.Key(parts...)
	return &layer{store: s, key: key}, err
}

// carry puts the layer into the tree behind comm, or has provision do it, and keeps
// what that did.
func (l *layer) carry(ctx context.Context, ui packersdk.Ui, comm packersdk.Communicator, provision func() error) error {
	there, err := l.apply(ctx, ui, comm)
	if err != nil || there {
		return err
	}
	keep, err := l.begin(ctx, comm)
	if err != nil {
		return err
	}
	if err := provision(); err != nil {
		return err
	}
	if err := keep(ctx); err != nil {
		return fmt.Errorf("keeping what host and runtime are: %w", err)
	}
	return nil
}

// apply puts the layer into the tree behind comm, and tells whether there was one.
func (l *layer) apply(ctx context.Context, ui packersdk.Ui, comm packersdk.Communicator) (bool, error) {
	dir, ok := l.store.Lookup(l.key)
	if !ok {
		return false, nil
	}
	ui.Say("nothing that host and runtime are made of has changed: taking what they are from the cache")
	target, err := executor.New(ctx, comm)
	if err == nil {
		err = l.place(ctx, target, dir)
	}
	if err != nil {
		return false, fmt.Errorf("putting host and runtime in place from the cache (entry %s): %w", l.key, err)
	}
	return true, nil
}

func (l *layer) place(ctx context.Context, target *executor.Target, dir string) error {
	removed, err := os.ReadFile(filepath.Join(dir, layerRemoved))
	if err != nil {
		return err
	}
	if len(removed) > 0 {
		if _, err := target.Run(ctx, run.Cmd{Argv: []string{"env", "-C", "/", "xargs", "-0", "rm", "-rf", "--"}, Stdin: bytes.NewReader(removed)}); err != nil {
			return err
		}
	}
	f, err := os.Open(filepath.Join(dir, layerTar))
	if err != nil {
		return err
	}
	defer f.Close()
	content, err := zstd.NewReader(f)
	if err != nil {
		return err
	}
	defer content.Close()
	_, err = target.Run(ctx, run.Cmd{Stdin: content, Argv: []string{
		"tar", "--extract", "--directory=/", "--numeric-owner", "--same-owner", "--preserve-permissions",
		"--xattrs", "--xattrs-include=*", "--delay-directory-restore",
	}})
	return err
}

// begin looks at the tree before the first stage changes it, and returns what
// keeps the layer after the last one did.
func (l *layer) begin(ctx context.Context, comm packersdk.Communicator) (keep func(context.Context) error, err error) {
	target, err := executor.New(ctx, comm)
	if err != nil {
		return nil, err
	}
	before, err := look(ctx, target, "")
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) error {
		after, err := look(ctx, target, before.at)
		if err != nil {
			return err
		}
		changed, removed := compare(before.files, after)
		_, err = l.store.Do(ctx, l.key, func(ctx context.Context, dir string) error {
			if err := os.WriteFile(filepath.Join(dir, layerRemoved), nulTerminated(removed), 0o644); err != nil {
				return err
			}
			return pack(ctx, target, changed, filepath.Join(dir, layerTar))
		})
		return err
	}, nil
}

// lookScript prints the time and then every file of the tree: whether its inode
// was changed after the time $1, its type, and its name. No time stands for
// never. The kernel keeps a change's time itself, and nothing can set it back.
const lookScript = `date +%s.%N && cd / && exec find . -xdev -mindepth 1 \
	\( -newerct "@${1:-9999999999}" -printf + -o -printf - \) -printf '%y%P\0'`

// seen is a look at a tree.
type seen struct {
	at      string          // when it began, in seconds since 1970
	files   map[string]byte // types by name, as find prints them
	changed []string
}

func look(ctx context.Context, target *executor.Target, since string) (seen, error) {
	var out bytes.Buffer // all of it, which may be more than a Result keeps
	if _, err := target.Run(ctx, run.Cmd{Argv: []string{"sh", "-c", lookScript, "look", since}, Stdout: &out}); err != nil {
		return seen{}, err
	}
	at, rest, ok := strings.Cut(out.String(), "\n")
	s := seen{at: at, files: map[string]byte{}}
	for line := range strings.SplitSeq(rest, "\x00") {
		if line == "" {
			continue
		}
		if ok = len(line) > 2; !ok {
			break
		}
		name := line[2:]
		// The image's commands have these of their own.
		if top, _, _ := strings.Cut(name, "/"); slices.Contains([]string{"dev", "proc", "run", "sys"}, top) {
			continue
		}
		s.files[name] = line[1]
		if line[0] == '+' {
			s.changed = append(s.changed, name)
		}
	}
	if !ok {
		return seen{}, errors.New("looking at the files of the tree: find printed something else")
	}
	return s, nil
}

// compare returns, sorted, what a tar has to have so that the tree before becomes
// that after, and what has to be removed first. With a file come the directories
// that it is in: what puts it there changes their times.
func compare(before map[string]byte, after seen) (changed, removed []string) {
	for name, kind := range before {
		if now, there := after.files[name]; !there || now != kind {
			removed = append(removed, name)
		}
	}
	all := map[string]bool{}
	for _, name := range after.changed {
		for ; name != "." && !all[name]; name = path.Dir(name) {
			all[name] = true
			changed = append(changed, name)
		}
	}
	slices.Sort(changed)
	slices.Sort(removed)
	return changed, removed
}

func nulTerminated(names []string) []byte {
	var b bytes.Buffer
	for _, name := range names {
		b.WriteString(name)
		b.WriteByte(0)
	}
	return b.Bytes()
}

// pack writes a tar of those files, compressed as quickly as can be.
func pack(ctx context.Context, target *executor.Target, names []string, to string) (err error) {
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	packed, err := zstd.NewWriter(out, zstd.WithEncoderLevel(zstd.SpeedFastest))
	if err != nil {
		return err
	}
	_, err = target.Run(ctx, run.Cmd{Stdin: bytes.NewReader(nulTerminated(names)), Stdout: io.Writer(packed), Argv: []string{
		"tar", "--create", "--directory=/", "--no-recursion", "--null", "--verbatim-files-from", "--files-from=-",
		"--format=pax", "--numeric-owner", "--xattrs", "--xattrs-include=*",
	}})
	return errors.Join(err, packed.Close())
}
