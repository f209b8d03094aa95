package bootloader

import (
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/nodeimage/packer-plugin-nodeimage/validate/source"
)

// debianGrub is shaped as grub-mkconfig writes it on Debian.
const debianGrub = `if [ -s $prefix/grubenv ]; then
  load_env
fi
if [ "${next_entry}" ] ; then
   set default="${next_entry}"
   set next_entry=
else
   set default="1>0"
fi
function gfxmode {
	set gfxpayload="${1}"
}
set linux_gfx_mode=
menuentry 'Debian GNU/Linux' --class debian --class os $menuentry_id_option 'gnulinux-simple-1' {
	gfxmode $linux_gfx_mode
	if [ x$grub_platform = xxen ]; then insmod xzio; fi
	echo	'Loading Linux 6.12 ...'
	linux	/boot/vmlinuz-6.12 root=UUID=1 ro  quiet systemd.unified_cgroup_hierarchy=0
	initrd	/boot/initrd.img-6.12
}
submenu 'Advanced options' $menuentry_id_option 'gnulinux-advanced-1' {
	menuentry 'Debian, with Linux 6.12' --id 'a-6.12' {
		set k=/boot/vmlinuz
		linux	${k}-6.12 root=UUID=1 ro "dyndbg=file x +p" \
			console=ttyS0
	}
	menuentry 'Debian, with Linux 6.12 (recovery mode)' {
		linux	/boot/vmlinuz-6.12 root=UUID=1 ro single
	}
}
menuentry 'UEFI Firmware Settings' {
	fwsetup
}
`

