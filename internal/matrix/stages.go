package matrix

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/nodeimage/packer-plugin-nodeimage/e2e"
	"github.com/nodeimage/packer-plugin-nodeimage/e2e/cause"
	"github.com/nodeimage/packer-plugin-nodeimage/e2e/child"
	"github.com/nodeimage/packer-plugin-nodeimage/e2e/machine"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/manifest"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/run"
	"github.com/nodeimage/packer-plugin-nodeimage/profiles"
	"github.com/nodeimage/packer-plugin-nodeimage/validate"
)

// job is one cell on its way.
type job struct {
	*session
	cell    Cell
	profile *profiles.Profile
	dir     string
	result  Result
}

func (j *job) file(name string) string { return filepath.Join(j.dir, name) }

// run takes the cell through its stages and fills the result.
func (j *job) run(ctx context.Context) {
	image := j.build(ctx)
	if image == "" {
		return
	}
	for _, stage := range j.cell.Suite.Stages {
		judge := map[Stage]func(context.Context, string) bool{StageValidate: j.validate, StageE2E: j.e2e}[stage]
		if !judge(ctx, image) {
			j.result.Verdict = None
			return
		}
		// A red image need not be booted, unless the boot is what must be red.
		if j.result.Verdict == Failed && (j.cell.KnownBad == nil || j.cell.KnownBad.Stage == stage) {
			break
		}
	}
	if j.Key != "" {
		j.attest(ctx, image)
	}
}

// build makes the cell's image, or takes that of another cell. It returns the
// image's path, "" if there is none.
func (j *job) build(ctx context.Context) string {
	j.mu.Lock()
	shared := j.images[j.cell.ImageKey]
	j.mu.Unlock()
	first := false
	shared.once.Do(func() {
		first = true
		shared.built = j.buildImage(ctx)
	})
	b := shared.built
	b.stage.Shared = !first
	if !first {
		b.stage.Log = ""
	}
	j.result.Stages = append(j.result.Stages, b.stage)
	if first { // counted once
		j.result.Infrastructure = append(j.result.Infrastructure, b.infra...)
	}
	switch {
	case b.stage.Code == exitcode.Failed:
		j.result.Verdict, j.result.Red = Failed, StageBuild
		return ""
	case b.path == "":
		j.result.Reason = b.reason
		return ""
	}
	if err := j.takeManifest(b.path); err != nil {
		j.result.Reason = err.Error()
		return ""
	}
	return b.path
}

func (j *job) buildImage(ctx context.Context) built {
	dir := j.imageDir(j.cell)
	part := Budget{min(2, j.Budget.CPUs), buildMemory}
	var out built
	if out.path = j.earlierImage(ctx, dir); out.path != "" {
		out.stage = StageResult{Stage: StageBuild, Earlier: true}
		j.say("%s: the image of an earlier run is whole", j.cell.Name)
		return out
	}
	var code int
	out.stage, out.infra, code, out.reason = j.stage(ctx, StageBuild, part, nil, "build", j.file(ProfileFile), "--output", dir)
	if code != exitcode.OK {
		return out
	}
	if out.path = j.imageIn(dir); out.path == "" {
		out.reason = "the build left neither a qcow2 nor a raw image: give the profile one of those formats"
	}
	return out
}

// imageIn is the profile's image in its first format that the suite can boot,
// "" if there is none.
func (j *job) imageIn(dir string) string {
	for _, suffix := range []string{".qcow2", ".raw"} {
		path := filepath.Join(dir, j.profile.Name+suffix)
		if _, err := os.Stat(path); err == nil {
			return path
		}
	}
	return ""
}

