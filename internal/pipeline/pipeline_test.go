package pipeline

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/hcl/v2/hcldec"
	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/console"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/store"
)

func TestDescribe(t *testing.T) {
	t.Parallel()
	d, err := Describe("debian-13")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, p := range d.Plans {
		names = append(names, p.Name)
		if len(p.Steps) == 0 {
			t.Errorf("plan %s has no steps", p.Name)
		}
	}
	if diff := cmp.Diff([]string{"host", "runtime", "kubernetes", "seal"}, names); diff != "" {
		t.Errorf("plans (-want +got):\n%s", diff)
	}
	if d.SHA256 != d.Profile.Hash() {
		t.Errorf("got digest %s, want the profile's %s", d.SHA256, d.Profile.Hash())
	}
	if _, err := Describe("no-such-profile"); exitcode.Of(err) != exitcode.Usage {
		t.Errorf("got %v (exit code %d), want exit code %d", err, exitcode.Of(err), exitcode.Usage)
	}
}

// The template that ships and the stages here must name the same provisioners
// in the same order, or the two ways in would make two images.
func TestStagesAreTheTemplates(t *testing.T) {
	t.Parallel()
	template, err := os.ReadFile("../../docs/templates/nodeimage.pkr.hcl")
	if err != nil {
		t.Fatal(err)
	}
	var inTemplate, here []string
	for line := range strings.Lines(string(template)) {
		if rest, ok := strings.CutPrefix(strings.TrimSpace(line), `provisioner "`); ok {
			inTemplate = append(inTemplate, rest[:strings.Index(rest, `"`)])
		}
	}
	for _, s := range stages() {
		here = append(here, s.name)
	}
	if diff := cmp.Diff(inTemplate, here); diff != "" {
		t.Errorf("stages differ from the template's (-template +stages):\n%s", diff)
	}
}

func TestPrepareReportsEveryProblem(t *testing.T) {
	t.Parallel()
	_, _, err := prepare(Options{Profile: "no-such-profile", OutputDir: t.TempDir(), DiskSize: "tiny", Formats: []string{"floppy"}, UI: console.New(&bytes.Buffer{})})
	if exitcode.Of(err) != exitcode.Usage {
		t.Fatalf("got %v, want bad input", err)
	}
	for _, want := range []string{"no-such-profile", "tiny", "floppy"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error does not mention %q: %v", want, err)
		}
	}
}

// recorder is a provisioner that notes that it ran.
type recorder struct {
	name string
	ran  *[]string
	err  error
}

func (r recorder) ConfigSpec() hcldec.ObjectSpec { return nil }
func (r recorder) Prepare(...any) error          { return nil }
func (r recorder) Provision(context.Context, packersdk.Ui, packersdk.Communicator, map[string]any) error {
	*r.ran = append(*r.ran, r.name)
	return r.err
}

func TestHookStopsAtTheFirstFailure(t *testing.T) {
	t.Parallel()
	var ran []string
	broken := errors.New("broken")
	h := &hook{stages: []stage{
		{"one", recorder{"one", &ran, nil}},
		{"two", recorder{"two", &ran, broken}},
		{"three", recorder{"three", &ran, nil}},
	}}
	ui := console.New(&bytes.Buffer{})
	if err := h.Run(t.Context(), packersdk.HookCleanupProvision, ui, nil, nil); err != nil || len(ran) != 0 {
		t.Errorf("the clean-up hook ran %v, %v; want nothing", ran, err)
	}
	err := h.Run(t.Context(), packersdk.HookProvision, ui, nil, nil)
	if !errors.Is(err, broken) || !strings.HasPrefix(err.Error(), "two: ") {
		t.Errorf("got %v, want the error of two, named", err)
	}
	if diff := cmp.Diff([]string{"one", "two"}, ran); diff != "" {
		t.Errorf("ran (-want +got):\n%s", diff)
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	ran = nil
	if err := h.Run(cancelled, packersdk.HookProvision, ui, nil, nil); !errors.Is(err, context.Canceled) || len(ran) != 0 {
		t.Errorf("cancelled: ran %v, %v", ran, err)
	}
}

func TestUpToDate(t *testing.T) {
	t.Parallel()
	s, err := store.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	image := filepath.Join(t.TempDir(), "node.qcow2")
	write := func(path, text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write(image, "bytes")
	result := Result{ID: "id"}
	if result.Files, result.SHA256, err = sums([]string{image}, nil); err != nil {
		t.Fatal(err)
	}
	if err := remember(s, "key", result); err != nil {
		t.Fatal(err)
	}
	got, ok := upToDate(s, "key", digests{})
	if !ok || !got.UpToDate || got.ID != "id" {
		t.Fatalf("got %+v, %v; want the remembered result", got, ok)
	}
	if _, ok := upToDate(s, "other", digests{}); ok {
		t.Error("another key is up to date")
	}
	write(image, "other bytes")
	if _, ok := upToDate(s, "key", digests{}); ok {
		t.Error("up to date although the image was changed")
	}
	write(image, "bytes")
	if _, ok := upToDate(s, "key", digests{}); !ok {
		t.Error("not up to date although the image is back")
	}
	if err := os.Remove(image); err != nil {
		t.Fatal(err)
	}
	if _, ok := upToDate(s, "key", digests{}); ok {
		t.Error("up to date although the image is gone")
	}
	write(recordPath(s, "key"), `{"id":"id","files":[]}`)
	if _, ok := upToDate(s, "key", digests{}); ok {
		t.Error("a record without files is up to date")
	}
}

func TestHashAhead(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, name := range []string{"node.qcow2", "node.manifest.json", "other.qcow2", "node"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(name), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "node.d"), 0o755); err != nil {
		t.Fatal(err)
	}
	d := hashAhead(t.Context(), dir, "node")
	if got := slices.Sorted(maps.Keys(d.ahead)); !slices.Equal(got, []string{filepath.Join(dir, "node.manifest.json"), filepath.Join(dir, "node.qcow2")}) {
		t.Errorf("hashes %q ahead, want the profile's own files", got)
	}
	for _, name := range []string{"node.qcow2", "other.qcow2"} {
		want := fmt.Sprintf("%x", sha256.Sum256([]byte(name)))
		if got, err := d.of(filepath.Join(dir, name)); err != nil || got != want {
			t.Errorf("%s: %s, %v; want %s", name, got, err, want)
		}
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if sum, err := hashAhead(ended, dir, "node").of(filepath.Join(dir, "node.qcow2")); !errors.Is(err, context.Canceled) {
		t.Errorf("a build that ended hashes on: %q, %v", sum, err)
	}
	if d := hashAhead(t.Context(), filepath.Join(dir, "none"), "node"); len(d.ahead) > 0 {
		t.Error("files in a directory that is not there")
	}
}

// A digest that the build computed while it wrote is not computed again.
func TestSumsKnown(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	image, list := filepath.Join(dir, "node.qcow2"), filepath.Join(dir, "node.lock.yaml")
	if err := os.WriteFile(list, []byte("lock"), 0o644); err != nil {
		t.Fatal(err)
	}
	_, got, err := sums([]string{image, list}, map[string]string{image: "known"})
	if err != nil || got[image] != "known" || got[list] != fmt.Sprintf("%x", sha256.Sum256([]byte("lock"))) {
		t.Errorf("got %v, %v", got, err)
	}
}
