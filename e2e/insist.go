package e2e

import (
	"context"
	"errors"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

const (
	insistFor      = 2 * time.Minute
	insistInterval = 2 * time.Second
)

// insist makes a request to the API server again while it does not come
// through: a server that shares two emulated CPUs with twenty starting pods may
// leave a connection without an answer for a minute, which says nothing about
// the image. An answer of the server is an answer; done tells which one means
// that an earlier attempt had succeeded, nil for none.
func insist(ctx context.Context, request func() error, done func(error) bool) error {
	limited, cancel := context.WithTimeout(ctx, insistFor)
	defer cancel()
	for again := false; ; again = true {
		err := request()
		if again && done != nil && done(err) {
			return nil
		}
		if err == nil || answered(err) {
			return err
		}
		select {
		case <-limited.Done():
			return errors.Join(context.Cause(ctx), err)
		case <-time.After(insistInterval):
		}
	}
}

// answered tells whether an error is the server's own verdict on a request.
func answered(err error) bool {
	var status apierrors.APIStatus
	return errors.As(err, &status) && !apierrors.IsServerTimeout(err) && !apierrors.IsTimeout(err) &&
		!apierrors.IsTooManyRequests(err) && !apierrors.IsServiceUnavailable(err) && !apierrors.IsInternalError(err)
}