// earlierImage is the image that an earlier run left for this very cell, if it
// has the bytes that its manifest says; "" for one to be built.
func (j *job) earlierImage(ctx context.Context, dir string) string {
	path := j.imageIn(dir)
	if path == "" || j.Again {
		return ""
	}
	_, m, err := j.readManifest(path)
	if err != nil {
		return "" // the last that a build writes: it was cut off
	}
	release, err := j.share.take(ctx, Budget{1, smallMemory})
	if err != nil {
		return ""
	}
	defer release()
	sum, err := machine.Digest(ctx, path)
	if err != nil || !slices.ContainsFunc(m.Images, func(i manifest.DiskImage) bool { return i.File == filepath.Base(path) && i.SHA256 == sum }) {
		return ""
	}
	return path
}

// readManifest reads what stands beside an image, which must be the cell's.
func (j *job) readManifest(image string) (text []byte, m manifest.Manifest, err error) {
	text, err = os.ReadFile(filepath.Join(filepath.Dir(image), j.profile.Name+".manifest.json"))
	if err == nil {
		err = json.Unmarshal(text, &m)
	}
	if err != nil {
		return nil, m, fmt.Errorf("reading the image's manifest: %w", err)
	}
	if m.Profile.SHA256 != j.cell.ProfileSHA256 {
		return nil, m, fmt.Errorf("the image was built from the profile sha256 %.64s, and the cell is of %s", m.Profile.SHA256, j.cell.ProfileSHA256)
	}
	return text, m, nil
}

// takeManifest keeps the image's manifest and what it says.
func (j *job) takeManifest(image string) error {
	data, m, err := j.readManifest(image)
	if err != nil {
		return err
	}
	if err := os.WriteFile(j.file(ManifestFile), data, 0o644); err != nil {
		return err
	}
	for _, i := range m.Images {
		if i.File == filepath.Base(image) {
			j.result.Image = Image{File: i.File, SHA256: i.SHA256, Size: i.Size}
		}
	}
	j.result.Versions = Versions{Components: map[string]string{}, Packages: len(m.Packages)}
	for _, c := range m.Components {
		j.result.Versions.Components[c.Name] = c.Version
	}
	for _, p := range m.Packages {
		release, kernel := strings.CutPrefix(p.Name, "linux-image-")
		// The package that only depends on the newest kernel has no number.
		if kernel && strings.ContainsAny(release[:min(1, len(release))], "0123456789") {
			j.result.Versions.Kernel = release
		}
	}
	return nil
}

// validate looks into the image. It tells whether there is a verdict.
func (j *job) validate(ctx context.Context, image string) bool {
	var out bytes.Buffer
	stage, infra, code, reason := j.stage(ctx, StageValidate, Budget{1, smallMemory}, &out, "validate", image, "--profile", j.file(ProfileFile), "--format", "json")
	j.note(stage, infra)
	if code != exitcode.OK && code != exitcode.Failed {
		j.result.Reason = reason
		return false
	}
	if err := os.WriteFile(j.file(ValidateFile), out.Bytes(), 0o644); err != nil {
		j.result.Reason = err.Error()
		return false
	}
	var report validate.Report
	if err := json.Unmarshal(out.Bytes(), &report); err != nil {
		j.result.Reason = fmt.Sprintf("the report of the offline checks is none: %v", err)
		return false
	}
	if report.SHA256 != j.result.Image.SHA256 || (report.Verdict == validate.Passed) != (code == exitcode.OK) {
		j.result.Reason = "the report of the offline checks is not about this image, or does not say what the exit code says"
		return false
	}
	for _, f := range report.Findings {
		if f.Outcome != validate.Fail && f.Outcome != validate.Warn {
			continue
		}
		j.result.Checks = append(j.result.Checks, Check{ID: f.ID, Outcome: string(f.Outcome), Got: f.Got, Want: f.Want, File: f.File})
		if f.Outcome == validate.Fail && !slices.ContainsFunc(j.result.Causes, func(c Cause) bool { return c.ID == f.ID }) {
			c := Cause{ID: f.ID, Certain: true, Evidence: strings.TrimPrefix(f.File+": "+f.Got, ": "), Fix: f.Fix}
			if known, ok := validate.Find(f.ID); ok {
				c.Title = known.Title
			}
			j.result.Causes = append(j.result.Causes, c)
		}
	}
	j.result.Verdict = Passed
	if code == exitcode.Failed {
		j.result.Verdict, j.result.Red = Failed, StageValidate
	}
	return true
}

