package bisect

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
)

const logSchema = "nodeimage.dev/bisect/v1"

// maxLog is the largest log that is read, in bytes.
const maxLog = 64 << 20

// notRun is the exit code of a candidate that was refused before any test.
const notRun = -1

// header is the first line of a log: what the runs in it are about.
type header struct {
	Schema string `json:"schema"`
	Good   string `json:"good"` // sha256 of GOOD as a candidate
	Bad    string `json:"bad"`
	Test   string `json:"test"`
}

// record is one run of the test.
type record struct {
	Candidate string   `json:"candidate"` // sha256
	Set       []string `json:"changes"`
	Verdict   Verdict  `json:"verdict"`
	Exit      int      `json:"exit"`
	Seconds   float64  `json:"seconds"`
}

// log is a file of one JSON document a line, which only grows.
type log struct {
	f    *os.File // nil without a log
	left map[string][]record
}

// openLog opens or begins a log. A last line that was cut off by the end of a
// process is dropped: its run is made again.
func openLog(path string, want header) (*log, error) {
	l := &log{left: map[string][]record{}}
	if path == "" {
		return l, nil
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, exitcode.BadInput(fmt.Errorf("opening the log: %w", err))
	}
	l.f = f
	if err := l.read(want); err != nil {
		return nil, errors.Join(fmt.Errorf("log %s: %w", path, err), f.Close())
	}
	return l, nil
}

func (l *log) read(want header) error {
	if err := unix.Flock(int(l.f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return exitcode.Transient(fmt.Errorf("another bisection writes to it: %w", err))
	}
	data, err := io.ReadAll(io.LimitReader(l.f, maxLog+1))
	if err != nil {
		return exitcode.Transient(err)
	}
	if len(data) > maxLog {
		return exitcode.BadInput(fmt.Errorf("is longer than %d bytes", maxLog))
	}
	end := bytes.LastIndexByte(data, '\n') + 1
	lines := bytes.Split(data[:end], []byte("\n"))
	if end == 0 {
		// An unfinished first line is a log only if it begins as one.
		if first, _ := json.Marshal(want); len(data) > 0 && !bytes.HasPrefix(first, data) {
			return exitcode.BadInput(errors.New("is no log of a bisection; name a file that is not there, or one"))
		}
		return l.begin(want)
	}
	var got header
	if err := json.Unmarshal(lines[0], &got); err != nil || got.Schema != logSchema {
		return exitcode.BadInput(errors.New("is no log of a bisection; name a file that is not there, or one"))
	}
	if got != want {
		return exitcode.BadInput(errors.New("is of another bisection (GOOD, BAD or the test were others); name another file"))
	}
	for i, line := range lines[1 : len(lines)-1] {
		var r record
		if err := json.Unmarshal(line, &r); err != nil || r.Verdict != Good && r.Verdict != Bad && r.Verdict != Skip {
			return exitcode.BadInput(fmt.Errorf("line %d: want one run, found %.80q", i+2, line))
		}
		l.left[r.Candidate] = append(l.left[r.Candidate], r)
	}
	return l.cut(int64(end))
}

func (l *log) begin(h header) error {
	if err := l.cut(0); err != nil {
		return err
	}
	return l.write(h)
}

func (l *log) cut(size int64) error {
	if err := l.f.Truncate(size); err != nil {
		return exitcode.Transient(err)
	}
	_, err := l.f.Seek(size, io.SeekStart)
	return exitcode.Transient(err)
}

// next is the next run of a candidate that the log has, in the order in which
// they were made: so a bisection that goes on takes the same way again.
func (l *log) next(candidate string) (record, bool) {
	all := l.left[candidate]
	if len(all) == 0 {
		return record{}, false
	}
	l.left[candidate] = all[1:]
	return all[0], true
}

func (l *log) add(r record) error { return l.write(r) }

// write appends a line, on disk before it returns: a run may have taken an hour.
func (l *log) write(v any) error {
	if l.f == nil {
		return nil
	}
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if _, err := l.f.Write(append(b, '\n')); err != nil {
		return exitcode.Transient(fmt.Errorf("writing the log: %w", err))
	}
	return exitcode.Transient(l.f.Sync())
}

// Close closes the file and so gives it free.
func (l *log) Close() error {
	if l.f == nil {
		return nil
	}
	return l.f.Close()
}
