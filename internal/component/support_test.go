package component

import (
	"context"
	"errors"
	"io"
	"os"
	"testing"
)

var errStop = errors.New("stopped by the test")

// testContext is a context that can be cancelled with errStop as its cause.
func testContext(t *testing.T) (context.Context, func()) {
	t.Helper()
	ctx, cancel := context.WithCancelCause(t.Context())
	t.Cleanup(func() { cancel(nil) })
	return ctx, func() { cancel(errStop) }
}

func opener(path string) func(string) (io.ReadCloser, error) {
	return func(string) (io.ReadCloser, error) { return os.Open(path) }
}
