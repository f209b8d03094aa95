//go:build integration && slow

package engine_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/matrix"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/programtest"
)

const (
	podImage = "localhost/nodeimage:test"
	claim    = "results"
	claimDir = "/var/lib/matrix-results" // on the node
	kvm      = "devices.kubevirt.io/kvm"
)

// redCheck is the check that fails on an image with the fault redFault in it.
const (
	redFault = "swap-on"
	redCheck = "swap-enabled"
)

// The objects that `matrix plan -o kubernetes` prints do in a cluster what they
// are for. The cluster is that of a booted node image. Its pods run nodeimage on
// images that the claim holds as an earlier run left them, since no image is
// built on an emulated machine without a network:
//
//   - a cell that is known to be bad and is red for that cause ends its index
//     well, and the same image where it must be green fails the index at once;
//   - a cell whose pod was promised KVM and finds none ends with 75, and is run
//     again as often as that is wanted, with the image that it has;
//   - a good image that is only looked at needs no KVM, and ends its job well;
//   - a plan that another nodeimage made ends its job with the first pod.
func TestJobsRunInACluster(t *testing.T) {
	good := goodImage(t)
	dir := t.TempDir()
	program := buildProgram(t, dir)
	red := good.withFault(t, dir, redFault)
	c := startCluster(t, good.path)
	c.importImage(t, podImage, program, "qemu-system-x86_64", "qemu-img")
	c.apply(t, volume)

	t.Run("verdicts", func(t *testing.T) {
		p := planned(t, program, good.profile, "[bios, uefi, secureboot]", "[validate, e2e]", fmt.Sprintf(`
knownBad:
  - match: {firmware: secureboot}
    cause: %s
    stage: validate
    tracker: https://github.com/kubernetes/kubernetes/issues/53533
    expires: %s
`, redCheck, time.Now().AddDate(0, 1, 0).Format(time.DateOnly)), "--shards", "3", "--retries", "1")
		noKVM, bad, expected := p.index(t, "bios"), p.index(t, "uefi"), p.index(t, "secureboot")
		c.put(t, p, noKVM, good)
		c.put(t, p, bad, red)
		c.put(t, p, expected, red)

		c.apply(t, p.objects)
		c.waitForPods(t, p.job, "Insufficient "+kvm)
		c.advertise(t, kvm)
		want := ending{
			Codes:     map[int][]int{expected: {exitcode.OK}, bad: {exitcode.Failed}, noKVM: {exitcode.Infrastructure, exitcode.Infrastructure}},
			Completed: []int{expected}, Failed: []int{min(bad, noKVM), max(bad, noKVM)}, Reason: "FailedIndexes",
		}
		if diff := cmp.Diff(want, c.waitForJob(t, p.job)); diff != "" {
			t.Errorf("the job's end (-want +got):\n%s\n%s", diff, c.state(t))
		}
		lookAtCells(t, p, c.fetch(t, p.job), good, red)
		images := c.output(t, nil, "sh", "-c", `cd "$1" && ls -d */images`, "sh", path.Join(claimDir, p.job))
		if want := fmt.Sprintf("%d/images", noKVM); strings.TrimSpace(images) != want {
			t.Errorf("images are left in %q, want %s: that of the cell without a verdict", images, want)
		}
	})

	t.Run("green", func(t *testing.T) {
		p := planned(t, program, good.profile, "[bios]", "[validate]", "")
		c.put(t, p, 0, good)
		c.takeBack(t, kvm)
		c.apply(t, p.objects)
		want := ending{Codes: map[int][]int{0: {exitcode.OK}}, Completed: []int{0}, Reason: "CompletionsReached"}
		if diff := cmp.Diff(want, c.waitForJob(t, p.job)); diff != "" {
			t.Errorf("the job's end (-want +got):\n%s\n%s", diff, c.state(t))
		}
		if cells, code := p.collect(t, c.fetch(t, p.job)); code != exitcode.OK || cells["bios"].Outcome != matrix.Good {
			t.Errorf("collect: exit code %d, %s (%s), want %s", code, cells["bios"].Outcome, cells["bios"].Why, matrix.Good)
		}
	})

	t.Run("planned elsewhere", func(t *testing.T) {
		// The same program, and another file.
		text, err := os.ReadFile(program)
		if err != nil {
			t.Fatal(err)
		}
		other := filepath.Join(t.TempDir(), "nodeimage")
		if err := programtest.WriteFile(other, append(text, 0)); err != nil {
			t.Fatal(err)
		}
		p := planned(t, other, "nodes/own.yaml", "[bios, uefi]", "[validate]", "", "--shards", "2", "--parallelism", "1")
		c.apply(t, p.objects)
		want := ending{Codes: map[int][]int{0: {exitcode.Usage}}, Reason: "PodFailurePolicy"}
		got := c.waitForJob(t, p.job)
		got.Failed = nil // whether an index counts when all end is the API server's to say
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("the job's end (-want +got):\n%s\n%s", diff, c.state(t))
		}
		// And not for a profile that is not where the matrix has it.
		if log := c.kubectl(t, nil, "logs", "job/"+p.job); !strings.Contains(log, "the ticket is of the plan") {
			t.Errorf("the pod said: %s", log)
		}
	})
}

