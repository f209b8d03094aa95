package e2e

import (
	"context"
	"errors"
	"fmt"

	"github.com/onsi/ginkgo/v2"

	"github.com/nodeimage/packer-plugin-nodeimage/e2e/machine"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
)

// stage is something that many specs need and that is done once, by the first
// spec that asks: a booted machine, a cluster, deleted pods.
type stage[T any] struct {
	name string // completes "… failed"
	do   func(ctx context.Context) (T, error)

	done     bool
	value    T
	err      error
	reported string // the spec that failed because of err
}

// get runs the stage if nothing has, and returns what it made.
func (st *stage[T]) get(ctx context.Context) (T, error) {
	if !st.done {
		st.value, st.err = st.do(ctx)
		st.done = true
	}
	return st.value, st.err
}

// need returns what a stage made. When the stage failed, the first spec that
// needs it fails and tells why; the others are skipped, naming that spec, so
// that one fault is one failure and still nothing passes vacuously.
func need[T any](ctx ginkgo.SpecContext, s *suite, st *stage[T]) T {
	ginkgo.GinkgoHelper()
	if value, err := st.get(ctx); err == nil {
		return value
	}
	s.abortIfInfrastructure(st.err)
	if st.reported == "" {
		st.reported = ginkgo.CurrentSpecReport().FullText()
		s.fail(fmt.Sprintf("%s failed: %v", st.name, st.err))
	}
	ginkgo.Skip(fmt.Sprintf("blocked: %s failed, as reported by %q", st.name, st.reported))
	return st.value
}

// abortIfInfrastructure ends the run without a verdict when err says nothing
// about the image.
func (s *suite) abortIfInfrastructure(err error) {
	if reason := s.infrastructure(err); reason != nil {
		s.setInfra(reason)
		ginkgo.AbortSuite(fmt.Sprintf("no verdict: %v", reason))
	}
}

// infrastructure returns an error with its exit code when err, or the state of
// the machine behind it, is no verdict on the image; else nil.
func (s *suite) infrastructure(err error) error {
	if s.ctx.Err() != nil {
		return exitcode.Transient(fmt.Errorf("the run was cancelled: %w", context.Cause(s.ctx)))
	}
	if errors.Is(err, machine.ErrNeverStarted) {
		return err
	}
	// A machine that is gone explains every error that came of it. Whether
	// the guest or the host is to blame, the machine package knows.
	for _, m := range s.machines() {
		if gone := m.Err(); gone != nil && exitcode.Of(gone) != exitcode.Failed {
			return gone
		}
	}
	if lost := s.lost(err); lost != nil {
		return lost
	}
	var state *machine.StateError
	if errors.As(err, &state) && exitcode.Of(err) != exitcode.Failed {
		return err
	}
	return nil
}