// e2e boots the image. It tells whether there is a verdict; the boot's outweighs
// that of the offline checks.
func (j *job) e2e(ctx context.Context, image string) bool {
	o := e2e.Options{
		Image: image, OutputDir: j.file(E2EDir), LabelFilter: j.cell.Suite.LabelFilter, Firmware: []machine.Firmware{machine.Firmware(j.cell.Firmware)},
		Accel: machine.Accel(j.Accel), CPUs: j.Machine.CPUs, MemoryMiB: j.Machine.MemoryMiB,
	}
	if j.cell.Suite.Soak != "" {
		o.Soak, _ = time.ParseDuration(j.cell.Suite.Soak) // the plan's own rendering
	}
	part := Budget{j.Machine.CPUs, j.Machine.MemoryMiB + qemuOverhead}
	stage, infra, code, reason := j.stage(ctx, StageE2E, part, nil, child.Args(o, j.file(ProfileFile))...)
	j.note(stage, infra)
	if code != exitcode.OK && code != exitcode.Failed {
		j.result.Reason = reason
		return false
	}
	var summary e2e.Result
	if err := readDocumentLoosely(filepath.Join(j.file(E2EDir), e2e.SummaryFile), &summary); err != nil {
		j.result.Reason = fmt.Sprintf("the suite left no result: %v", err)
		return false
	}
	if summary.SHA256 != j.result.Image.SHA256 || summary.Verdict == e2e.None || (summary.Verdict == e2e.Passed) != (code == exitcode.OK) {
		j.result.Reason = "the suite's result is not about this image, or does not say what the exit code says"
		return false
	}
	j.takeSummary(summary)
	return true
}

func (j *job) takeSummary(s e2e.Result) {
	for _, m := range s.Machines {
		j.result.Host.Accel = string(m.Accel)
	}
	for _, x := range s.Specs {
		j.result.Specs = append(j.result.Specs, Spec{Name: strings.TrimPrefix(x.Name, "node image "), State: x.State, Seconds: x.Seconds, Message: x.Message})
	}
	j.result.Counts = Counts{s.Counts.Passed, s.Counts.Failed, s.Counts.Blocked, s.Counts.Skipped}
	if s.Verdict == e2e.Passed {
		if j.result.Verdict != Failed {
			j.result.Verdict = Passed
		}
		return
	}
	j.result.Verdict, j.result.Red, j.result.Causes = Failed, StageE2E, nil
	for _, c := range s.Causes {
		j.result.Causes = append(j.result.Causes, Cause{ID: c.ID, Title: c.Title, Certain: c.Confidence == cause.Certain.String(), Evidence: c.Evidence.Text, Fix: c.Fix})
	}
	slices.SortStableFunc(j.result.Causes, func(a, b Cause) int {
		switch {
		case a.Certain == b.Certain:
			return 0
		case a.Certain:
			return -1
		}
		return 1
	})
}

// attest signs what the stages said. A verdict is one without it.
func (j *job) attest(ctx context.Context, image string) {
	args := []string{"attest", image, "--cell", j.cell.ID, "--key", j.Key, "--output", j.file(AttestationsDir), "--validate", j.file(ValidateFile)}
	if _, ok := j.result.Stage(StageValidate); !ok {
		args = args[:len(args)-2]
	}
	if _, ok := j.result.Stage(StageE2E); ok {
		args = append(args, "--e2e", filepath.Join(j.file(E2EDir), e2e.SummaryFile))
	}
	stage, infra, code, reason := j.stage(ctx, StageAttest, Budget{1, smallMemory}, nil, args...)
	j.note(stage, infra)
	if code != exitcode.OK && ctx.Err() == nil {
		j.say("%s: its verdict is not signed: %s", j.cell.Name, reason)
	}
}

