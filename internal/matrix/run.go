package matrix

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/run"
	"github.com/nodeimage/packer-plugin-nodeimage/profiles"
)

// Runner runs cells on this machine, each stage as a command of its own by the
// same program, so that a stage that dies takes nobody with it and its log shows
// what a person would have typed.
type Runner struct {
	Exec    run.Runner
	Program string // the nodeimage that runs the stages
	Tool    Tool
	// OutputDir is the folder of results. Images are made in it, and are taken
	// away when every cell that boots them has a verdict: a run that goes on has
	// no need to build them again.
	OutputDir  string
	KeepImages bool
	// Again runs cells of which OutputDir has a verdict already, and builds
	// images that it has.
	Again bool
	// Key is the private key that signs, as `attest --key` takes it; without
	// one nothing is attested.
	Key string
	// Retries is how often a stage that told nothing is tried again, after
	// Backoff, and twice as long the next time.
	Retries int
	Backoff time.Duration
	Budget  Budget
	// Machine is what each virtual machine has, Accel its accelerator.
	Machine Budget
	Accel   string
	// Say gets a line for each stage that ended; nobody does if it is nil.
	Say func(format string, args ...any)
	Now func() time.Time
}

// What stages take beside a virtual machine. A build unpacks in memory where
// there is enough, and QEMU needs some beside its guest's.
const (
	buildMemory  = 2048
	qemuOverhead = 512
	smallMemory  = 512
)

// imagesDir is where images are made, below OutputDir.
const imagesDir = "images"

// Run runs cells, as many at one time as the budget allows, and writes each
// one's result. Those of which there is a verdict already are returned as they
// are. An error means that something kept a result from being written; what
// came of the cells is in the results, in the order of cells.
func (r Runner) Run(ctx context.Context, e *Expanded, cells []Cell) ([]Result, error) {
	if err := r.check(cells); err != nil {
		return nil, err
	}
	for _, dir := range []string{CellsDir, imagesDir} {
		if err := makeFolder(filepath.Join(r.OutputDir, dir)); err != nil {
			return nil, err
		}
	}
	s := session{Runner: r, share: newShare(r.Budget), id: r.Now().UTC().Format("20060102T150405Z"), images: map[string]*sharedImage{}}
	if name, err := os.Hostname(); err == nil {
		s.host.Name = name
		s.id += "-" + name
	}
	s.host.CPUs, s.host.MemoryMiB = r.Budget.CPUs, r.Budget.MemoryMiB
	results := make([]Result, len(cells))
	var todo []int
	for i, c := range cells {
		if done, ok := r.earlier(c); ok {
			results[i] = done
			s.say("%s: %s already", c.Name, done.Verdict)
			continue
		}
		todo = append(todo, i)
		s.users(c)
	}
	// Cells beyond the budget wait inside; this bounds what waits.
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(2 * max(r.Budget.CPUs, 1))
	for _, i := range todo {
		g.Go(func() (err error) {
			if gctx.Err() != nil {
				return nil // reported once, below
			}
			results[i], err = s.cell(gctx, cells[i], e.Profile(cells[i]))
			return err
		})
	}
	err := g.Wait()
	if ctx.Err() != nil {
		err = errors.Join(exitcode.Transient(context.Cause(ctx)), err)
	}
	if !r.KeepImages {
		err = errors.Join(err, s.clean())
	}
	return slices.DeleteFunc(results, func(x Result) bool { return x.Schema == "" }), err
}

// makeFolder makes a folder of results. One that must not be there is bad input
// wherever it is tried; a file system that is full or gone is this machine's.
func makeFolder(path string) error {
	err := os.MkdirAll(path, 0o755)
	if err == nil {
		return nil
	}
	err = fmt.Errorf("making the folder of results: %w", err)
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.EROFS) || errors.Is(err, unix.ENAMETOOLONG) {
		return exitcode.BadInput(err)
	}
	return exitcode.Transient(err)
}

// check reports what no cell could be run with, before anything is changed.
func (r Runner) check(cells []Cell) error {
	var problems []error
	if len(cells) == 0 {
		return nil
	}
	need := Budget{1, buildMemory}
	if slices.ContainsFunc(cells, Cell.Booted) {
		need = Budget{r.Machine.CPUs, max(buildMemory, r.Machine.MemoryMiB+qemuOverhead)}
	}
	if r.Budget.CPUs < need.CPUs || r.Budget.MemoryMiB < need.MemoryMiB {
		problems = append(problems, fmt.Errorf("the budget is %d CPUs and %d MiB, and one cell takes %d and %d: give more with --cpus and --memory, or smaller machines with --vm-cpus and --vm-memory",
			r.Budget.CPUs, r.Budget.MemoryMiB, need.CPUs, need.MemoryMiB))
	}
	for _, c := range cells {
		if c.Arch != runtime.GOARCH {
			problems = append(problems, fmt.Errorf("the cell %s is for %s and this machine is %s", c.Name, c.Arch, runtime.GOARCH))
		}
	}
	return exitcode.BadInput(errors.Join(problems...))
}

