package main

import (
	"strings"
	"testing"

	"github.com/nodeimage/packer-plugin-nodeimage/profiles"
)

func TestTable(t *testing.T) {
	t.Parallel()
	table, err := render()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range profiles.Names() {
		if n := strings.Count(string(table), "| `"+name+"` |"); n != 1 {
			t.Errorf("%s has %d rows", name, n)
		}
	}
	page, err := replace([]byte("before\n"+begin+"old\n"+end+"after\n"), table)
	if err != nil || !strings.HasPrefix(string(page), "before\n"+begin+"| profile |") || !strings.HasSuffix(string(page), end+"after\n") || strings.Contains(string(page), "old") {
		t.Errorf("%v:\n%s", err, page)
	}
	for _, bad := range []string{"no marks\n", begin + "no end\n", end + begin} {
		if page, err := replace([]byte(bad), table); err == nil {
			t.Errorf("%q became:\n%s", bad, page)
		}
	}
}