func (j *job) note(s StageResult, infra []InfraFailure) {
	j.result.Stages = append(j.result.Stages, s)
	j.result.Infrastructure = append(j.result.Infrastructure, infra...)
}

// stage runs the program until it says something that is not an infrastructure
// failure, or the retries are used up. code is that of the last attempt, reason
// what it said. out gets what the last attempt prints.
func (j *job) stage(ctx context.Context, name Stage, part Budget, out *bytes.Buffer, args ...string) (r StageResult, infra []InfraFailure, code int, reason string) {
	r = StageResult{Stage: name, Log: string(name) + ".log"}
	fail := func(err error) (StageResult, []InfraFailure, int, string) {
		r.Code = exitcode.Infrastructure
		return r, infra, exitcode.Infrastructure, err.Error()
	}
	log, err := os.OpenFile(j.file(r.Log), os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o644)
	if err != nil {
		return fail(err)
	}
	defer func() { _ = log.Close() }() // evidence; a verdict is one without it
	release, err := j.share.take(ctx, part)
	if err != nil {
		return fail(err)
	}
	defer release()
	wait := j.Backoff
	for {
		r.Attempts++
		start := j.Now()
		var stdout io.Writer
		if out != nil {
			out.Reset()
			stdout = out
		}
		_, _ = fmt.Fprintf(log, "+ %s\n", run.Quote(append([]string{"nodeimage"}, args...)))
		ran, err := j.Exec.Run(ctx, run.Cmd{Argv: append([]string{j.Program}, args...), Stdout: stdout, Stderr: log})
		r.Seconds = j.Now().Sub(start).Round(10 * time.Millisecond).Seconds()
		r.Code, reason = exitcode.OK, ""
		if err != nil {
			r.Code, reason = codeOf(ran, err), said(ran.Stderr, err)
		}
		if ctx.Err() != nil {
			return fail(context.Cause(ctx))
		}
		if r.Code != exitcode.Infrastructure {
			break
		}
		infra = append(infra, InfraFailure{Stage: name, Attempt: r.Attempts, Message: reason})
		if r.Attempts > j.Retries {
			break
		}
		j.say("%s: %s told nothing, attempt %d of %d: %s", j.cell.Name, name, r.Attempts, j.Retries+1, reason)
		select {
		case <-ctx.Done():
			return fail(context.Cause(ctx))
		case <-time.After(wait):
		}
		wait *= 2
	}
	return r, infra, r.Code, reason
}

// codeOf is a command's exit code; one that could not be started is the
// machine's failure.
func codeOf(r run.Result, err error) int {
	if r.ExitCode > 0 {
		return r.ExitCode
	}
	return max(exitcode.Of(err), exitcode.Usage)
}

// said is the line in which the program says why it ended; evidence and what a
// console showed may follow it, and are in the log. Without one it is the last.
func said(text string, err error) string {
	text = strings.TrimSpace(text)
	if text == "" {
		return err.Error()
	}
	lines := strings.Split(text, "\n")
	for _, line := range slices.Backward(lines) {
		if strings.HasPrefix(line, "nodeimage: ") {
			return line
		}
	}
	return lines[len(lines)-1]
}

// readDocumentLoosely reads one JSON document of this program, which may have
// keys that are of no interest here.
func readDocumentLoosely(path string, into any) (err error) {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return json.NewDecoder(io.LimitReader(f, maxResult)).Decode(into)
}

// maxEvidence bounds the files that a result lists.
const maxEvidence = 2000

// evidence lists the files of a cell's folder.
func evidence(dir string) (files []File, err error) {
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || len(files) == maxEvidence {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		files = append(files, File{Path: filepath.ToSlash(rel), Size: info.Size()})
		return err
	})
	return files, err
}
