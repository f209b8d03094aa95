package matrix_test

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nodeimage/packer-plugin-nodeimage/e2e"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/manifest"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/matrix"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/matrix/matrixtest"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/run"
	"github.com/nodeimage/packer-plugin-nodeimage/profiles"
	"github.com/nodeimage/packer-plugin-nodeimage/validate"
)

// program stands in for nodeimage: each stage leaves what the real one leaves.
type program struct {
	t *testing.T
	// red are the stages that call the image of a profile bad, as
	// "stage profile"; infra how often a stage fails before it says something.
	red   map[string]bool
	infra map[string]int
	codes map[string]int // other exit codes, by stage
	lie   map[string]bool
	// sleep is how long the stage sleepIn takes.
	sleepIn string
	sleep   time.Duration

	mu        sync.Mutex
	ran       []string
	now, most int // machines at one time
	args      map[string][]string
}

func (p *program) Run(ctx context.Context, cmd run.Cmd) (run.Result, error) {
	stage, argv := cmd.Argv[1], cmd.Argv
	flag := func(name string) string {
		i := slices.Index(argv, name)
		if i < 0 {
			return ""
		}
		return argv[i+1]
	}
	var profile string
	if stage == "build" {
		loaded, err := profiles.Load(argv[2])
		if err != nil {
			p.t.Error(err)
			return run.Result{ExitCode: 2}, err
		}
		profile = loaded.Name
	} else {
		profile = strings.TrimSuffix(filepath.Base(argv[2]), ".qcow2")
	}
	p.mu.Lock()
	p.ran = append(p.ran, stage+" "+profile)
	if p.args == nil {
		p.args = map[string][]string{}
	}
	p.args[stage] = argv
	left := p.infra[stage]
	p.infra[stage] = max(0, left-1)
	if stage == "e2e" {
		p.now++
		p.most = max(p.most, p.now)
	}
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if stage == "e2e" {
			p.now--
		}
	}()
	if stage == p.sleepIn {
		select {
		case <-ctx.Done():
			return run.Result{ExitCode: 75}, context.Cause(ctx)
		case <-time.After(p.sleep):
		}
	}
	exit := func(code int, line string) (run.Result, error) {
		return run.Result{ExitCode: code, Stderr: "progress\nnodeimage: " + line + "\n  evidence: e2e\n"}, fmt.Errorf("exit status %d", code)
	}
	if left > 0 {
		return exit(75, "the virtual machine never started")
	}
	if code := p.codes[stage]; code != 0 {
		return exit(code, "it went wrong")
	}
	red := p.red[stage+" "+profile]
	var err error
	switch stage {
	case "build":
		loaded, loadErr := profiles.Load(argv[2])
		if loadErr != nil {
			return run.Result{}, loadErr
		}
		err = p.image(flag("--output"), loaded)
	case "validate":
		report := validate.Report{SHA256: image, Verdict: validate.Passed}
		if red {
			report.Verdict = validate.Failed
			report.Findings = []validate.Finding{{ID: "cgroup-driver-mismatch", Outcome: validate.Fail, File: "/etc/containerd/config.toml", Got: "cgroupfs"}}
		}
		if p.lie["validate"] {
			report.SHA256 = sha("another")
		}
		err = report.WriteJSON(cmd.Stdout)
	case "e2e":
		result := e2e.Result{Verdict: e2e.Passed, SHA256: image, Counts: e2e.Counts{Passed: 1}, Specs: []e2e.Spec{{Name: "node image boot boots", State: "passed", Seconds: 3}}}
		if red {
			result.Verdict, result.Counts = e2e.Failed, e2e.Counts{Failed: 1}
			result.Specs[0].State = "failed"
			result.Causes = []e2e.Cause{{ID: "b-likely", Confidence: "likely"}, {ID: "cgroup-driver-mismatch", Confidence: "certain"}}
		}
		if p.lie["e2e"] {
			result.Verdict = e2e.Failed
		}
		err = writeJSON(filepath.Join(flag("--output"), e2e.SummaryFile), result)
	case "attest":
		err = writeJSON(filepath.Join(flag("--output"), "x.sigstore.json"), argv)
	}
	if err != nil {
		p.t.Error(err)
	}
	if red {
		return exit(1, "the image failed")
	}
	return run.Result{}, nil
}

// image is the sha256 of every image that the program makes.
var image = fmt.Sprintf("%x", sha256.Sum256([]byte("image")))

func sha(text string) string { return fmt.Sprintf("%064x", []byte(text))[:64] }

