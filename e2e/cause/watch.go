package cause

import "slices"

// Watch judges lines as they come, to tell when waiting has become pointless.
// It is not safe for concurrent use.
type Watch struct {
	causes []Cause // the fatal ones
	seen   []int   // lines certain of each
}

// NewWatch watches for the fatal causes of a catalogue.
func NewWatch(catalogue []Cause) *Watch {
	causes := slices.DeleteFunc(slices.Clone(catalogue), func(c Cause) bool { return c.Fatal == 0 })
	return &Watch{causes: causes, seen: make([]int, len(causes))}
}

// Add takes one line and returns the finding that it completes, if it does: a
// line is the last one needed for a cause once only.
func (w *Watch) Add(line Line) (Finding, bool) {
	for i, c := range w.causes {
		if c.confidence(line) != Certain {
			continue
		}
		if w.seen[i]++; w.seen[i] == c.Fatal {
			return Finding{Cause: c, Confidence: Certain, Evidence: line, Count: w.seen[i]}, true
		}
	}
	return Finding{}, false
}
