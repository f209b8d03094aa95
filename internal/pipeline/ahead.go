package pipeline

import (
	"context"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/component"
)

// ahead imports the container images while the base is made and provisioned,
// which leaves a second processor idle. The provisioner that wants the result
// waits for it, or gets the same error when it tries again.
type ahead struct {
	cancel context.CancelFunc
	ended  chan struct{}
}

func (a *ahead) start(ctx context.Context, from component.Resolver) {
	ctx, cancel := context.WithCancel(ctx)
	a.cancel, a.ended = cancel, make(chan struct{})
	go func() {
		defer close(a.ended)
		_, _ = from.Preloaded(ctx)
	}()
}

// stop ends it and waits until nothing of it works any more.
func (a *ahead) stop() {
	if a.cancel != nil {
		a.cancel()
		<-a.ended
	}
}
