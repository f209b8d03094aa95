package e2e

import (
	"context"
	"fmt"

	"github.com/nodeimage/packer-plugin-nodeimage/e2e/cause"
)

// whileHopeful returns a context that ends before ctx once the notes prove that
// no cluster comes up on this node: kubeadm's own deadlines, and an emulated
// machine's longer ones, would take most of an hour to say less. Its cause is
// then an oracleError. A fault that shall show itself is waited for, until it
// has.
func (s *suite) whileHopeful(ctx context.Context) (context.Context, context.CancelFunc) {
	limited, cancel := context.WithCancelCause(ctx)
	hopeless := s.notes.hopeless
	if s.options.Witness {
		hopeless = nil
	}
	go func() {
		select {
		case <-hopeless:
			cancel(newOracleError(s.notes.proof))
		case <-s.notes.shown:
			w := s.notes.witness
			cancel(&oracleError{[]string{fmt.Sprintf("the fault showed itself, the %s says: %s", w.Source, w.Text)}})
		case <-limited.Done():
		}
	}()
	return limited, func() { cancel(nil) }
}

func newOracleError(f cause.Finding) *oracleError {
	times := ""
	if f.Count > 1 {
		times = fmt.Sprintf(", for the %s time", ordinal(f.Count))
	}
	return &oracleError{[]string{fmt.Sprintf("%s: the %s says%s: %s", f.Cause.Title, f.Evidence.Source, times, f.Evidence.Text)}}
}

func ordinal(n int) string {
	if n < 4 {
		return []string{"", "first", "second", "third"}[n]
	}
	return fmt.Sprintf("%dth", n)
}
