package builder

import (
	"context"
	"crypto/sha1"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nodeimage/packer-plugin-nodeimage/builder/chroot"
)

func TestReceive(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "initrd")
	sum, err := receive(strings.NewReader("640\n600\ninitramfs\n"), name)
	if err != nil {
		t.Fatal(err)
	}
	const content = "600\ninitramfs\n"
	if got, err := os.ReadFile(name); err != nil || string(got) != content {
		t.Errorf("received %q, %v, want %q", got, err, content)
	}
	if info, err := os.Stat(name); err != nil || info.Mode() != 0o640 {
		t.Errorf("%v, %v, want mode 0640", info.Mode(), err)
	}
	if want := sha1.Sum([]byte(content)); sum != hex.EncodeToString(want[:]) {
		t.Errorf("sum %s, want %x", sum, want)
	}
	for _, text := range []string{"", "600", "rw-\nx", "7777777\nx"} {
		if _, err := receive(strings.NewReader(text), filepath.Join(t.TempDir(), "x")); err == nil {
			t.Errorf("%q was received as a file with a mode", text)
		}
	}
}

// An initramfs that is begun is gone on with when nothing that it is made of has
// changed, and given up when something has.
func TestBegunInitramfs(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		file string // written meanwhile
		want bool
	}{
		"component":       {"usr/bin/kubelet", true},
		"host name":       {"etc/hostname", true},
		"modprobe.d":      {"etc/modprobe.d/blacklist.conf", false},
		"initramfs-tools": {"etc/initramfs-tools/modules", false},
	} {
		files := plainSystem()
		delete(files, "usr/bin/kubelet")
		s := installBootIn(t, files)
		key, err := s.initramfsKey("6.12", nil)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		begun := &begunInitramfs{cancel: cancel, keyed: make(chan struct{}), keys: map[string]string{"6.12": key}, ended: make(chan struct{})}
		close(begun.keyed)
		close(begun.ended)
		write(t, s.rootTree(), map[string]string{test.file: "changed"})
		last := keyOf(t, s)
		begun.settle("6.12", last)
		if goesOn := ctx.Err() == nil; goesOn != test.want {
			t.Errorf("%s: gone on with: %v, want %v", name, goesOn, test.want)
		}
		if begun.has("6.12", last) {
			t.Errorf("%s: what was not made is had", name)
		}
		begun.made.Store("6.12", true)
		if begun.has("6.12", last) != test.want {
			t.Errorf("%s: what was made is had: %v, want %v", name, !test.want, test.want)
		}
		cancel()
	}
	var none *begunInitramfs
	if none.settle("6.12", "key"); none.has("6.12", "key") {
		t.Error("what was not begun is had")
	}
}

// Keys are taken of every kernel, and what cannot be made leaves nothing.
func TestBeginInitramfs(t *testing.T) {
	t.Parallel()
	s := installBootIn(t, plainSystem())
	s.fragment.Components = nil
	var err error
	if s.comm, err = chroot.New(s.rootTree()); err != nil {
		t.Fatal(err)
	}
	if err := s.comm.Close(); err != nil { // it runs nothing any more
		t.Fatal(err)
	}
	begun := s.beginInitramfs(t.Context(), []string{"6.12"})
	<-begun.ended
	if begun.keys["6.12"] != keyOf(t, s) || begun.keys["6.12"] == "" {
		t.Errorf("key %q, want %q", begun.keys["6.12"], keyOf(t, s))
	}
	if _, ok := s.store.Lookup(begun.keys["6.12"]); ok {
		t.Error("an initramfs that was not made is in the store")
	}
}
