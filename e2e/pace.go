package e2e

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/nodeimage/packer-plugin-nodeimage/e2e/cluster"
	"github.com/nodeimage/packer-plugin-nodeimage/e2e/workload"
)

// Twenty pods that start at once on two emulated CPUs take each other's time:
// every one needs a shim, runc and three CNI plugins, and while they all load, the
// API server misses its liveness probe and is restarted, which says nothing about
// the image. A few after the other, once the cluster's own pods run, are ready
// sooner than all together.
const (
	podsAtOnce    = 8
	podsAtOnceTCG = 2
	// paceLimit is how long a pod is waited for before the next is made. One that
	// never starts is for the specs to report.
	paceLimit = 4 * time.Minute
)

// pace lets pods be made as others have started.
type pace struct {
	recorder *cluster.Recorder
	atOnce   int           // how many are waited for at a time
	limit    time.Duration // of the wait for one
	// off is set when a pod did not start in time: on an image where none can,
	// the others would be waited for in vain.
	off atomic.Bool
}

// until waits until the pod has started, or can be waited for no longer. It
// fails only when ctx ends.
func (p *pace) until(ctx context.Context, name string) error {
	if p.off.Load() {
		return nil
	}
	limited, cancel := context.WithTimeout(ctx, p.limit)
	defer cancel()
	err := p.recorder.Wait(limited, func() error {
		if r, ok := p.recorder.Pod(workload.Namespace, name); !ok || !left(r.Last) {
			return errors.New("it has not started")
		}
		return nil
	})
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		p.off.Store(true)
	}
	return nil
}

// left tells whether a pod is through with starting, well or not.
func left(pod *corev1.Pod) bool {
	if pod.Status.Phase != corev1.PodPending && pod.Status.Phase != "" {
		return true
	}
	for _, c := range pod.Status.ContainerStatuses {
		if w := c.State.Waiting; w != nil && w.Reason != "" && w.Reason != "ContainerCreating" && w.Reason != "PodInitializing" {
			return true
		}
	}
	return false
}