func (p *program) image(dir string, profile *profiles.Profile) error {
	m := manifest.Manifest{
		Profile:    manifest.Profile{Name: profile.Name, SHA256: profile.Hash()},
		Images:     []manifest.DiskImage{{File: profile.Name + ".qcow2", SHA256: image, Size: 5}},
		Components: []manifest.Component{{Name: "containerd", Version: profile.Components["containerd"].Version}},
		Packages:   []manifest.Package{{Name: "linux-image-amd64", Version: "6.12.48-1"}, {Name: "linux-image-6.12.48+deb13-amd64", Version: "6.12.48-1"}},
	}
	if err := writeJSON(filepath.Join(dir, profile.Name+".manifest.json"), m); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, profile.Name+".qcow2"), []byte("image"), 0o644)
}

func writeJSON(path string, v any) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return os.WriteFile(path, data, 0o644)
}

func newProgram(t *testing.T) *program {
	return &program{t: t, red: map[string]bool{}, infra: map[string]int{}, codes: map[string]int{}, lie: map[string]bool{}}
}

func runner(t *testing.T, p *program) matrix.Runner {
	return matrix.Runner{
		Exec: p, Program: "nodeimage", Tool: matrixtest.Tool(), OutputDir: t.TempDir(), Retries: 2,
		Budget: matrix.Budget{CPUs: 4, MemoryMiB: 16384}, Machine: matrix.Budget{CPUs: 2, MemoryMiB: 4096}, Accel: "tcg",
		Now: func() time.Time { return now },
	}
}

func here(t *testing.T) {
	t.Helper()
	if runtime.GOARCH != "amd64" {
		t.Skip("the built-in profile is for amd64")
	}
}

func outcomes(results []matrix.Result) map[string]matrix.Outcome {
	out := map[string]matrix.Outcome{}
	for _, r := range results {
		out[strings.ReplaceAll(r.Cell.Name, "/kubernetes-1.37.2", "")], _ = matrix.Judge(r, "2026-11-25")
	}
	return out
}

func TestRunAll(t *testing.T) {
	t.Parallel()
	here(t)
	p := newProgram(t)
	p.red["validate cgroupfs"] = true
	p.sleepIn, p.sleep = "e2e", 300*time.Millisecond
	r := runner(t, p)
	r.Key = "ci.key"
	e := expand(t, good, matrixtest.Tool(), base("b1"))
	results, err := r.Run(t.Context(), e, e.Plan.Cells)
	if err != nil {
		t.Fatal(err)
	}
	if err := matrix.Err(results, "2026-11-25"); err != nil {
		t.Errorf("all is as planned: %v", err)
	}
	want := map[string]matrix.Outcome{
		"cgroupfs/containerd-2.3.7/runc-1.5.2/amd64/secureboot":  matrix.ExpectedRed,
		"debian-13/containerd-2.2.9/runc-1.5.2/amd64/secureboot": matrix.Good,
		"debian-13/containerd-2.3.7/runc-1.5.2/amd64/secureboot": matrix.Good,
		"debian-13/containerd-2.3.7/runc-1.5.2/amd64/bios":       matrix.Good,
	}
	if diff := cmp.Diff(want, outcomes(results)); diff != "" {
		t.Errorf("outcomes (-want +got):\n%s", diff)
	}
	count := map[string]int{}
	for _, line := range p.ran {
		count[line]++
	}
	if count["build debian-13"] != 1 || count["e2e debian-13"] != 2 {
		t.Errorf("two firmwares of one image: %v; want one build and two boots", count)
	}
	if count["e2e cgroupfs"] != 0 || count["attest cgroupfs"] != 1 {
		t.Errorf("a cell that is known to be red offline: %v; want no boot, and its verdict signed", count)
	}
	if p.most != 2 {
		t.Errorf("%d machines at one time, want 2: four CPUs and two for each", p.most)
	}
	c := collect(t, matrix.CollectOptions{Plan: e.Plan, Folders: []string{r.OutputDir}})
	if err := c.Err(); err != nil {
		t.Error(err)
	}
	for _, cell := range c.Cells {
		if cell.Result.Versions.Kernel != "6.12.48+deb13-amd64" || cell.Result.Image.Size != 5 || len(cell.Result.Evidence) < 5 {
			t.Errorf("%s: %+v, %d files", cell.Cell.Name, cell.Result.Versions, len(cell.Result.Evidence))
		}
	}
	if _, err := os.Stat(filepath.Join(r.OutputDir, "images")); !os.IsNotExist(err) {
		t.Errorf("images are left: %v", err)
	}
	if last := p.argsOf("attest"); !slices.Contains(last, "--cell") || !slices.Contains(last, "ci.key") {
		t.Errorf("attested by %q: want the cell and the key", last)
	}
	// What has a verdict is not run again.
	before := len(p.ran)
	if again, err := r.Run(t.Context(), e, e.Plan.Cells); err != nil || len(again) != 4 || len(p.ran) != before {
		t.Errorf("run again: %d results, %d commands, %v", len(again), len(p.ran)-before, err)
	}
	r.Again = true
	if _, err := r.Run(t.Context(), e, e.Plan.Cells); err != nil || len(p.ran) == before {
		t.Errorf("with Again nothing ran: %v", err)
	}
}

