package matrix_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/matrix"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/matrix/matrixtest"
	"github.com/nodeimage/packer-plugin-nodeimage/profiles"
)

const good = `apiVersion: nodeimage.dev/v1alpha1
kind: Matrix
name: two
profiles: [debian-13]
containerd: ["2.3.7", "2.2.9"]
firmware: [secureboot, bios]
pins:
  containerd:
    "2.2.9":
      containerd: {version: 2.2.9, source: gomod, module: github.com/containerd/containerd/v2, sum: "h1:7PGbgAVKE4ieQjFPv7+kwAv7f9dCtRpExZwjExHD/Fk="}
include:
  - {profile: ./cgroupfs.yaml}
exclude:
  - {match: {containerd: "2.2", firmware: bios}, reason: enough is known}
knownBad:
  - match: {profile: cgroupfs}
    cause: cgroup-driver-mismatch
    stage: validate
    tracker: https://example.org/1
    expires: 2027-01-31
suite:
  soak: 2m
`

const cgroupfs = `apiVersion: nodeimage.dev/v1alpha1
kind: Profile
name: cgroupfs
extends: debian-13
runtime:
  cgroupDriver: cgroupfs
`

func load(t testing.TB, text string) (*matrix.Matrix, error) {
	t.Helper()
	dir := t.TempDir()
	for name, content := range map[string]string{"matrix.yaml": text, "cgroupfs.yaml": cgroupfs} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return matrix.Load(filepath.Join(dir, "matrix.yaml"))
}

func expand(t testing.TB, text string, tool matrix.Tool, bases matrix.Bases) *matrix.Expanded {
	t.Helper()
	m, err := load(t, text)
	if err != nil {
		t.Fatal(err)
	}
	e, err := m.Expand(t.Context(), tool, bases)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func base(digest string) matrix.Bases {
	return func(context.Context, *profiles.Profile) (string, error) { return digest, nil }
}

func TestExpand(t *testing.T) {
	t.Parallel()
	e := expand(t, good, matrixtest.Tool(), base("b1"))
	var names []string
	images := map[string]int{}
	for _, c := range e.Plan.Cells {
		names = append(names, c.Name)
		images[c.ImageKey]++
		if p := e.Profile(c); p == nil || p.Components["containerd"].Version != c.Containerd || p.Hash() != c.ProfileSHA256 {
			t.Errorf("%s: its profile does not have its versions", c.Name)
		}
		if (c.KnownBad != nil) != (c.Profile == "cgroupfs") {
			t.Errorf("%s: known to be bad: %t", c.Name, c.KnownBad != nil)
		}
		if c.Base != "b1" || c.OS != "debian-13" || c.Suite.Soak != "2m0s" || len(c.Suite.Stages) != 2 {
			t.Errorf("%+v", c)
		}
	}
	slices.Sort(names)
	want := []string{
		"cgroupfs/kubernetes-1.37.2/containerd-2.3.7/runc-1.5.2/amd64/secureboot",
		"debian-13/kubernetes-1.37.2/containerd-2.2.9/runc-1.5.2/amd64/secureboot",
		"debian-13/kubernetes-1.37.2/containerd-2.3.7/runc-1.5.2/amd64/bios",
		"debian-13/kubernetes-1.37.2/containerd-2.3.7/runc-1.5.2/amd64/secureboot",
	}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("cells (-want +got):\n%s", diff)
	}
	if len(images) != 3 {
		t.Errorf("%d images, want 3: two firmwares boot one image", len(images))
	}
	// The image of a profile's own versions is that of `nodeimage build`.
	own, err := profiles.Load("debian-13")
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(e.Plan.Cells, func(c matrix.Cell) bool { return c.ProfileSHA256 == own.Hash() }) {
		t.Error("no cell is of the built-in profile as it is")
	}
}

