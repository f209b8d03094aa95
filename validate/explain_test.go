package validate

import (
	"bytes"
	"os"
	"strings"
	"testing"
)

func TestExplain(t *testing.T) {
	t.Parallel()
	c, ok := Find("cgroup-driver-mismatch")
	if !ok {
		t.Fatal("there is no such check")
	}
	var out strings.Builder
	must(t, c.Explain(&out))
	for _, want := range []string{"cgroup-driver-mismatch (error)", "Pod sandbox changed", "SystemdCgroup = true", "https://github.com/kubernetes/kubernetes/issues/110177", "nodes with containerd"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is missing:\n%s", want, out.String())
		}
	}
	if _, ok := Find("no-such-check"); ok {
		t.Error("Find made a check up")
	}
}

// The page is what the generator prints now.
func TestPageIsCurrent(t *testing.T) {
	t.Parallel()
	var now bytes.Buffer
	must(t, WriteMarkdown(&now, Catalogue()))
	page, err := os.ReadFile("../docs/checks.md")
	must(t, err)
	if !bytes.Equal(now.Bytes(), page) {
		t.Error("docs/checks.md is not what the catalogue says; run go generate ./validate")
	}
}
