// Genpin writes the pin of a component's version: the go.mod and go.sum of the
// module that the component is built in.
//
//	go run ./internal/component/genpin COMPONENT VERSION
//	go run ./internal/component/genpin kubernetes 1.37.2
//	go run ./internal/component/genpin -module github.com/containerd/containerd containerd 1.7.18
//
// It needs a Go module proxy and the checksum database, prints the h1: sum that
// a profile then pins, and has to be followed by a build of nodeimage, which
// carries its pins. Run it at the top of the source tree.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/component"
)

func main() {
	flags := flag.NewFlagSet("genpin", flag.ExitOnError)
	module := flags.String("module", "", "Go module `path`; default: the component's newest one")
	dir := flags.String("C", "internal/component", "`directory` that holds pins/")
	flags.Usage = func() {
		fmt.Fprintln(flags.Output(), "usage: genpin [-module PATH] [-C DIR] COMPONENT VERSION")
		flags.PrintDefaults()
	}
	_ = flags.Parse(os.Args[1:]) // exits on an error
	if flags.NArg() != 2 {
		flags.Usage()
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	sum, err := component.GeneratePin(ctx, *dir, flags.Arg(0), *module, flags.Arg(1))
	if err != nil {
		fmt.Fprintln(os.Stderr, "genpin:", err)
		os.Exit(1)
	}
	fmt.Println(sum)
}
