// Command nodeimage builds Kubernetes node images and proves that they work.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"os/signal"
	"syscall"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/userns"
)

func main() {
	// Packer's SDK logs to the standard logger; its chatter belongs to
	// PACKER_LOG=1, not to a person's terminal.
	if os.Getenv("PACKER_LOG") == "" {
		log.SetOutput(nullWriter{})
	}
	userns.Watch()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// After the first signal the default action is restored, so that a
	// second Ctrl-C ends a clean-up that takes too long.
	context.AfterFunc(ctx, stop)

	err := newRoot(os.Stdout, os.Stderr).ExecuteContext(ctx)
	var said userns.Exit
	if errors.As(err, &said) {
		os.Exit(int(said))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "nodeimage:", err)
		if ctx.Err() != nil {
			fmt.Fprintln(os.Stderr, "nodeimage: interrupted")
			os.Exit(exitcode.Infrastructure)
		}
	}
	os.Exit(exitcode.Of(err))
}

type nullWriter struct{}

func (nullWriter) Write(p []byte) (int, error) { return len(p), nil }
