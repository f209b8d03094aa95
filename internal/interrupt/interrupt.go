// Package interrupt lets a context end what knows none.
package interrupt

import (
	"context"
	"io"
)

// Reader is r until ctx is done; from then on each read fails with its cause.
// A read that is under way is not cut short.
func Reader(ctx context.Context, r io.Reader) io.Reader { return reader{ctx, r} }

type reader struct {
	ctx context.Context
	r   io.Reader
}

func (r reader) Read(p []byte) (int, error) {
	if r.ctx.Err() != nil {
		return 0, context.Cause(r.ctx)
	}
	return r.r.Read(p)
}