// lookAtCells collects what pods left and holds it against what they were given.
func lookAtCells(t *testing.T, p plan, results string, good, red nodeImage) {
	t.Helper()
	cells, code := p.collect(t, results)
	if code != exitcode.Failed {
		t.Errorf("collect: exit code %d, want %d", code, exitcode.Failed)
	}
	for firmware, want := range map[string]struct {
		outcome matrix.Outcome
		image   nodeImage
		why     string
	}{
		"bios":       {matrix.NoVerdict, good, "KVM was asked for and does not work here"},
		"uefi":       {matrix.Bad, red, redCheck},
		"secureboot": {matrix.ExpectedRed, red, ""},
	} {
		cell := cells[firmware]
		if cell.Outcome != want.outcome || !strings.Contains(cell.Why, want.why) || cell.Result == nil {
			t.Errorf("%s: %s (%s), want %s (%s)", firmware, cell.Outcome, cell.Why, want.outcome, want.why)
			continue
		}
		build, _ := cell.Result.Stage(matrix.StageBuild)
		if !build.Earlier || cell.Result.Image.SHA256 != want.image.sum {
			t.Errorf("%s: %+v, image %s, want %s as it lay there", firmware, build, cell.Result.Image.SHA256, want.image.sum)
		}
		validated, _ := cell.Result.Stage(matrix.StageValidate)
		if green := want.outcome == matrix.NoVerdict; validated.Attempts != 1 || (validated.Code == exitcode.OK) != green {
			t.Errorf("%s: %+v, want it looked at once, and good: %v", firmware, validated, green)
		}
	}
}

// plan is a matrix as it was planned for the cluster.
type plan struct {
	matrix.Plan
	program, file string // what planned, and plan.json
	objects       string // for kubectl
	job           string
}

// planned writes a matrix of one profile, with rest at its end, and plans it. A
// profile that is a file is made, too.
func planned(t *testing.T, program, profile, firmware, stages, rest string, args ...string) plan {
	t.Helper()
	dir := t.TempDir()
	files := map[string]string{"matrix.yaml": fmt.Sprintf(
		"apiVersion: nodeimage.dev/v1alpha1\nkind: Matrix\nname: in-cluster\nprofiles: [%s]\nfirmware: %s\nsuite:\n  stages: %s\n%s", profile, firmware, stages, rest)}
	if strings.HasSuffix(profile, ".yaml") {
		files[profile] = "apiVersion: nodeimage.dev/v1alpha1\nkind: Profile\nname: own\nextends: debian-13\n"
	}
	for name, text := range files {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	p := plan{program: program, file: filepath.Join(dir, "plan.json")}
	var code int
	p.objects, code = command(t, dir, append([]string{program, "matrix", "plan", "matrix.yaml", "--offline", "--save", dir, "-o", "kubernetes", "--image", podImage, "--results-claim", claim}, args...)...)
	if code != exitcode.OK {
		t.Fatalf("matrix plan: exit code %d", code)
	}
	var err error
	if p.Plan, err = matrix.ReadPlan(p.file); err != nil {
		t.Fatal(err)
	}
	p.job = "nodeimage-matrix-" + p.SHA256[:12] + "-amd64"
	return p
}

// index is the shard with the cell of a firmware; each has one cell.
func (p plan) index(t *testing.T, firmware string) int {
	t.Helper()
	i := slices.IndexFunc(p.Cells, func(c matrix.Cell) bool { return c.Firmware == firmware })
	if i < 0 {
		t.Fatalf("no cell of the plan has the firmware %s", firmware)
	}
	return i
}

// collect runs `matrix collect` over the folders of all indexes in dir, and
// returns the cells by firmware and the exit code.
func (p plan) collect(t *testing.T, dir string) (map[string]matrix.CollectedCell, int) {
	t.Helper()
	argv := []string{p.program, "matrix", "collect", "--plan", p.file, "--output", t.TempDir(), "--format", "json"}
	for i := range p.Cells {
		argv = append(argv, filepath.Join(dir, fmt.Sprint(i)))
	}
	out, code := command(t, dir, argv...)
	var collected matrix.Collected
	if err := json.Unmarshal([]byte(out), &collected); err != nil {
		t.Fatalf("matrix collect: exit code %d, %v", code, err)
	}
	if len(collected.Strays)+len(collected.Unreadable) > 0 {
		t.Errorf("strays %q, unreadable %q", collected.Strays, collected.Unreadable)
	}
	cells := map[string]matrix.CollectedCell{}
	for _, cell := range collected.Cells {
		cells[cell.Cell.Firmware] = cell
	}
	return cells, code
}