// earlier is the verdict of a run that the folder has already.
func (r Runner) earlier(c Cell) (Result, bool) {
	if r.Again {
		return Result{}, false
	}
	root, err := os.OpenRoot(r.OutputDir)
	if err != nil {
		return Result{}, false
	}
	defer func() { _ = root.Close() }() // only read
	done, err := ReadResult(root, c.ID)
	if err != nil || done.Verdict == None {
		return Result{}, false
	}
	done.Cell = c
	return done, true
}

// session is one call of Run.
type session struct {
	Runner
	share share
	id    string
	host  Host

	mu     sync.Mutex
	images map[string]*sharedImage
}

// sharedImage is one image with the cells that boot it.
type sharedImage struct {
	users  int  // cells that have no result yet
	wanted bool // by a cell that came to no verdict
	once   sync.Once
	built  built
}

// built is what a build left.
type built struct {
	path   string // of the image; "" without one
	stage  StageResult
	infra  []InfraFailure
	reason string
}

func (s *session) say(format string, args ...any) {
	if s.Say != nil {
		s.Say(format, args...)
	}
}

func (s *session) users(c Cell) {
	if s.images[c.ImageKey] == nil {
		s.images[c.ImageKey] = &sharedImage{}
	}
	s.images[c.ImageKey].users++
}

// cell runs one cell. The error is that its result could not be written, or
// that the run was ended: then there is none, as if it had not begun.
func (s *session) cell(ctx context.Context, c Cell, p *profiles.Profile) (r Result, err error) {
	defer func() { s.done(c, err == nil && r.Verdict != None) }()
	dir := CellDir(s.OutputDir, c.ID)
	// What an earlier run left must not be taken for this one's.
	if err := os.RemoveAll(dir); err != nil {
		return Result{}, exitcode.Transient(err)
	}
	text, err := p.YAML()
	if err != nil {
		return Result{}, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return Result{}, exitcode.Transient(err)
	}
	j := &job{session: s, cell: c, profile: p, dir: dir, result: Result{
		Schema: ResultSchema, Cell: c, Run: s.id, Tool: s.Tool, Started: s.Now().UTC().Truncate(time.Millisecond), Verdict: None, Host: s.host,
	}}
	if err := os.WriteFile(j.file(ProfileFile), text, 0o644); err != nil {
		return Result{}, exitcode.Transient(err)
	}
	j.run(ctx)
	if ctx.Err() != nil {
		return Result{}, exitcode.Transient(context.Cause(ctx))
	}
	for _, stage := range j.result.Stages {
		if !stage.Shared {
			j.result.Seconds += stage.Seconds
		}
	}
	if j.result.Evidence, err = evidence(dir); err != nil {
		return Result{}, exitcode.Transient(err)
	}
	outcome, why := Judge(j.result, profiles.Date(s.Now().UTC().Format(time.DateOnly)))
	line := fmt.Sprintf("%s: %s after %.0f s", c.Name, outcome, j.result.Seconds)
	if why != "" {
		line += ": " + oneLine(why)
	}
	s.say("%s", line)
	return j.result, j.result.Write(s.OutputDir)
}

// done gives a cell's image up; the last one takes it away, unless one of them
// has no verdict and needs it again.
func (s *session) done(c Cell, verdict bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	image := s.images[c.ImageKey]
	image.wanted = image.wanted || !verdict
	if image.users--; image.users > 0 || image.wanted || s.KeepImages {
		return
	}
	if err := os.RemoveAll(s.imageDir(c)); err != nil {
		s.say("the image of %s is left: %v", c.Name, err)
	}
}

func (s *session) imageDir(c Cell) string { return filepath.Join(s.OutputDir, imagesDir, c.ImageKey) }

// clean takes away every image but those of cells that this run leaves without
// a verdict, whoever made it.
func (s *session) clean() error {
	dir := filepath.Join(s.OutputDir, imagesDir)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return exitcode.Transient(fmt.Errorf("taking images away: %w", err))
	}
	left := 0
	var errs []error
	for _, e := range entries {
		if image := s.images[e.Name()]; image != nil && (image.wanted || image.users > 0) {
			left++
			continue
		}
		errs = append(errs, os.RemoveAll(filepath.Join(dir, e.Name())))
	}
	if left == 0 {
		errs = append(errs, os.RemoveAll(dir))
	}
	return errors.Join(errs...)
}

// Err is nil if every result is as planned today. Else its exit code is 1 if
// something stands against a cell, 2 if a stage was called with bad input, and
// 75 if nothing can be said about some.
func Err(results []Result, today profiles.Date) error {
	counts := map[Outcome]int{}
	code := exitcode.Infrastructure
	for _, r := range results {
		o, _ := Judge(r, today)
		counts[o]++
		switch {
		case o.AsPlanned():
		case o != NoVerdict:
			code = exitcode.Failed
		case code == exitcode.Infrastructure && slices.ContainsFunc(r.Stages, func(s StageResult) bool { return s.Code == exitcode.Usage }):
			code = exitcode.Usage
		}
	}
	var parts []string
	for _, o := range Outcomes() {
		if counts[o] > 0 && !o.AsPlanned() {
			parts = append(parts, fmt.Sprintf("%d %s", counts[o], o))
		}
	}
	if len(parts) == 0 {
		return nil
	}
	return exitcode.With(code, fmt.Errorf("of %d cells %s", len(results), strings.Join(parts, ", ")))
}
