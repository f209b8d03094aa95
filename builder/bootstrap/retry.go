package bootstrap

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
)

// pauses lie between attempts to read an archive: apt tries again by itself
// within seconds, a mirror that is being updated or restarted takes longer.
var pauses = [...]time.Duration{5 * time.Second, 30 * time.Second}

// networkError says that a mirror could not be read as it should; another
// attempt may go well.
type networkError struct{ error }

func (n networkError) Unwrap() error { return n.error }

// network tags err as a failure of the network or of a mirror.
func network(err error) error { return exitcode.Transient(networkError{err}) }

// retry calls attempt until it does not fail by the network, or has failed as
// often as pauses allow. Any other failure is final at once.
func (m Maker) retry(ctx context.Context, attempt func() error) error {
	sleep := m.sleep
	if sleep == nil {
		sleep = wait
	}
	for i := 0; ; i++ {
		err := attempt()
		if err == nil || exitcode.Of(err) != exitcode.Infrastructure || !errors.As(err, new(networkError)) || ctx.Err() != nil {
			return err
		}
		if i == len(pauses) {
			return network(fmt.Errorf("%w (%d attempts)", err, i+1))
		}
		if m.Progress != nil {
			m.Progress(fmt.Sprintf("%v: another attempt in %s", err, pauses[i]))
		}
		if sleep(ctx, pauses[i]) != nil {
			return errors.Join(err, context.Cause(ctx))
		}
	}
}

func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