// An ID changes with all that the verdict depends on, and with nothing else.
func TestIdentity(t *testing.T) {
	t.Parallel()
	ids := func(text string, tool matrix.Tool, b matrix.Bases) []string {
		var out []string
		for _, c := range expand(t, text, tool, b).Plan.Cells {
			out = append(out, c.Name+" "+c.ID)
		}
		slices.Sort(out)
		return out
	}
	first := ids(good, matrixtest.Tool(), base("b1"))
	for name, text := range map[string]string{
		"order":       strings.Replace(good, `["2.3.7", "2.2.9"]`, `["2.2.9", "2.3.7"]`, 1),
		"expectation": strings.Replace(good, "2027-01-31", "2027-02-28", 1),
		"name":        strings.Replace(good, "name: two", "name: three", 1),
	} {
		if diff := cmp.Diff(first, ids(text, matrixtest.Tool(), base("b1"))); diff != "" {
			t.Errorf("%s changes IDs:\n%s", name, diff)
		}
	}
	other := matrixtest.Tool()
	other.SHA256 = strings.Repeat("a", 64)
	for name, changed := range map[string][]string{
		"tool": ids(good, other, base("b1")),
		"base": ids(good, matrixtest.Tool(), base("b2")),
		"soak": ids(strings.Replace(good, "soak: 2m", "soak: 3m", 1), matrixtest.Tool(), base("b1")),
		"pin":  ids(strings.Replace(strings.Replace(good, "h1:7PG", "h1:8PG", 1), `["2.3.7", "2.2.9"]`, `["2.2.9"]`, 1), matrixtest.Tool(), base("b1")),
	} {
		for _, id := range changed {
			if slices.Contains(first, id) && !(name == "pin" && !strings.Contains(id, "2.2.9")) {
				t.Errorf("another %s and the same ID: %s", name, id)
			}
		}
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, old, new, want string }{
		{"kind", "kind: Matrix", "kind: Profile", `:2:7: kind: found "Profile", expected Matrix`},
		{"unknown key", "soak: 2m", "soaks: 2m", `:22:3: suite.soaks: unknown key; did you mean "soak"?`},
		{"no profile", "profiles: [debian-13]", "profiles: [debian-31]", `:4:12: profiles[0]: no built-in profile "debian-31"`},
		{"branch for a release", `["2.3.7", "2.2.9"]`, `["2.3"]`, `:5:14: containerd[0]: found "2.3", expected a release such as 1.37.2`},
		{"twice", `["2.3.7", "2.2.9"]`, `["2.3.7", "2.3.7"]`, `containerd[1]: "2.3.7" is listed already`},
		{"firmware", "[secureboot, bios]", "[coreboot]", `firmware[0]: found "coreboot", expected bios or uefi or secureboot`},
		{"pin of another version", "containerd: {version: 2.2.9", "containerd: {version: 2.2.8", `containerd.version is "2.2.8", expected "2.2.9"`},
		{"pin of another axis", "      containerd: {version: 2.2.9, source", "      runc: {version: 1.5.2, source: gomod, module: x, sum: y}\n      containerd: {version: 2.2.9, source", "this component does not belong to the axis"},
		{"no reason", ", reason: enough is known", "", "exclude[0].reason: missing"},
		{"matches all", "{containerd: \"2.2\", firmware: bios}", "{}", "exclude[0].match: matches every cell"},
		{"no tracker", "https://example.org/1", "ticket 1", `knownBad[0].tracker: found "ticket 1", expected the https address`},
		{"no day", "2027-01-31", "soon", `knownBad[0].expires: found "soon", expected the last day`},
		{"no cause of the stage", "cause: cgroup-driver-mismatch", "cause: bad-luck", `knownBad[0].cause: found "bad-luck", expected the ID of a check`},
		{"stage", "stage: validate", "stage: build", `knownBad[0].stage: found "build", expected validate or e2e`},
		{"soak", "soak: 2m", "soak: long", `suite.soak: found "long", expected a duration`},
		{"filter", "soak: 2m", "labelFilter: '(slow'", `suite.labelFilter: found "(slow"`},
		{"soak without boot", "soak: 2m", "soak: 2m\n  stages: [validate]", "suite: soak and labelFilter are for the stage e2e"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if strings.Count(good, tt.old) != 1 {
				t.Fatalf("%q is not there once", tt.old)
			}
			_, err := load(t, strings.Replace(good, tt.old, tt.new, 1))
			if exitcode.Of(err) != exitcode.Usage || !strings.Contains(fmt.Sprint(err), tt.want) {
				t.Errorf("got:  %v\nwant: %s", err, tt.want)
			}
		})
	}
}

func TestExpandRefusals(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, old, new, want string }{
		{"not pinned", `["2.3.7", "2.2.9"]`, `["2.3.7", "2.2.9", "2.4.2"]`, `containerd 2.4.2 is not the version of the profile debian-13, and nothing says where it comes from: add pins.containerd["2.4.2"]`},
		{"cannot be", "firmware: [secureboot, bios]", "runc: [\"1.5.2\", \"1.2.0\"]\nfirmware: [secureboot, bios]", `nothing says where it comes from: add pins.runc["1.2.0"]`},
		{"exclude nothing", `containerd: "2.2", firmware: bios`, `containerd: "2.9", firmware: bios`, "exclude[0]: matches no cell of the axes (enough is known)"},
		{"known nothing", "{profile: cgroupfs}", "{kubernetes: \"1.2\"}", "knownBad[0]: matches no cell"},
		{"include what is there", "./cgroupfs.yaml", "debian-13", "include[0]: the cell debian-13/kubernetes-1.37.2/containerd-2.3.7/runc-1.5.2/amd64/secureboot is there already, by the axes"},
		{"no profile of that arch", "firmware:", "arch: [amd64, arm64]\nfirmware:", "arch: no profile is for arm64"},
		{"twice known", "suite:", "  - {match: {profile: cgroupfs}, cause: swap-enabled, stage: validate, tracker: 'https://example.org/2', expires: 2027-01-31}\nsuite:", "knownBad[1]: the cell cgroupfs/"},
		{"stage that is not run", "soak: 2m", "stages: [e2e]", "the suite does not have the stage validate"},
		{"nothing left", `{containerd: "2.2", firmware: bios}, reason: enough is known}` + "\nknownBad", `{profile: debian-13}, reason: none}` + "\nknownBad", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			m, err := load(t, strings.Replace(good, tt.old, tt.new, 1))
			if err != nil {
				t.Fatal(err)
			}
			_, err = m.Expand(t.Context(), matrixtest.Tool(), matrix.NoBases)
			if tt.want == "" {
				if err != nil {
					t.Errorf("the include alone is a matrix: %v", err)
				}
				return
			}
			if exitcode.Of(err) != exitcode.Usage || !strings.Contains(fmt.Sprint(err), tt.want) {
				t.Errorf("got:  %v\nwant: %s", err, tt.want)
			}
		})
	}
}

