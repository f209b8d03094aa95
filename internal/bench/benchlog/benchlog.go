// Package benchlog keeps what benchmarks measured, one run a line, so that
// later runs can be compared with it and a chart be drawn.
package benchlog

//go:generate go run ../../gen/benchchart -history ../../../docs/bench/history.jsonl -o ../../../docs/bench.md

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/google/renameio/v2"
)

// Measurement is one line of a table.
type Measurement struct {
	Name    string  `json:"name"`
	Seconds float64 `json:"seconds"`
	// Ratio is Seconds divided by the floor's, 0 where no floor was measured.
	Ratio float64 `json:"ratio,omitempty"`
	// PeakMiB is the resident memory of the largest process, where it was a
	// process of its own.
	PeakMiB int64 `json:"peakMiB,omitempty"`
	// WrittenMiB is what the disk with the store and the output was given to
	// write, by everything on this machine; 0 where it cannot be told.
	WrittenMiB int64 `json:"writtenMiB,omitempty"`
	// Error is why it failed, after Seconds; there is no ratio then.
	Error string `json:"error,omitempty"`
}

// Run is one run of the benchmark. In each list the first line is the floor
// that the ratios are to, if its name begins with "floor: ".
type Run struct {
	Time    time.Time `json:"time"`
	Tool    string    `json:"tool"` // version of this program
	CPUs    int       `json:"cpus"`
	Profile string    `json:"profile,omitempty"`

	Build    []Measurement `json:"build,omitempty"`
	Validate []Measurement `json:"validate,omitempty"`
	Suite    []Measurement `json:"suite,omitempty"`
	// Notes say what was not measured, and why.
	Notes []string `json:"notes,omitempty"`
}

// Read returns the runs of a file, the oldest first; none if it is not there.
func Read(path string) ([]Run, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var runs []Run
	s := bufio.NewScanner(bytes.NewReader(data))
	s.Buffer(nil, 1<<20)
	for n := 1; s.Scan(); n++ {
		var r Run
		d := json.NewDecoder(bytes.NewReader(s.Bytes()))
		d.DisallowUnknownFields()
		if err := d.Decode(&r); err != nil {
			return nil, fmt.Errorf("%s:%d: %w", path, n, err)
		}
		runs = append(runs, r)
	}
	return runs, s.Err()
}

// Append adds a run to a file. The file is replaced whole, so that a run is in
// it or not.
func Append(path string, r Run) error {
	if _, err := Read(path); err != nil {
		return err
	}
	data, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	line, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return renameio.WriteFile(path, append(append(data, line...), '\n'), 0o644)
}