func (p *program) argsOf(stage string) []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.args[stage]
}

func oneCell(t *testing.T, p *program, change func(*matrix.Runner)) (matrix.Result, error) {
	t.Helper()
	here(t)
	e := expand(t, good, matrixtest.Tool(), base("b1"))
	i := slices.IndexFunc(e.Plan.Cells, func(c matrix.Cell) bool { return c.Firmware == "bios" })
	r := runner(t, p)
	if change != nil {
		change(&r)
	}
	results, err := r.Run(t.Context(), e, e.Plan.Cells[i:i+1])
	if err != nil || len(results) != 1 {
		return matrix.Result{}, err
	}
	return results[0], matrix.Err(results, "2026-11-25")
}

func TestOnlyInfrastructureIsTriedAgain(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name             string
		stage            string
		infra, code      int
		attempts, counts int
		verdict          matrix.Verdict
		exit             int
	}{
		{"one failure", "e2e", 1, 0, 2, 1, matrix.Passed, 0},
		{"as many as there are retries", "e2e", 2, 0, 3, 2, matrix.Passed, 0},
		{"one more", "e2e", 3, 0, 3, 3, matrix.None, 75},
		{"of the build", "build", 1, 0, 2, 1, matrix.Passed, 0},
		{"of the offline checks", "validate", 3, 0, 3, 3, matrix.None, 75},
		{"a red build", "build", 0, 1, 1, 0, matrix.Failed, 1},
		{"bad input", "e2e", 0, 2, 1, 0, matrix.None, 2},
		{"a crash", "validate", 0, 139, 1, 0, matrix.None, 75},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := newProgram(t)
			p.infra[tt.stage], p.codes[tt.stage] = tt.infra, tt.code
			got, err := oneCell(t, p, nil)
			stage, ok := got.Stage(matrix.Stage(tt.stage))
			if !ok || stage.Attempts != tt.attempts || len(got.Infrastructure) != tt.counts {
				t.Errorf("%d attempts and %d counted, want %d and %d", stage.Attempts, len(got.Infrastructure), tt.attempts, tt.counts)
			}
			if got.Verdict != tt.verdict || exitcode.Of(err) != tt.exit {
				t.Errorf("%s (%s), exit code %d, want %s and %d", got.Verdict, got.Reason, exitcode.Of(err), tt.verdict, tt.exit)
			}
			if tt.verdict == matrix.None && !strings.HasPrefix(got.Reason, "nodeimage: ") {
				t.Errorf("reason %q: want the line in which the command says why", got.Reason)
			}
		})
	}
}

func TestRedBoot(t *testing.T) {
	t.Parallel()
	p := newProgram(t)
	p.red["e2e debian-13"] = true
	got, err := oneCell(t, p, nil)
	if got.Verdict != matrix.Failed || got.Red != matrix.StageE2E || exitcode.Of(err) != exitcode.Failed {
		t.Errorf("%s at %s, %v", got.Verdict, got.Red, err)
	}
	if len(got.Causes) != 2 || got.Causes[0].ID != "cgroup-driver-mismatch" || !got.Causes[0].Certain || got.Specs[0].Name != "boot boots" {
		t.Errorf("causes %+v, specs %+v: want the certain cause first", got.Causes, got.Specs)
	}
}

// A report that is about another image, or at odds with the exit code, is no
// verdict.
func TestReportsThatDoNotAddUp(t *testing.T) {
	t.Parallel()
	for _, stage := range []string{"validate", "e2e"} {
		p := newProgram(t)
		p.lie[stage] = true
		if got, err := oneCell(t, p, nil); got.Verdict != matrix.None || exitcode.Of(err) != exitcode.Infrastructure {
			t.Errorf("%s: %s, %v", stage, got.Verdict, err)
		}
	}
}