func TestGrub(t *testing.T) {
	t.Parallel()
	es := ParseGrub("/boot/grub/grub.cfg", []byte(debianGrub))
	type entry struct {
		Title, ID, Kernel, Args string
		Default, Recovery       bool
		Line, ArgLine           int
	}
	var got []entry
	for _, e := range es {
		got = append(got, entry{e.Title, e.ID, e.Kernel, e.Args.String(), e.Default, e.Recovery, e.Pos.Line, e.Args[0].Pos.Line})
	}
	want := []entry{
		{"Debian GNU/Linux", "gnulinux-simple-1", "/boot/vmlinuz-6.12", "root=UUID=1 ro quiet systemd.unified_cgroup_hierarchy=0", false, false, 14, 18},
		{"Debian, with Linux 6.12", "a-6.12", "/boot/vmlinuz-6.12", "root=UUID=1 ro dyndbg=file x +p console=ttyS0", true, false, 22, 24},
		{"Debian, with Linux 6.12 (recovery mode)", "", "/boot/vmlinuz-6.12", "root=UUID=1 ro single", false, true, 27, 28},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if a, ok := es[0].Args.Last("systemd.unified-cgroup-hierarchy"); !ok || a.Value != "0" {
		t.Errorf("%+v", a)
	}
}

func TestGrubDefault(t *testing.T) {
	t.Parallel()
	two := "menuentry a {\nlinux /a x=1\n}\nmenuentry b --id=bb {\nlinux /b\n}\n"
	for def, want := range map[string]string{"": "a", "0": "a", "1": "b", "b": "b", "bb": "b", "sub>bb": "b", "gone": ""} {
		got := ""
		for _, e := range ParseGrub("/g", []byte("set default='"+def+"'\n"+two)) {
			if e.Default {
				got += e.Title
			}
		}
		if got != want {
			t.Errorf("default=%q boots %q, want %q", def, got, want)
		}
	}
}

func TestLoad(t *testing.T) {
	t.Parallel()
	files := map[string]string{
		"/boot/grub/grub.cfg":              "set default=0\nmenuentry 'x' {\n\tlinux /vmlinuz root=UUID=1 ro console=tty0 console=ttyS0,115200n8\n}\n",
		"/boot/efi/EFI/debian/grub.cfg":    "search.fs_uuid 1 root\nset prefix=($root)'/boot/grub'\nconfigfile $prefix/grub.cfg\n",
		"/etc/default/grub":                "GRUB_CMDLINE_LINUX=\"cgroup_enable=memory\"\nGRUB_CMDLINE_LINUX_DEFAULT=\"quiet\"\n",
		"/etc/default/grub.d/50-cloud.cfg": "GRUB_CMDLINE_LINUX=\"$GRUB_CMDLINE_LINUX swapaccount=1\"\n",
		"/etc/kernel/cmdline":              "root=LABEL=x\napparmor=0\n",
		"/usr/lib/kernel/cmdline":          "hidden\n",
		"/efi/loader/loader.conf":          "timeout 1\ndefault b-*\n",
		"/efi/loader/entries/a.conf":       "title A\nlinux /a\noptions root=1\noptions quiet\n",
		"/efi/loader/entries/b-1.conf":     "# c\ntitle B rescue\nlinux /b\noptions systemd.unit=rescue.target\n",
	}
	root := fstest.MapFS{}
	for p, d := range files {
		root[source.Name(p)] = &fstest.MapFile{Data: []byte(d)}
	}
	c, err := Load(root)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range c.Entries {
		s := e.Loader + " " + e.Kernel + " " + e.Args.String()
		if e.Default {
			s += " default"
		}
		if e.Recovery {
			s += " recovery"
		}
		got = append(got, s)
	}
	want := []string{
		"grub /vmlinuz root=UUID=1 ro console=tty0 console=ttyS0,115200n8 default",
		"bls /a root=1 quiet",
		"bls /b systemd.unit=rescue.target default recovery",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if len(c.Boots()) != 2 {
		t.Errorf("boots %+v", c.Boots())
	}
	var intents []string
	for _, i := range c.Intents {
		intents = append(intents, i.Source+": "+i.Args.String())
	}
	want = []string{"grub-default: cgroup_enable=memory swapaccount=1 quiet", "kernel-install: root=LABEL=x apparmor=0"}
	if diff := cmp.Diff(want, intents); diff != "" {
		t.Error(diff)
	}
	a, _ := c.Intents[0].Args.Last("swapaccount")
	if a.Pos.String() != "/etc/default/grub.d/50-cloud.cfg:1" {
		t.Errorf("%s", a.Pos)
	}
	if n := len(c.Entries[0].Args.All("console")); n != 2 {
		t.Errorf("%d consoles", n)
	}
}

func TestVariableBomb(t *testing.T) {
	t.Parallel()
	text := "set x=aaaaaaaa\n" + strings.Repeat("set x=$x$x\n", 64) + strings.Repeat("menuentry a {\nlinux /a $x\n}\n", 5000)
	n := 0
	for _, e := range ParseGrub("/g", []byte(text)) {
		n += len(e.Args.String())
	}
	if n > 2*maxExpanded {
		t.Errorf("%d bytes from %d", n, len(text))
	}
}

func FuzzGrub(f *testing.F) {
	f.Add(debianGrub)
	f.Add("menuentry { { } linux } ; } submenu a { menuentry b { linux x ${y \\\n}")
	f.Add("linux /x \"a=b c\" 'd\nset default=\"0>\"")
	f.Add("submenu a {\n}\n}\nmenuentry 'x' --id {\nlinux /a\n}\n")
	f.Fuzz(func(t *testing.T, data string) {
		defaults := 0
		for _, e := range ParseGrub("/g", []byte(data)) {
			if e.Pos.Line == 0 {
				t.Fatalf("%+v", e)
			}
			if e.Default && e.Title != "" {
				defaults++
			}
			for _, a := range e.Args {
				if a.Pos.Line == 0 {
					t.Fatalf("%+v", a)
				}
			}
		}
		if defaults > 1 {
			t.Fatalf("%d defaults", defaults)
		}
		ParseBLS("/x.conf", []byte(data))
	})
}
