package matrix

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/google/renameio/v2"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
)

// A folder of results, which `matrix run -o DIR` fills and `matrix collect`
// reads, has for each cell that ended
//
//	DIR/cells/<ID>/cell.json        the Result, written last
//	DIR/cells/<ID>/profile.yaml     the effective profile
//	DIR/cells/<ID>/manifest.json    the image's manifest
//	DIR/cells/<ID>/validate.json    the report of the offline checks
//	DIR/cells/<ID>/e2e/             what `nodeimage e2e` left: summary.json,
//	                                junit.xml, consoles, journals, evidence
//	DIR/cells/<ID>/attestations/    the signed statements
//	DIR/cells/<ID>/<stage>.log      what each stage printed
//
// Files of stages that did not run are missing. A folder without cell.json is
// of a run that was cut off, and counts as no result.
const (
	CellsDir         = "cells"
	ResultFile       = "cell.json"
	ProfileFile      = "profile.yaml"
	ManifestFile     = "manifest.json"
	ValidateFile     = "validate.json"
	E2EDir           = "e2e"
	AttestationsDir  = "attestations"
	maxResult        = 16 << 20 // bytes of one cell.json
	maxSpecMessage   = 4 << 10  // bytes of a spec's message in it
	maxInfraMessage  = 2 << 10
	maxCellsInFolder = 200_000
)

// ResultSchema is the version of the Result document.
const ResultSchema = "nodeimage.dev/matrix-cell/v1"

// Verdict is what a run says about a cell's image, whatever was expected.
type Verdict string

// The verdicts. None means that nothing can be said.
const (
	Passed Verdict = "passed"
	Failed Verdict = "failed"
	None   Verdict = "none"
)

// Result is what one run of a cell came to.
type Result struct {
	Schema string `json:"schema"`
	Cell   Cell   `json:"cell"`
	// Run names the `matrix run` that this was part of.
	Run     string    `json:"run"`
	Tool    Tool      `json:"tool"`
	Started time.Time `json:"started"`
	Seconds float64   `json:"seconds"` // of the attempts that count, all stages

	Verdict Verdict `json:"verdict"`
	// Red is the stage that gave the verdict failed, "" for another verdict.
	Red Stage `json:"red,omitempty"`
	// Causes are the named causes of what failed, certain ones first. At the
	// stage validate they are the checks that failed.
	Causes []Cause `json:"causes,omitempty"`
	// Reason says why there is no verdict.
	Reason string `json:"reason,omitempty"`

	Stages []StageResult `json:"stages"`
	// Infrastructure lists every failure that was not the image's, whether or
	// not a retry went well.
	Infrastructure []InfraFailure `json:"infrastructure,omitempty"`

	Image    Image    `json:"image,omitzero"`
	Versions Versions `json:"versions,omitzero"`
	Checks   []Check  `json:"checks,omitempty"` // those that failed or warned
	Specs    []Spec   `json:"specs,omitempty"`  // those that were selected
	Counts   Counts   `json:"counts"`           // of specs
	Host     Host     `json:"host"`
	// Evidence are the files beside cell.json, by path from there, sorted.
	Evidence []File `json:"evidence,omitempty"`
}

// StageResult is how one stage ended.
type StageResult struct {
	Stage Stage `json:"stage"`
	// Code is the exit code of its last attempt (package exitcode).
	Code     int     `json:"code"`
	Attempts int     `json:"attempts"`
	Seconds  float64 `json:"seconds"` // of the last attempt
	// Shared tells that another cell of the same image had done the work.
	Shared bool `json:"shared,omitempty"`
	// Earlier tells that an earlier run had done the work, in this folder.
	Earlier bool   `json:"earlier,omitempty"`
	Log     string `json:"log,omitempty"` // path from cell.json
}

// InfraFailure is an attempt that told nothing about the image.
type InfraFailure struct {
	Stage   Stage  `json:"stage"`
	Attempt int    `json:"attempt"` // from 1
	Message string `json:"message"`
}

// Cause is a named cause of a failure.
type Cause struct {
	ID       string `json:"id"`
	Title    string `json:"title,omitempty"`
	Certain  bool   `json:"certain"`
	Evidence string `json:"evidence,omitempty"` // the line that proves it
	Fix      string `json:"fix,omitempty"`
}

// Image is what was built.
type Image struct {
	File   string `json:"file"` // base name; the file itself is not kept
	SHA256 string `json:"sha256"`
	Size   int64  `json:"size"` // bytes
}

// Versions is what is in the image, as the manifest lists it.
type Versions struct {
	Kernel     string            `json:"kernel,omitempty"` // version of the kernel's package
	Components map[string]string `json:"components,omitempty"`
	Packages   int               `json:"packages,omitempty"` // how many
}

// Check is an offline check that did not pass.
type Check struct {
	ID      string `json:"id"`
	Outcome string `json:"outcome"` // fail or warn
	Got     string `json:"got,omitempty"`
	Want    string `json:"want,omitempty"`
	File    string `json:"file,omitempty"`
}