func TestBudgetThatIsTooSmall(t *testing.T) {
	t.Parallel()
	p := newProgram(t)
	if _, err := oneCell(t, p, func(r *matrix.Runner) { r.Budget.MemoryMiB = 2047 }); exitcode.Of(err) != exitcode.Usage || len(p.ran) > 0 {
		t.Errorf("got %v after %q, want bad input before anything", err, p.ran)
	}
}

// The image of a cell without a verdict is there for the next run, which takes
// it if it is whole; one with a verdict takes it away.
func TestImageOfAnEarlierRun(t *testing.T) {
	t.Parallel()
	here(t)
	e := expand(t, good, matrixtest.Tool(), base("b1"))
	i := slices.IndexFunc(e.Plan.Cells, func(c matrix.Cell) bool { return c.Firmware == "bios" })
	cell := e.Plan.Cells[i : i+1]
	for _, tt := range []struct {
		name   string
		change func(r *matrix.Runner, image string) error
		builds int
	}{
		{"whole", nil, 1},
		{"damaged", func(_ *matrix.Runner, image string) error { return os.WriteFile(image, []byte("imagf"), 0o644) }, 2},
		{"of a build that was cut off", func(_ *matrix.Runner, image string) error {
			return os.Remove(strings.TrimSuffix(image, ".qcow2") + ".manifest.json")
		}, 2},
		{"to be made again", func(r *matrix.Runner, _ string) error { r.Again = true; return nil }, 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := newProgram(t)
			p.infra["e2e"] = 3
			r := runner(t, p)
			stale := filepath.Join(r.OutputDir, "images", "stale")
			if err := os.MkdirAll(stale, 0o755); err != nil {
				t.Fatal(err)
			}
			results, err := r.Run(t.Context(), e, cell)
			if err != nil || results[0].Verdict != matrix.None {
				t.Fatalf("%+v, %v: want no verdict", results, err)
			}
			image := filepath.Join(r.OutputDir, "images", cell[0].ImageKey, "debian-13.qcow2")
			if _, err := os.Stat(image); err != nil {
				t.Fatalf("the image of a cell without a verdict: %v", err)
			}
			if _, err := os.Stat(stale); !os.IsNotExist(err) {
				t.Errorf("an image that no cell of the run boots is left: %v", err)
			}
			if tt.change != nil {
				if err := tt.change(&r, image); err != nil {
					t.Fatal(err)
				}
			}
			results, err = r.Run(t.Context(), e, cell)
			if err != nil || results[0].Verdict != matrix.Passed {
				t.Fatalf("%+v, %v: want a pass", results, err)
			}
			builds := 0
			for _, line := range p.ran {
				if line == "build debian-13" {
					builds++
				}
			}
			build, _ := results[0].Stage(matrix.StageBuild)
			if builds != tt.builds || build.Earlier != (tt.builds == 1) || build.Code != 0 {
				t.Errorf("%d builds, the last %+v; want %d", builds, build, tt.builds)
			}
			if _, err := os.Stat(filepath.Join(r.OutputDir, "images")); !os.IsNotExist(err) {
				t.Errorf("images are left: %v", err)
			}
		})
	}
}

// A folder that must not be is the user's to mend, one that cannot be now the
// machine's.
func TestFolderOfResultsThatCannotBe(t *testing.T) {
	t.Parallel()
	p := newProgram(t)
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]int{
		filepath.Join(file, "results"): exitcode.Usage,
		"/proc/results":                exitcode.Infrastructure,
	} {
		if _, err := oneCell(t, p, func(r *matrix.Runner) { r.OutputDir = path }); exitcode.Of(err) != want || len(p.ran) > 0 {
			t.Errorf("%s: got %v after %q, want exit code %d", path, err, p.ran, want)
		}
	}
}

// A run that is ended leaves no result of the cells that it had begun.
func TestInterrupt(t *testing.T) {
	t.Parallel()
	here(t)
	p := newProgram(t)
	p.sleepIn, p.sleep = "build", time.Hour
	r := runner(t, p)
	e := expand(t, good, matrixtest.Tool(), base("b1"))
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	results, err := r.Run(ctx, e, e.Plan.Cells)
	if exitcode.Of(err) != exitcode.Infrastructure || len(results) != 0 {
		t.Errorf("%d results, %v", len(results), err)
	}
	c := collect(t, matrix.CollectOptions{Plan: e.Plan, Folders: []string{r.OutputDir}})
	if c.Outcomes[matrix.Missing] != 4 {
		t.Errorf("outcomes %v, want all missing", c.Outcomes)
	}
}
