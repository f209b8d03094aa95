package pipeline

import (
	"context"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/component"
)

// ahead is a resolver that imports the container images, if they are not in the
// store imported already, while something else is done that leaves a processor
// idle: while the base is made, or else while the first provisioners work. With a
// new base the initramfs is made then, and takes longer than all provisioners.
type ahead struct {
	component.Resolver

	cancel context.CancelFunc
	ended  chan struct{}
	err    error // once ended is closed
}

// start begins it, unless that was done.
func (a *ahead) start(ctx context.Context, maker *component.Maker) {
	if a.ended != nil {
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	a.cancel, a.ended = cancel, make(chan struct{})
	go func() {
		defer close(a.ended)
		a.err = maker.Preload(ctx)
	}()
}

// Preloaded implements component.Resolver. It waits for what was started.
func (a *ahead) Preloaded(ctx context.Context) (string, error) {
	if a.ended != nil {
		select {
		case <-a.ended:
		case <-ctx.Done():
			return "", ctx.Err()
		}
		if a.err != nil {
			return "", a.err
		}
	}
	return a.Resolver.Preloaded(ctx)
}

// stop ends it and waits until nothing of it works any more.
func (a *ahead) stop() {
	if a.cancel != nil {
		a.cancel()
		<-a.ended
	}
}