// Spec is one spec of the booted suite.
type Spec struct {
	Name    string  `json:"name"`
	State   string  `json:"state"` // passed, failed, blocked, skipped and Ginkgo's other words
	Seconds float64 `json:"seconds"`
	Message string  `json:"message,omitempty"`
}

// Counts of specs.
type Counts struct {
	Passed  int `json:"passed"`
	Failed  int `json:"failed"`
	Blocked int `json:"blocked"`
	Skipped int `json:"skipped"`
}

// Host is where the cell ran.
type Host struct {
	Name      string `json:"name,omitempty"`
	CPUs      int    `json:"cpus"`
	MemoryMiB int    `json:"memoryMiB"`
	Accel     string `json:"accel,omitempty"` // kvm or tcg, "" if nothing was booted
}

// File is a file of evidence.
type File struct {
	Path string `json:"path"`
	Size int64  `json:"size"` // bytes
}

// Stage returns how a stage ended, false if it did not run.
func (r Result) Stage(s Stage) (StageResult, bool) {
	i := slices.IndexFunc(r.Stages, func(x StageResult) bool { return x.Stage == s })
	if i < 0 {
		return StageResult{}, false
	}
	return r.Stages[i], true
}

// CellDir is where a folder of results has those of a cell.
func CellDir(dir, id string) string { return filepath.Join(dir, CellsDir, id) }

// Write puts the result into its place in a folder of results, whole or not at
// all. Messages are cut to what a page can show.
func (r Result) Write(dir string) error {
	r.Schema = ResultSchema
	r.Specs = slices.Clone(r.Specs)
	for i := range r.Specs {
		r.Specs[i].Message = clip(r.Specs[i].Message, maxSpecMessage)
	}
	r.Infrastructure = slices.Clone(r.Infrastructure)
	for i := range r.Infrastructure {
		r.Infrastructure[i].Message = clip(r.Infrastructure[i].Message, maxInfraMessage)
	}
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("cell %s: %w", r.Cell.Name, err)
	}
	folder := CellDir(dir, r.Cell.ID)
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return exitcode.Transient(fmt.Errorf("making the folder of a result: %w", err))
	}
	if err := renameio.WriteFile(filepath.Join(folder, ResultFile), append(data, '\n'), 0o644); err != nil {
		return exitcode.Transient(fmt.Errorf("writing a result: %w", err))
	}
	return nil
}

func clip(text string, most int) string {
	if len(text) <= most {
		return text
	}
	const cut = " […]"
	return strings.ToValidUTF8(text[:most-len(cut)], "") + cut
}

var idPattern = regexp.MustCompile(`^[0-9a-f]{64}$`)

// ReadResult reads the result in a cell's folder of an opened folder of
// results. What is not whole or not about that cell is an error; one that is
// not there is fs.ErrNotExist.
func ReadResult(root *os.Root, id string) (r Result, err error) {
	path := filepath.Join(CellsDir, id, ResultFile)
	info, err := root.Lstat(path)
	if err != nil {
		return r, err
	}
	if !info.Mode().IsRegular() {
		return r, &fs.PathError{Op: "read", Path: path, Err: errors.New("not a regular file")}
	}
	f, err := root.Open(path)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	dec := json.NewDecoder(bufio.NewReader(io.LimitReader(f, maxResult)))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&r); err != nil {
		return r, fmt.Errorf("%s: it is no whole result: %w", path, err)
	}
	switch {
	case r.Schema != ResultSchema:
		return r, fmt.Errorf("%s: schema is %.100q, expected %s", path, r.Schema, ResultSchema)
	case r.Cell.ID != id:
		return r, fmt.Errorf("%s: it is about the cell %.80q", path, r.Cell.ID)
	case r.Verdict != Passed && r.Verdict != Failed && r.Verdict != None:
		return r, fmt.Errorf("%s: verdict is %.80q, expected passed, failed or none", path, r.Verdict)
	}
	return r, nil
}

// EachResult reads the results of a folder one after another, in the order of
// IDs. visit gets the error of one that cannot be read; it has the ID alone.
func EachResult(dir string, visit func(r Result, err error) error) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return exitcode.BadInput(fmt.Errorf("opening the folder of results: %w", err))
	}
	defer func() { _ = root.Close() }() // only read
	entries, err := fs.ReadDir(root.FS(), CellsDir)
	if err != nil {
		return exitcode.BadInput(fmt.Errorf("folder of results %s: %w: expected what 'nodeimage matrix run' wrote", dir, err))
	}
	if len(entries) > maxCellsInFolder {
		return exitcode.BadInput(fmt.Errorf("folder of results %s: %d cells, expected at most %d", dir, len(entries), maxCellsInFolder))
	}
	for _, e := range entries {
		if !e.IsDir() || !idPattern.MatchString(e.Name()) {
			continue
		}
		r, err := ReadResult(root, e.Name())
		if errors.Is(err, fs.ErrNotExist) {
			continue // cut off: no result
		}
		r.Cell.ID = e.Name()
		if err := visit(r, err); err != nil {
			return err
		}
	}
	return nil
}
