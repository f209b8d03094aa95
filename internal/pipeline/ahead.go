package pipeline

import (
	"context"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/component"
)

// ahead is a resolver that imports the container images while the first
// provisioners work, if they are not in the store imported already. That pays
// where the base and the initramfs come from the store: else the initramfs is
// made then, takes longer than all provisioners, and leaves no processor idle.
type ahead struct {
	component.Resolver

	cancel context.CancelFunc
	ended  chan struct{}
	err    error // once ended is closed
}

func (a *ahead) start(ctx context.Context, maker *component.Maker) {
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
