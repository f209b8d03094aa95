package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/nodeimage/packer-plugin-nodeimage/profiles/lock"
)

func TestHolesOfALock(t *testing.T) {
	t.Parallel()
	l := &lock.Lock{Content: lock.Content{Components: []lock.Component{
		{Name: "containerd", Version: "2.3.7"},
		{Name: "etcd", Version: "3.7.0"},
		{Name: "runc", Version: "v1.1.11"},
	}}}
	holes, err := holesOf(l)
	if err != nil {
		t.Fatal(err)
	}
	ids := map[string]bool{}
	for _, h := range holes {
		if h.Component != "runc" || h.Version != "1.1.11" {
			t.Errorf("found a hole where there is none: %+v", h)
		}
		ids[h.ID] = true
	}
	if !ids["CVE-2024-21626"] || !ids["CVE-2025-31133"] {
		t.Errorf("runc 1.1.11 has CVE-2024-21626 and CVE-2025-31133, found %v", ids)
	}
	var out bytes.Buffer
	if err := writeHoles(&out, holes[:1]); err != nil || !strings.Contains(out.String(), "! component runc 1.1.11 has CVE-2024-21626: ") || !strings.Contains(out.String(), "fixed in 1.1.12") {
		t.Errorf("%v: %s", err, out.String())
	}
	// A package may carry the fix under the old number.
	l.Components = []lock.Component{{Name: "runc", Version: "1.1.11", Packages: []lock.Package{{Name: "runc"}}}}
	if holes, err := holesOf(l); err != nil || len(holes) != 0 {
		t.Errorf("a packaged runc: %v, %v", holes, err)
	}
}
