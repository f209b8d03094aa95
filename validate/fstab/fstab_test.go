package fstab

import (
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/nodeimage/packer-plugin-nodeimage/validate/source"
)

func TestTable(t *testing.T) {
	t.Parallel()
	root := fstest.MapFS{"etc/fstab": {Data: []byte(`# fstab
UUID=1 / ext4 errors=remount-ro,x-systemd.growfs 0 1
/dev/sda5 none swap sw 0 0
/dev/sda6 none swap noauto 0 0
/swap\040file swap swap defaults
tmpfs /tmp tmpfs nosuid
bad line
/dev/sdb1 /data xfs defaults 0 x
`)}}
	tab, err := Load(root)
	if err != nil {
		t.Fatal(err)
	}
	var swaps []string
	for _, e := range tab.Swaps() {
		swaps = append(swaps, e.Spec+" "+e.Pos.String())
	}
	if diff := cmp.Diff([]string{"/dev/sda5 /etc/fstab:3", "/swap file /etc/fstab:5"}, swaps); diff != "" {
		t.Error(diff)
	}
	r, ok := tab.Mount("/")
	want := Entry{"UUID=1", "/", "ext4", []string{"errors=remount-ro", "x-systemd.growfs"}, 1, source.Position{File: File, Line: 2}}
	if diff := cmp.Diff(want, r); !ok || diff != "" {
		t.Error(diff)
	}
	if v, ok := r.Option("errors"); !ok || v != "remount-ro" {
		t.Errorf("errors=%q", v)
	}
	if _, ok := r.Option("noatime"); ok {
		t.Error("an option that is not there")
	}
	lines := []int{}
	for _, p := range tab.Problems {
		lines = append(lines, p.Pos.Line)
	}
	if diff := cmp.Diff([]int{7, 8}, lines); diff != "" {
		t.Error(diff)
	}
	if tab, err = Load(fstest.MapFS{}); err != nil || len(tab.Entries) != 0 {
		t.Errorf("no table: %v %v", tab, err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add("UUID=1 / ext4 defaults 0 1\n/a\\040b none swap sw,pri=1 0 0\n")
	f.Add("\\0 \\999 \\\n# x\na b c , 0 99999999999999999999\n")
	f.Fuzz(func(t *testing.T, data string) {
		tab := Parse("/f", []byte(data))
		for _, e := range tab.Entries {
			if e.Pos.Line == 0 {
				t.Fatalf("%+v", e)
			}
			e.AtBoot()
			e.Option("x")
		}
	})
}
