package benchlog

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestAppendAndRead(t *testing.T) {
	t.Parallel()
	p := filepath.Join(t.TempDir(), "history.jsonl")
	if runs, err := Read(p); err != nil || len(runs) != 0 {
		t.Errorf("no file: got %v, %v", runs, err)
	}
	want := []Run{
		{Time: time.Unix(1, 0).UTC(), Tool: "1", CPUs: 2, Build: []Measurement{{Name: "floor: x", Seconds: 2, Ratio: 1}}},
		{Time: time.Unix(2, 0).UTC(), Tool: "1", CPUs: 2, Notes: []string{"none"}, Suite: []Measurement{{Name: "y", Error: "z"}}},
	}
	for _, r := range want {
		if err := Append(p, r); err != nil {
			t.Fatal(err)
		}
	}
	got, err := Read(p)
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Error(err, diff)
	}
	// A damaged history is not added to.
	if err := os.WriteFile(p, []byte("{}\n{\"tyme\":1}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Append(p, want[0]); err == nil || !strings.Contains(err.Error(), ":2:") {
		t.Errorf("got %v, want an error with the line", err)
	}
	if b, _ := os.ReadFile(p); string(b) != "{}\n{\"tyme\":1}\n" {
		t.Errorf("the history is now %q", b)
	}
}
