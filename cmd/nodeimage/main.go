// Command nodeimage builds Kubernetes node images and proves that they work.
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"os/signal"
	"syscall"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
)

func main() {
	// Packer's SDK logs to the standard logger; its chatter belongs to
	// PACKER_LOG=1, not to a person's terminal.
	if os.Getenv("PACKER_LOG") == "" {
		log.SetOutput(nullWriter{})
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// After the first signal the default action is restored, so that a
	// second Ctrl-C ends a clean-up that takes too long.
	context.AfterFunc(ctx, stop)

	err := newRoot(os.Stdout, os.Stderr).ExecuteContext(ctx)
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
