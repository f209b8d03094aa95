package interrupt

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
)

func TestReader(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	r := Reader(ctx, strings.NewReader("some text"))
	start := make([]byte, 4)
	if _, err := io.ReadFull(r, start); err != nil || string(start) != "some" {
		t.Fatalf("got %q, %v", start, err)
	}
	enough := errors.New("enough")
	cancel(enough)
	if n, err := r.Read(start); n != 0 || !errors.Is(err, enough) {
		t.Errorf("read %d bytes after the end, %v", n, err)
	}
}
