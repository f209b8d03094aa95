package builder

import (
	"bufio"
	"context"
	"crypto/sha1" // what initramfs-tools keeps, and no more than a sign of a change
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"github.com/hashicorp/packer-plugin-sdk/multistep"

	"github.com/nodeimage/packer-plugin-nodeimage/builder/disk"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/run"
)

// stepBeginInitramfs begins to make the initramfs of each kernel while the
// provisioners work, and leaves it in the store. It takes as long as they do,
// and neither uses more than one processor. Of what they change next to nothing
// is in an initramfs; when something is, its key is another one in the end, and
// it is made anew then, which is all that happens when this fails, too.
//
// Uses build.root, build.comm, build.base and build.store. Sets
// build.initramfs.
type stepBeginInitramfs struct{ *build }

func (s *stepBeginInitramfs) Run(ctx context.Context, state multistep.StateBag) multistep.StepAction {
	kernels, err := s.kernels()
	if err != nil {
		return s.fail(state, "looking for kernels", err)
	}
	// The same table but for the identifiers, which follow from all inputs.
	layout, err := s.newLayout(s.base.Key)
	if err == nil {
		err = disk.WriteFSTab(s.root, layout)
	}
	if err != nil {
		return s.fail(state, "laying out the disk", err)
	}
	if hooks, known, err := s.initramfsHooks(); err != nil || !known || !fstabByContent(hooks) {
		return multistep.ActionContinue
	}
	s.initramfs = s.beginInitramfs(ctx, kernels)
	return multistep.ActionContinue
}

// Cleanup waits until nothing works in the image any more.
func (s *stepBeginInitramfs) Cleanup(multistep.StateBag) {
	if s.initramfs != nil {
		s.initramfs.stop()
		s.initramfs = nil
	}
}

// begunInitramfs is the work of stepBeginInitramfs.
type begunInitramfs struct {
	cancel context.CancelFunc
	keyed  chan struct{}     // closed when keys is there
	keys   map[string]string // by kernel
	ended  chan struct{}
	made   sync.Map // the kernels whose initramfs was made, and not in the store
}

func (b *build) beginInitramfs(ctx context.Context, kernels []string) *begunInitramfs {
	ctx, cancel := context.WithCancel(ctx)
	begun := &begunInitramfs{cancel: cancel, keyed: make(chan struct{}), keys: map[string]string{}, ended: make(chan struct{})}
	go func() {
		defer close(begun.ended)
		for _, kernel := range kernels {
			// Files that come and go meanwhile are an error here and none in
			// the end.
			if key, err := b.initramfsKey(kernel, nil); err == nil && key != "" {
				begun.keys[kernel] = key
			}
		}
		close(begun.keyed)
		for _, kernel := range kernels {
			if key := begun.keys[kernel]; key != "" {
				_, _ = b.store.Do(ctx, key, func(ctx context.Context, dir string) error {
					begun.made.Store(kernel, true)
					return b.makeInitramfsAside(ctx, kernel, dir)
				})
			}
		}
	}()
	return begun
}

func (b *begunInitramfs) stop() {
	b.cancel()
	<-b.ended
}

// settle ends the work if it is for nothing: if the initramfs is one of another
// key in the end.
func (b *begunInitramfs) settle(kernel, key string) {
	if b == nil {
		return
	}
	if <-b.keyed; b.keys[kernel] != key {
		b.stop()
	}
}

// has tells whether the initramfs of that key was made by this work.
func (b *begunInitramfs) has(kernel, key string) bool {
	if b == nil || b.keys[kernel] != key {
		return false
	}
	_, made := b.made.Load(kernel)
	return made
}

// asideScript makes an initramfs where nobody else sees it, and prints its mode
// in a line and then the file.
const asideScript = `cd /run && mkinitramfs -o initramfs "$1" >&2 && stat -c %a initramfs && cat initramfs`

// makeInitramfsAside puts into the directory dir of this host what
// update-initramfs would write into the image.
func (b *build) makeInitramfsAside(ctx context.Context, kernel, dir string) error {
	names := initramfsFiles(kernel)
	made := filepath.Join(dir, names[0])
	if err := os.MkdirAll(filepath.Dir(made), 0o755); err != nil {
		return err
	}
	read, write := io.Pipe()
	ran := make(chan error, 1)
	go func() {
		_, err := b.comm.Run(ctx, run.Cmd{
			Argv: []string{"sh", "-c", asideScript, "sh", kernel},
			// Its usual place is swept when the image is sealed.
			Env:    []string{"TMPDIR=/run"},
			Stdout: write,
		})
		_ = write.CloseWithError(err)
		ran <- err
	}()
	sum, err := receive(read, made)
	_ = read.CloseWithError(err)
	if runErr := <-ran; runErr != nil {
		return runErr
	}
	if err != nil {
		return fmt.Errorf("receiving the initramfs of %s: %w", kernel, err)
	}
	if tool, err := b.root.ReadFile("/usr/sbin/update-initramfs"); err != nil || !strings.Contains(string(tool), "sha1sum") {
		return err
	}
	kept := filepath.Join(dir, names[1])
	if err := os.MkdirAll(filepath.Dir(kept), 0o755); err != nil {
		return err
	}
	return os.WriteFile(kept, []byte(sum+"  "+names[0]+"\n"), 0o644)
}

// receive writes to a file what asideScript prints, and returns its SHA-1.
func receive(r io.Reader, name string) (sum string, err error) {
	in := bufio.NewReader(r)
	line, err := in.ReadString('\n')
	if err != nil {
		return "", err
	}
	mode, err := strconv.ParseUint(strings.TrimSpace(line), 8, 9)
	if err != nil {
		return "", fmt.Errorf("its mode: %w", err)
	}
	out, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return "", err
	}
	defer out.Close()
	hash := sha1.New()
	if _, err := io.Copy(io.MultiWriter(out, hash), in); err != nil {
		return "", err
	}
	if err := out.Chmod(fs.FileMode(mode)); err != nil {
		return "", err
	}
	return hex.EncodeToString(hash.Sum(nil)), out.Close()
}

// kernels are the releases of the kernels below /boot.
func (b *build) kernels() ([]string, error) {
	entries, err := b.root.ReadDir("/boot")
	if err != nil {
		return nil, err
	}
	var kernels []string
	for _, e := range entries {
		if kernel, ok := strings.CutPrefix(e.Name(), "vmlinuz-"); ok {
			kernels = append(kernels, kernel)
		}
	}
	return kernels, nil
}
