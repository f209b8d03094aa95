package builder

import (
	"testing"
)

func TestLinkInitramfs(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ dir, kernel, want string }{
		"debian": {"/", "boot/vmlinuz-6.12.1+deb13-amd64", "boot/initrd.img-6.12.1+deb13-amd64"},
		"ubuntu": {"/boot", "vmlinuz-6.8.0-1-generic", "initrd.img-6.8.0-1-generic"},
	} {
		b, _ := prepared(t, nil)
		b.root = openRoot(t, map[string]string{"boot/x": ""})
		if err := b.root.Symlink(tc.kernel, tc.dir+"/vmlinuz"); err != nil {
			t.Fatal(err)
		}
		if err := (&stepInstallBoot{build: b}).linkInitramfs(); err != nil {
			t.Fatal(err)
		}
		if got, err := b.root.Readlink(tc.dir + "/initrd.img"); err != nil || got != tc.want {
			t.Errorf("%s: got %q, %v, want %q", name, got, err, tc.want)
		}
	}
}
