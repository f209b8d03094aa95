// Package exitcode maps errors to the exit codes of the command line.
//
// A verdict is never given by an infrastructure failure: what could not be
// told is Infrastructure, not OK and not Failed.
package exitcode

import "errors"

// The exit codes of every verb.
const (
	OK             = 0
	Failed         = 1  // the image failed a check or a spec
	Usage          = 2  // bad input or usage; nothing was changed
	Infrastructure = 75 // the environment failed and a retry may help (sysexits EX_TEMPFAIL)
)

type coded struct {
	error
	code int
}

func (c coded) Unwrap() error { return c.error }

// With tags err with an exit code. A nil error stays nil.
func With(code int, err error) error {
	if err == nil {
		return nil
	}
	return coded{err, code}
}

// BadInput tags err as bad input or usage.
func BadInput(err error) error { return With(Usage, err) }

// Transient tags err as an infrastructure failure.
func Transient(err error) error { return With(Infrastructure, err) }

// Of returns the code that the outermost tag in err's chain carries, OK for
// nil and Infrastructure for an untagged error: an error nobody classified
// must not read as a verdict on an image.
func Of(err error) int {
	if err == nil {
		return OK
	}
	var c coded
	if errors.As(err, &c) {
		return c.code
	}
	return Infrastructure
}
