package e2e

import (
	"context"
	"errors"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/nodeimage/packer-plugin-nodeimage/e2e/cluster"
)

func TestStartingIsOver(t *testing.T) {
	t.Parallel()
	waiting := func(reason string) []corev1.ContainerStatus {
		return []corev1.ContainerStatus{{State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason}}}}
	}
	for name, tc := range map[string]struct {
		status corev1.PodStatus
		want   bool
	}{
		"just made":         {corev1.PodStatus{}, false},
		"pending":           {corev1.PodStatus{Phase: corev1.PodPending}, false},
		"sandbox in making": {corev1.PodStatus{Phase: corev1.PodPending, ContainerStatuses: waiting("ContainerCreating")}, false},
		"init containers":   {corev1.PodStatus{Phase: corev1.PodPending, ContainerStatuses: waiting("PodInitializing")}, false},
		"no image":          {corev1.PodStatus{Phase: corev1.PodPending, ContainerStatuses: waiting("ErrImageNeverPull")}, true},
		"running":           {corev1.PodStatus{Phase: corev1.PodRunning}, true},
		"ended":             {corev1.PodStatus{Phase: corev1.PodSucceeded}, true},
		"failed":            {corev1.PodStatus{Phase: corev1.PodFailed}, true},
	} {
		if got := left(&corev1.Pod{Status: tc.status}); got != tc.want {
			t.Errorf("%s: got %t, want %t", name, got, tc.want)
		}
	}
}

// Where no pod starts, only the first are waited for.
func TestPaceGivesUpOnce(t *testing.T) {
	t.Parallel()
	p := &pace{recorder: cluster.NewRecorder(time.Now), limit: 10 * time.Millisecond}
	if err := p.until(t.Context(), "first"); err != nil || !p.off.Load() {
		t.Fatalf("a pod that does not start: %v, off: %t", err, p.off.Load())
	}
	p.limit = time.Hour
	if err := p.until(t.Context(), "second"); err != nil {
		t.Errorf("the next: %v", err)
	}
	p.off.Store(false)
	ctx, cancel := context.WithCancelCause(t.Context())
	over := errors.New("the suite is over")
	cancel(over)
	if err := p.until(ctx, "third"); !errors.Is(err, over) {
		t.Errorf("at the end of the suite: got %v, want its cause", err)
	}
}
