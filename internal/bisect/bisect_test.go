package bisect

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/run"
)

const goodLock = `apiVersion: nodeimage.dev/v1alpha1
kind: Lock
kernel: {package: linux-image-amd64, release: 6.12.1-amd64, sha256: aa}
packages:
  - {name: curl, version: "8.1", sha256: c1}
  - {name: libsystemd0, version: "257.8", sha256: l1}
  - {name: linux-image-6.12.1-amd64, version: 6.12.1-1, sha256: k1}
  - {name: linux-image-amd64, version: 6.12.1-1, sha256: k2}
  - {name: old, version: "1", sha256: o1}
  - {name: systemd, version: "257.8", sha256: s1}
components:
  - {name: kubernetes, version: 1.37.1, sum: "h1:a"}
  - {name: runc, version: 1.5.1, sum: "h1:b"}
images:
  - {name: "registry.k8s.io/kube-proxy:v1.37.1", digest: "sha256:1"}
`

const badLock = `apiVersion: nodeimage.dev/v1alpha1
kind: Lock
kernel: {package: linux-image-amd64, release: 6.12.2-amd64, sha256: bb}
packages:
  - {name: curl, version: "8.1", sha256: c2}
  - {name: libsystemd0, version: "257.9", sha256: l2}
  - {name: linux-image-6.12.2-amd64, version: 6.12.2-1, sha256: k3}
  - {name: linux-image-amd64, version: 6.12.2-1, sha256: k4}
  - {name: new, version: "1", sha256: n1}
  - {name: systemd, version: "257.9", sha256: s2}
components:
  - {name: kubernetes, version: 1.37.2, sum: "h1:c"}
  - {name: runc, version: 1.5.2, sum: "h1:d"}
images:
  - {name: "registry.k8s.io/kube-proxy:v1.37.2", digest: "sha256:2"}
`

func read(t *testing.T) *Documents {
	t.Helper()
	d, err := Read([]byte(goodLock), []byte(badLock))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestUnits(t *testing.T) {
	t.Parallel()
	d := read(t)
	var got []string
	for _, u := range d.Units {
		got = append(got, u.Text)
	}
	want := []string{
		"kernel: 6.12.1-amd64 -> 6.12.2-amd64; packages.linux-image-6.12.1-amd64: 6.12.1-1 -> nothing; packages.linux-image-amd64: 6.12.1-1 -> 6.12.2-1; packages.linux-image-6.12.2-amd64: nothing -> 6.12.2-1",
		"packages.curl: 8.1 -> 8.1 with another sum or content",
		"packages.libsystemd0: 257.8 -> 257.9; packages.systemd: 257.8 -> 257.9",
		"packages.old: 1 -> nothing",
		"packages.new: nothing -> 1",
		"components.kubernetes: 1.37.1 -> 1.37.2; images.registry.k8s.io/kube-proxy:v1.37.1: sha256:1 -> nothing; images.registry.k8s.io/kube-proxy:v1.37.2: nothing -> sha256:2",
		"components.runc: 1.5.1 -> 1.5.2",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestCandidates(t *testing.T) {
	t.Parallel()
	d := read(t)
	canonical := func(data []byte) string {
		n, err := top(data)
		if err != nil {
			t.Fatal(err)
		}
		return text(n)
	}
	none, err := d.Candidate(nil)
	if err != nil || canonical(none) != canonical([]byte(goodLock)) {
		t.Errorf("no change is not GOOD: %v\n%s", err, none)
	}
	all, err := d.Candidate(numbers(len(d.Units)))
	if err != nil || canonical(all) != canonical([]byte(badLock)) {
		t.Errorf("all changes are not BAD: %v\n%s", err, all)
	}
	runc, err := d.Candidate([]int{6})
	if err != nil || !strings.Contains(string(runc), "1.5.2") || strings.Contains(string(runc), "1.37.2") {
		t.Errorf("got %v\n%s", err, runc)
	}
}

func TestReadRefuses(t *testing.T) {
	t.Parallel()
	for name, bad := range map[string]string{
		"another kind": strings.Replace(badLock, "kind: Lock", "kind: Profile", 1),
		"a list":       "- a\n",
		"no YAML":      "a: [",
		"aliases":      "a: &x {b: 1}\nc: *x\n",
		"nothing":      "",
	} {
		if _, err := Read([]byte(goodLock), []byte(bad)); exitcode.Of(err) != exitcode.Usage {
			t.Errorf("%s: got %v, want an error of exit code 2", name, err)
		}
	}
}

// options run the script as the test, for real.
func options(t *testing.T, script string) Options {
	return Options{Test: script, Tries: 60, Retries: 1, Runner: run.Host{}, Say: func(string) {}, Output: io.Discard}
}

// badIf is a test that is bad if the candidate has all of these words.
func badIf(words ...string) string {
	s := `f() { `
	for _, w := range words {
		s += fmt.Sprintf("grep -q -e '%s' \"$1\" || return 0; ", w)
	}
	return s + `return 1; }; f`
}

func culprits(r *Result) string {
	var names []string
	for _, set := range r.Culprits {
		for _, u := range set {
			names = append(names, u.Name)
		}
	}
	slices.Sort(names)
	return strings.Join(names, " ")
}

func TestRun(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		test, want, text string
	}{
		"one":         {badIf("1.5.2"), "components.runc", "one of 7 differences turns the verdict:\n  components.runc: 1.5.1 -> 1.5.2\n"},
		"interaction": {badIf("1.5.2", "257.9"), "components.runc packages.libsystemd0", "together, and none of them without the others"},
		"inseparable": {`f() { a=$(grep -c 1.5.2 "$1"); b=$(grep -c 1.37.2 "$1"); [ $((a > 0)) = $((b > 0)) ] || exit 75; [ "$a" = 0 ]; }; f`,
			"components.kubernetes components.runc", "nothing between could be tested"},
		"another cause": {`f() { ! grep -q -e 1.5.2 -e 257.9 "$1"; }; f`, "packages.libsystemd0", "BAD stays bad without them"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, err := Run(t.Context(), read(t), "a b.yaml", options(t, tt.test))
			if err != nil {
				t.Fatal(err)
			}
			var b bytes.Buffer
			if err := r.WriteText(&b); err != nil {
				t.Fatal(err)
			}
			if culprits(r) != tt.want || !strings.Contains(b.String(), tt.text) {
				t.Errorf("got %s\n%s", culprits(r), &b)
			}
		})
	}
}

func TestRunNamesWhatIsWrong(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, tt := range map[string]struct {
		change func(*Options)
		code   int
		text   string
	}{
		"always bad":     {func(o *Options) { o.Test = "exit 1;" }, exitcode.Usage, "does not tell GOOD from BAD"},
		"exit code 3":    {func(o *Options) { o.Test = "exit 3;" }, exitcode.Usage, "exit code 3, want 0 (good), 1 (bad) or 75"},
		"a typing error": {func(o *Options) { o.Test = "no-such-program-at-all" }, exitcode.Usage, "exit code 127"},
		"too long":       {func(o *Options) { o.Test, o.Timeout = "sleep 60;", 50*time.Millisecond }, exitcode.Usage, "the verdict skip"},
		"too many tries": {func(o *Options) { o.Tries = 3 }, exitcode.Infrastructure, "too many tries: 3 runs"},
		// Good at first, and bad when asked again.
		"flaky": {func(o *Options) {
			o.Test = fmt.Sprintf(`f() { grep -q 1.5.2 "$1" && return 1; [ ! -e %[1]s/seen ] || return 1; : > %[1]s/seen; }; f`, dir)
		}, exitcode.Infrastructure, "not steady"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := options(t, badIf("1.5.2"))
			tt.change(&o)
			_, err := Run(t.Context(), read(t), "lock.yaml", o)
			if exitcode.Of(err) != tt.code || !strings.Contains(err.Error(), tt.text) {
				t.Errorf("got %v (%d), want %q (%d)", err, exitcode.Of(err), tt.text, tt.code)
			}
		})
	}
}

