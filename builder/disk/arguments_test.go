package disk

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/rooted"
)

const ubuntuGrub = `set linux_gfx_mode=auto
menuentry 'Ubuntu' --class ubuntu {
	gfxmode $linux_gfx_mode
	linux	/vmlinuz-6.8.0-87-generic root=PARTUUID=6b7e7b4c ro console=tty1 console=ttyS0
	initrd	/initrd.img-6.8.0-87-generic
}
menuentry 'Ubuntu (recovery mode)' {
	linux	/vmlinuz-6.8.0-87-generic root=PARTUUID=6b7e7b4c ro single panic=-1 
}
`

func TestAddArguments(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		config   string
		args     []string
		want     string // of the configuration
		defaults string // "" for none
		problem  string
	}{
		"some are there": {ubuntuGrub, []string{"console=tty1", "panic=-1", "console=ttyS0,115200n8"}, strings.NewReplacer(
			"console=ttyS0\n", "console=ttyS0 panic=-1 console=ttyS0,115200n8\n", "panic=-1 \n", "panic=-1 console=tty1 console=ttyS0,115200n8\n",
		).Replace(ubuntuGrub), `GRUB_CMDLINE_LINUX="$GRUB_CMDLINE_LINUX panic=-1 console=ttyS0,115200n8 console=tty1"` + "\n", ""},
		"all are there":            {ubuntuGrub, []string{"ro"}, ubuntuGrub, "", ""},
		"none":                     {"set default=0\n", nil, "set default=0\n", "", ""},
		"no kernel":                {"set linux=1\nblscfg\n", []string{"quiet"}, "set linux=1\nblscfg\n", "", "found no command that loads a kernel"},
		"an argument that is more": {ubuntuGrub, []string{"a;reboot"}, ubuntuGrub, "", "expected no spaces, quotes and shell characters"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			file := filepath.Join(dir, "boot/grub/grub.cfg")
			if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, []byte(tt.config), 0o600); err != nil {
				t.Fatal(err)
			}
			root, err := rooted.Open(dir)
			if err != nil {
				t.Fatal(err)
			}
			defer root.Close()
			err = AddArguments(root, tt.args)
			if tt.problem == "" && err != nil || tt.problem != "" && (err == nil || !strings.Contains(err.Error(), tt.problem)) {
				t.Fatalf("got %v, expected %q", err, tt.problem)
			}
			got, err := os.ReadFile(file)
			if diff := cmp.Diff(tt.want, string(got)); err != nil || diff != "" {
				t.Errorf("%v, configuration (-want +got):\n%s", err, diff)
			}
			if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("%v, %v: anybody can read what only root could", info.Mode(), err)
			}
			defaults, _ := os.ReadFile(filepath.Join(dir, keptDefaults))
			if !strings.HasSuffix(string(defaults), tt.defaults) || (len(defaults) == 0) != (tt.defaults == "") {
				t.Errorf("for update-grub: %q, expected %q", defaults, tt.defaults)
			}
		})
	}
	empty, err := rooted.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer empty.Close()
	if err := AddArguments(empty, []string{"quiet"}); err == nil || !strings.Contains(err.Error(), "is not GRUB with its configuration in /boot/grub/grub.cfg") {
		t.Errorf("without GRUB: %v", err)
	}
}
