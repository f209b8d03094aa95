package e2e

import (
	"context"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nodeimage/packer-plugin-nodeimage/e2e/machine"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/manifest"
	"github.com/nodeimage/packer-plugin-nodeimage/profiles"
)

func imageFile(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "debian-13.qcow2")
	if err := os.WriteFile(path, []byte("an image"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestOptionsReportAllProblemsAtOnce(t *testing.T) {
	t.Parallel()
	err := Options{
		Image: "/does/not/exist.qcow2", Soak: -time.Second, LabelFilter: "a &&",
		Firmware: []machine.Firmware{"coreboot", machine.UEFI, machine.UEFI},
	}.withDefaults().validate()
	if exitcode.Of(err) != exitcode.Usage {
		t.Fatalf("exit code %d for %v", exitcode.Of(err), err)
	}
	for _, want := range []string{"/does/not/exist.qcow2", "no output directory", "soak -1s", `label filter "a &&"`, `"coreboot"`, `"uefi"`} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not reported in:\n%v", want, err)
		}
	}
	if err := (Options{Image: t.TempDir(), OutputDir: "x"}).withDefaults().validate(); err == nil {
		t.Error("a directory is taken for an image")
	}
	if err := (Options{Image: imageFile(t), OutputDir: "x"}).withDefaults().validate(); err != nil {
		t.Errorf("good options are refused: %v", err)
	}
}

func TestExpect(t *testing.T) {
	t.Parallel()
	image := imageFile(t)
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(manifest.PathOf(image), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := expect(image, nil); err != nil || !reflect.DeepEqual(got, expectation{}) {
		t.Errorf("without a manifest: %+v, %v", got, err)
	}
	write(`{"schema":"nodeimage.dev/manifest/v1","profile":{"name":"debian-13","sha256":"def"},
		"images":[{"file":"debian-13.raw","sha256":"other"},{"file":"debian-13.qcow2","sha256":"abc"}],
		"components":[{"name":"containerd","version":"2.3.7"},{"name":"kubernetes","version":"1.37.2"}]}`)
	got, err := expect(image, nil)
	want := expectation{Profile: "debian-13", Digest: "def", Kubernetes: "1.37.2", SHA256: "abc", Source: manifest.PathOf(image)}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	profile := &profiles.Profile{Name: "other", Components: map[string]profiles.Component{"kubernetes": {Version: "1.36.1"}}}
	if got, err := expect(image, profile); err != nil || got.Kubernetes != "1.36.1" || got.SHA256 != "abc" || got.Profile != "other" || got.Digest != profile.Hash() {
		t.Errorf("with a profile: %+v, %v", got, err)
	}
	// What it was made from goes into the summary, from either.
	write(`{"schema":"nodeimage.dev/manifest/v1","standIns":["Ubuntu's archive"]}`)
	profile.StandIns = []string{"Ubuntu's archive", "upstream's releases"}
	if got, err := expect(image, nil); err != nil || len(got.StandIns) != 1 {
		t.Errorf("stand-ins of the manifest: %+v, %v", got, err)
	}
	if got, err := expect(image, profile); err != nil || len(got.StandIns) != 2 {
		t.Errorf("stand-ins of both: %+v, %v", got, err)
	}
	if got := (Result{StandIns: profile.StandIns}).Headline(); !strings.Contains(got, "NOT ON THE REAL THING: stand-ins for Ubuntu's archive, upstream's releases") {
		t.Errorf("headline: %s", got)
	}
	for _, bad := range []string{"{", `{"schema":"nodeimage.dev/manifest/v9"}`} {
		write(bad)
		if _, err := expect(image, nil); exitcode.Of(err) != exitcode.Usage {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

func TestThresholds(t *testing.T) {
	t.Parallel()
	kvm, tcg := thresholdsFor(machine.AccelKVM, 0), thresholdsFor(machine.AccelTCG, 0)
	if kvm.slack >= tcg.slack || kvm.nodeSlack >= tcg.nodeSlack {
		t.Errorf("an emulated machine gets no more time: %+v, %+v", kvm, tcg)
	}
	if got := thresholdsFor(machine.AccelTCG, 7*time.Second); got.slack != 7*time.Second {
		t.Errorf("a given slack is not used: %+v", got)
	}
}

// A run whose machine was a test's must say so: its summary is not evidence.
func TestStandIns(t *testing.T) {
	t.Parallel()
	if got := (Options{}).standIns(); got == nil || len(got) != 0 {
		t.Errorf("a real run: %#v, want an empty list, not none", got)
	}
	fake := Options{boot: func(context.Context, machine.Options) (vm, error) { return nil, nil }}
	if got := fake.standIns(); len(got) != 1 || got[0] != "machine" {
		t.Errorf("a made-up machine: %v", got)
	}
}
