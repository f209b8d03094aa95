package lockbundle

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/renameio/v2"
	"github.com/klauspost/compress/zstd"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/component"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/store"
	"github.com/nodeimage/packer-plugin-nodeimage/profiles/lock"
)

// Export writes all that the lock names from the store into file, which
// appears whole or not at all. The same lock and the same store give the same
// bytes. What the store lacks is reported at once, as bad input.
func Export(ctx context.Context, s *store.Store, l *lock.Lock, file string) (Index, error) {
	index, from, err := gather(s, l)
	if err != nil {
		return Index{}, err
	}
	pending, err := renameio.NewPendingFile(file, renameio.WithPermissions(0o644))
	if err != nil {
		return Index{}, exitcode.BadInput(fmt.Errorf("writing the bundle: %w", err))
	}
	defer func() { _ = pending.Cleanup() }()
	if err := write(ctx, pending, index, from); err != nil {
		return Index{}, exitcode.Transient(fmt.Errorf("writing the bundle %s: %w", file, err))
	}
	if err := pending.CloseAtomicallyReplace(); err != nil {
		return Index{}, exitcode.Transient(fmt.Errorf("writing the bundle: %w", err))
	}
	return index, nil
}

// source is where a member's bytes are.
type source struct {
	file string // when text is nil
	text []byte
}

// gather finds every member, and its size and sum.
func gather(s *store.Store, l *lock.Lock) (Index, map[string]source, error) {
	text, err := l.Encode()
	if err != nil {
		return Index{}, nil, err
	}
	sum := sha256.Sum256(text)
	index := Index{Schema: Schema, Profile: l.Profile, Files: []File{{lockName, int64(len(text)), hex.EncodeToString(sum[:])}}}
	from := map[string]source{lockName: {text: text}}
	var missing []string
	want := Contents(l)
	dirs := map[string]string{}
	for _, c := range l.Components {
		key, err := component.LockedKey(c)
		if err != nil {
			return Index{}, nil, fmt.Errorf("component %s: %w", c.Name, err)
		}
		dir, ok := s.Lookup(key)
		if !ok {
			missing = append(missing, "component "+c.Name)
			continue
		}
		if err := s.Verify(key); err != nil {
			return Index{}, nil, err
		}
		dirs[c.Name] = dir
	}
	for _, p := range slices.Sorted(maps.Keys(want)) {
		f := want[p]
		top, rest, _ := strings.Cut(p, "/")
		if top == blobsDir {
			blob, ok := s.Blob(rest)
			if !ok {
				missing = append(missing, "package or cloud image with sha256 "+rest)
				continue
			}
			from[p] = source{file: blob}
		} else {
			name, within, _ := strings.Cut(rest, "/")
			if dirs[name] == "" {
				continue
			}
			src := source{file: filepath.Join(dirs[name], filepath.FromSlash(within))}
			if f.SHA256 == "" {
				if src.text, err = os.ReadFile(src.file); err != nil {
					return Index{}, nil, err
				}
				sum := sha256.Sum256(src.text)
				f.SHA256, f.Size = hex.EncodeToString(sum[:]), int64(len(src.text))
			}
			from[p] = src
		}
		index.Files = append(index.Files, f)
	}
	if len(missing) > 0 {
		return Index{}, nil, exitcode.BadInput(fmt.Errorf("the store %s lacks %d things that the lock names: %s: build once with the lock and this store", s.Dir(), len(missing), strings.Join(missing, ", ")))
	}
	return index, from, nil
}

func write(ctx context.Context, w io.Writer, index Index, from map[string]source) error {
	// One encoder, so that the bytes do not depend on how many CPUs there are.
	z, err := zstd.NewWriter(w, zstd.WithEncoderConcurrency(1))
	if err != nil {
		return err
	}
	out := tar.NewWriter(z)
	head, err := json.MarshalIndent(index, "", "  ")
	if err != nil {
		return err
	}
	head = append(head, '\n')
	if err := add(out, indexName, int64(len(head)), 0o444, strings.NewReader(string(head))); err != nil {
		return err
	}
	for _, f := range index.Files {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := addFrom(out, f, from[f.Path]); err != nil {
			return err
		}
	}
	return errors.Join(out.Close(), z.Close())
}

// addFrom writes a member and compares what it read with the index: a file may
// have rotted since it was made.
func addFrom(out *tar.Writer, f File, src source) error {
	var in io.Reader = strings.NewReader(string(src.text))
	mode := int64(0o444)
	if src.text == nil {
		file, err := os.Open(src.file)
		if err != nil {
			return err
		}
		defer file.Close()
		info, err := file.Stat()
		if err != nil {
			return err
		}
		if info.Mode()&0o111 != 0 {
			mode = 0o555 // kubeadm is asked for its images
		}
		in = file
	}
	hash := sha256.New()
	if err := add(out, f.Path, f.Size, mode, io.TeeReader(in, hash)); err != nil {
		return fmt.Errorf("%s: %w", f.Path, err)
	}
	if got := hex.EncodeToString(hash.Sum(nil)); got != f.SHA256 {
		return fmt.Errorf("%s: it has sha256 %s, expected %s: run `nodeimage store verify --repair`", f.Path, got, f.SHA256)
	}
	return nil
}

func add(out *tar.Writer, name string, size, mode int64, in io.Reader) error {
	if err := out.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: path.Clean(name), Size: size, Mode: mode, Format: tar.FormatPAX}); err != nil {
		return err
	}
	n, err := io.Copy(out, in)
	if err == nil && n != size {
		err = fmt.Errorf("it has %d bytes, expected %d", n, size)
	}
	return err
}
