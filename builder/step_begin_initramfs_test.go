package builder

import (
	"crypto/sha1"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"
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

// An initramfs that is begun is taken when nothing that it is made of has
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
		begun := s.beginInitramfs(t.Context(), nil)
		<-begun.keyed
		key, err := s.initramfsKey("6.12", nil)
		if err != nil {
			t.Fatal(err)
		}
		begun.keys["6.12"] = key
		write(t, s.rootTree(), map[string]string{test.file: "changed"})
		if begun.takes("6.12", keyOf(t, s)) != test.want {
			t.Errorf("%s: taken: %v, want %v", name, !test.want, test.want)
		}
	}
	if (*begunInitramfs)(nil).takes("6.12", "key") {
		t.Error("what was not begun is taken")
	}
}
