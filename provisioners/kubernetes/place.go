package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/klauspost/compress/zstd"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/component"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/preload"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/run"
	"github.com/nodeimage/packer-plugin-nodeimage/provisioners/plan/executor"
)

// emptyScript succeeds in a tree of a build, see settleScript, that has no
// containerd's store yet.
const emptyScript = `[ -n "${SOURCE_DATE_EPOCH:-}" ] && [ ! -S /run/containerd/containerd.sock ] && [ ! -e "$1/io.containerd.metadata.v1.bolt" ]`

// Place unpacks the images that were imported ahead. Where that does not work it
// says why and changes nothing: the plan then imports them. On a machine that is
// reached over a network it does nothing, since the images themselves are
// smaller.
func Place(ctx context.Context, t *executor.Target, say func(string), resolver component.Resolver) error {
	var failed *run.Error
	if _, err := t.Run(ctx, run.Cmd{Argv: []string{"sh", "-c", emptyScript, "empty", preload.Root}}); errors.As(err, &failed) && failed.Result.ExitCode == 1 {
		return nil
	} else if err != nil {
		return fmt.Errorf("looking for containerd's store: %w", err)
	}
	packed, err := resolver.Preloaded(ctx)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		say(fmt.Sprintf("warning: %v: they are imported in the image", err))
	}
	if err != nil || packed == "" {
		return nil
	}
	say("unpacking the container images that were imported ahead")
	content, write := io.Pipe()
	whole := make(chan error, 1)
	go func() {
		err := unpacked(packed, write)
		_ = write.CloseWithError(err)
		whole <- err
	}()
	_, err = t.Run(ctx, run.Cmd{Argv: preload.Unpack(), Stdin: content})
	_ = content.Close()
	// tar takes a stream that was cut between two files for one that ended.
	if cut := <-whole; err == nil {
		err = cut
	}
	if err != nil {
		return fmt.Errorf("unpacking the container images that were imported ahead: %w", err)
	}
	return nil
}

// unpacked writes the content of a file that zstd has compressed to w.
func unpacked(file string, w io.Writer) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	content, err := zstd.NewReader(f)
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	defer content.Close()
	if _, err = io.Copy(w, content); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return nil
}