func TestRunGoesOnFromItsLog(t *testing.T) {
	t.Parallel()
	o := options(t, badIf("1.5.2", "257.9"))
	o.Log = filepath.Join(t.TempDir(), "log")
	o.Tries = 4
	_, err := Run(t.Context(), read(t), "lock.yaml", o)
	if !errors.Is(err, errTries) {
		t.Fatalf("got %v", err)
	}
	// The process died in the middle of a line.
	f, err := os.OpenFile(o.Log, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(`{"candidate":"ab`); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	o.Tries = 60
	r, err := Run(t.Context(), read(t), "lock.yaml", o)
	if err != nil {
		t.Fatal(err)
	}
	whole, err := Run(t.Context(), read(t), "lock.yaml", options(t, o.Test))
	if err != nil {
		t.Fatal(err)
	}
	if culprits(r) != culprits(whole) || r.Runs != whole.Runs-4 {
		t.Errorf("got %s in %d runs after 4, want %s in %d", culprits(r), r.Runs, culprits(whole), whole.Runs)
	}
	// All is known by now.
	if r, err = Run(t.Context(), read(t), "lock.yaml", o); err != nil || r.Runs != 0 || culprits(r) != culprits(whole) {
		t.Errorf("got %+v, %v", r, err)
	}
	o.Test = badIf("1.5.2")
	if _, err = Run(t.Context(), read(t), "lock.yaml", o); exitcode.Of(err) != exitcode.Usage || !strings.Contains(err.Error(), "another bisection") {
		t.Errorf("a log of another test: got %v", err)
	}
	o.Log = filepath.Join(t.TempDir(), "mine")
	if err := os.WriteFile(o.Log, []byte("dear diary\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err = Run(t.Context(), read(t), "lock.yaml", o); exitcode.Of(err) != exitcode.Usage {
		t.Errorf("a file that is no log: got %v", err)
	}
	if b, _ := os.ReadFile(o.Log); string(b) != "dear diary\n" {
		t.Errorf("the file is now %q", b)
	}
}

func TestRunDoesNotTryWhatIsNoCandidate(t *testing.T) {
	t.Parallel()
	o := options(t, badIf("1.5.2"))
	o.Check = func(path string) error {
		b, err := os.ReadFile(path)
		if err == nil && strings.Contains(string(b), "257.9") && !strings.Contains(string(b), "1.5.2") {
			err = errors.New("does not go together")
		}
		return err
	}
	r, err := Run(t.Context(), read(t), "lock.yaml", o)
	if err != nil || culprits(r) != "components.runc" && !strings.Contains(culprits(r), "components.runc") {
		t.Errorf("got %+v, %v", r, err)
	}
}

func TestRunIsInterrupted(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := Run(ctx, read(t), "lock.yaml", options(t, "sleep 60;")); exitcode.Of(err) != exitcode.Infrastructure {
		t.Errorf("got %v, want an error of exit code 75", err)
	}
}