// Versions that do not go together are told with the cell, and can be excluded.
func TestImpossibleCell(t *testing.T) {
	t.Parallel()
	text := strings.Replace(good, `["2.3.7", "2.2.9"]`, `["2.3.7", "2.2.9", "1.6.36"]`, 1)
	text = strings.Replace(text, "include:", `    "1.6.36":
      containerd: {version: 1.6.36, source: gomod, module: github.com/containerd/containerd, sum: "h1:7PGbgAVKE4ieQjFPv7+kwAv7f9dCtRpExZwjExHD/Fk="}
include:`, 1)
	m, err := load(t, text)
	if err != nil {
		t.Fatal(err)
	}
	_, err = m.Expand(t.Context(), matrixtest.Tool(), matrix.NoBases)
	if exitcode.Of(err) != exitcode.Usage || !strings.Contains(err.Error(), "containerd-1.6.36") || !strings.Contains(err.Error(), "not known to run with Kubernetes 1.37.2") {
		t.Fatalf("got %v", err)
	}
	if m, err = load(t, strings.Replace(text, "exclude:", "exclude:\n  - {match: {containerd: 1.6.36}, reason: it cannot be}", 1)); err != nil {
		t.Fatal(err)
	}
	if e, err := m.Expand(t.Context(), matrixtest.Tool(), matrix.NoBases); err != nil || len(e.Plan.Cells) != 4 {
		t.Errorf("excluded: %v", err)
	}
}

func TestArchiveThatIsAway(t *testing.T) {
	t.Parallel()
	m, err := load(t, good)
	if err != nil {
		t.Fatal(err)
	}
	away := exitcode.Transient(errors.New("mirror cannot be read"))
	_, err = m.Expand(t.Context(), matrixtest.Tool(), func(context.Context, *profiles.Profile) (string, error) { return "", away })
	if exitcode.Of(err) != exitcode.Infrastructure {
		t.Errorf("got %v, want an infrastructure failure", err)
	}
}

// large has 10,000 cells: 100 versions of containerd and 50 of runc, which
// no table refuses, under two firmwares.
func large() string {
	var c, r, pins []string
	for i := range 100 {
		v := fmt.Sprintf("2.3.%d", 100+i)
		c = append(c, fmt.Sprintf("%q", v))
		pins = append(pins, fmt.Sprintf("    %q: {containerd: {version: %s, source: gomod, module: github.com/containerd/containerd/v2, sum: 'h1:7PGbgAVKE4ieQjFPv7+kwAv7f9dCtRpExZwjExHD/Fk='}}", v, v))
	}
	pins = append(pins, "  runc:")
	for i := range 50 {
		v := fmt.Sprintf("1.5.%d", 100+i)
		r = append(r, fmt.Sprintf("%q", v))
		pins = append(pins, fmt.Sprintf("    %q: {runc: {version: %s, source: gomod, module: github.com/opencontainers/runc, sum: 'h1:eUUowc2WJCnFYzI87C1WqRcu356Dk/wsoi90y+2wEfE='}}", v, v))
	}
	return "apiVersion: nodeimage.dev/v1alpha1\nkind: Matrix\nname: large\nprofiles: [debian-13]\nfirmware: [secureboot, bios]\n" +
		"containerd: [" + strings.Join(c, ", ") + "]\nrunc: [" + strings.Join(r, ", ") + "]\npins:\n  containerd:\n" + strings.Join(pins, "\n") + "\n"
}

func BenchmarkPlan10000(b *testing.B) {
	text := large()
	b.ReportAllocs()
	for b.Loop() {
		if n := len(expand(b, text, matrixtest.Tool(), matrix.NoBases).Plan.Cells); n != 10_000 {
			b.Fatalf("%d cells", n)
		}
	}
}
