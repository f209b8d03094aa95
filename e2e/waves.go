package e2e

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/nodeimage/packer-plugin-nodeimage/e2e/cluster"
	"github.com/nodeimage/packer-plugin-nodeimage/e2e/workload"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/run"
)

// outcome is how one pod ended.
type outcome struct {
	name      string
	uid       string
	traces    cluster.Traces
	requested time.Time
	gone      time.Time // from the API; zero if it never went
	clean     time.Time // from the node; zero if it never was
	remains   []string  // what was left on the node at the last look
	exec      *execInFlight
}

// took is how long the API needed to let go of the pod.
func (o *outcome) took() time.Duration { return o.gone.Sub(o.requested) }

// wave is a set of pods that were deleted at the same time.
type wave struct {
	outcomes map[string]*outcome
	stopped  error // why waiting was given up early, if it was
	markers  workload.Markers
	looked   time.Time // when looking for what is left on the node began
	rolled   error     // how the StatefulSet's restart went
	rollTime time.Duration
}

// errDenied says that failure B is proven.
var errDenied = errors.New("AppArmor denied runc's signal to a container: no plain pod on this node can be stopped, so waiting longer is pointless")

// deletePods deletes all test pods at once, the Job with its finished pod among
// them, and restarts the StatefulSet meanwhile.
func (s *suite) deletePods(ctx context.Context) (*wave, error) {
	p := s.pods.value
	if p == nil {
		return nil, errors.New("no test pods")
	}
	variants := p.demand.variants()
	w := p.newWave(variants)

	for _, v := range variants {
		if v.Exec {
			execution, err := p.startExec(s.ctx, v.Name)
			if err != nil {
				return nil, err
			}
			w.outcomes[v.Name].exec = execution
		}
	}
	rollCtx, stopRolling := context.WithCancelCause(ctx)
	defer stopRolling(nil)
	var rolling sync.WaitGroup
	if p.demand.set {
		rolling.Go(func() {
			begin := time.Now()
			w.rolled = p.restartSet(rollCtx)
			w.rollTime = time.Since(begin)
		})
	}
	if p.demand.job {
		if err := p.deleteJob(ctx, w); err != nil {
			return nil, err
		}
	}
	err := s.deleteAndWait(ctx, p, w, variants, p.limits.slack)
	if w.stopped != nil {
		stopRolling(w.stopped)
	}
	rolling.Wait()
	return w, err
}

// deleteJob deletes the Job, and with it its finished pod.
func (p *podsState) deleteJob(ctx context.Context, w *wave) error {
	name, _ := p.jobPod()
	w.outcomes[name] = p.newOutcome(name)
	background := metav1.DeletePropagationBackground
	w.outcomes[name].requested = time.Now()
	err := insist(ctx, func() error {
		return p.client.BatchV1().Jobs(workload.Namespace).Delete(ctx, workload.JobName, metav1.DeleteOptions{PropagationPolicy: &background})
	}, apierrors.IsNotFound)
	if err != nil {
		return fmt.Errorf("deleting the Job: %w", err)
	}
	return nil
}

func (p *podsState) newWave(variants []workload.Variant) *wave {
	w := &wave{outcomes: map[string]*outcome{}}
	for _, v := range variants {
		w.outcomes[v.Name] = p.newOutcome(v.Name)
	}
	return w
}

func (p *podsState) newOutcome(name string) *outcome {
	uid := p.uids[name]
	return &outcome{name: name, uid: uid, traces: p.state.TracesOf(uid)}
}

// deleteAndWait asks for all deletions at once and records when each pod left
// the API and the node. It gives up early when the kernel log proves that no
// pod can be stopped, unless the fault shall show itself.
func (s *suite) deleteAndWait(ctx context.Context, p *podsState, w *wave, variants []workload.Variant, slack time.Duration) error {
	done := s.progress.step("deleting %d pods at once", len(w.outcomes))
	var group errgroup.Group
	longest := time.Duration(0)
	for _, v := range variants {
		longest = max(longest, v.EffectiveGrace())
		o := w.outcomes[v.Name]
		group.Go(func() error {
			o.requested = time.Now()
			err := insist(ctx, func() error {
				return p.client.CoreV1().Pods(workload.Namespace).Delete(ctx, v.Name, metav1.DeleteOptions{GracePeriodSeconds: v.Grace})
			}, apierrors.IsNotFound)
			if err != nil {
				return fmt.Errorf("deleting pod %s: %w", v.Name, err)
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		done(err)
		return err
	}
	hopeful, stop := s.whileHopeful(ctx)
	defer stop()
	waitCtx, cancel := context.WithTimeoutCause(hopeful, longest+slack, fmt.Errorf("%s after the deletion", longest+slack))
	defer cancel()
	if !s.options.Witness {
		waiting := make(chan struct{})
		defer close(waiting)
		go func() {
			select {
			case <-s.notes.denied:
				cancel()
			case <-waiting:
			}
		}()
	}
	err := p.recorder.Wait(waitCtx, func() error {
		var left []string
		for _, o := range w.outcomes {
			if r, ok := p.record(o.uid); ok && !r.Gone.IsZero() {
				o.gone = r.Gone
			} else {
				left = append(left, o.name)
			}
		}
		if len(left) > 0 {
			return fmt.Errorf("not gone: %s", strings.Join(left, ", "))
		}
		return nil
	})
	select {
	case <-s.notes.denied:
		w.stopped = errDenied
	default:
	}
	done(err)
	s.noteEvents(p.clusterState)
	if w.stopped == nil {
		if err := s.watchRemains(ctx, p, w); err != nil {
			return err
		}
	}
	var readErr error
	w.markers, readErr = workload.ReadMarkers(ctx, p.node)
	return readErr
}

func (p *podsState) record(uid string) (cluster.PodRecord, bool) {
	for _, r := range p.recorder.Pods() {
		if string(r.UID) == uid {
			return r, true
		}
	}
	return cluster.PodRecord{}, false
}

// watchRemains looks at the node until nothing is left of the pods that are
// gone, and records when each one's last trace vanished.
func (s *suite) watchRemains(ctx context.Context, p *podsState, w *wave) error {
	done := s.progress.step("waiting for the pods' traces to leave the node")
	w.looked = time.Now()
	deadline := w.looked.Add(p.limits.nodeSlack)
	for {
		state, err := cluster.Probe(ctx, p.node)
		if err != nil {
			done(err)
			return err
		}
		dirty := 0
		for _, o := range w.outcomes {
			if o.gone.IsZero() || !o.clean.IsZero() {
				continue
			}
			if o.remains = state.Remains(o.traces); len(o.remains) == 0 {
				o.clean = time.Now()
			} else {
				dirty++
			}
		}
		if dirty == 0 || time.Now().After(deadline) {
			done(nil)
			return nil
		}
		select {
		case <-ctx.Done():
			done(ctx.Err())
			return context.Cause(ctx)
		case <-time.After(nodeInterval):
		}
	}
}

// restartSet restarts the StatefulSet pod by pod and waits until every pod is
// a new one and ready.
func (p *podsState) restartSet(ctx context.Context) error {
	patch := fmt.Appendf(nil, `{"spec":{"template":{"metadata":{"annotations":{"nodeimage.dev/restarted":%q}}}}}`, time.Now().Format(time.RFC3339))
	err := insist(ctx, func() error {
		_, err := p.client.AppsV1().StatefulSets(workload.Namespace).Patch(ctx, workload.SetName, types.StrategicMergePatchType, patch, metav1.PatchOptions{})
		return err
	}, nil)
	if err != nil {
		return fmt.Errorf("restarting the StatefulSet: %w", err)
	}
	limit := workload.SetSize * (workload.LongGrace + p.limits.slack)
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("%s after the restart", limit))
	defer cancel()
	return p.recorder.Wait(ctx, func() error {
		for i := range workload.SetSize {
			name := fmt.Sprintf("%s-%d", workload.SetName, i)
			r, ok := p.recorder.Pod(workload.Namespace, name)
			if !ok || string(r.UID) == p.uids[name] || !cluster.PodReady(r.Last) {
				return fmt.Errorf("pod %s is not new and ready", name)
			}
		}
		return nil
	})
}

// execInFlight is a command that runs in a pod while the pod is deleted.
type execInFlight struct {
	started chan struct{}
	ended   chan struct{} // closed at its end; then err is set
	err     error
}

// startExec starts a long command in a pod and returns once it runs.
func (c *clusterState) startExec(ctx context.Context, pod string) (*execInFlight, error) {
	e := &execInFlight{started: make(chan struct{}), ended: make(chan struct{})}
	var once sync.Once
	go func() {
		defer close(e.ended)
		_, e.err = c.node.Run(ctx, run.Cmd{
			Argv:   c.kubectlExec(pod, "sleep", "3600"),
			Stdout: &lineWriter{line: func(string) { once.Do(func() { close(e.started) }) }},
		})
	}()
	select {
	case <-e.started:
		return e, nil
	case <-e.ended:
		return nil, fmt.Errorf("the exec in pod %s ended before it ran: %w", pod, e.err)
	case <-time.After(commandLimit):
		return nil, fmt.Errorf("the exec in pod %s did not run within %s", pod, commandLimit)
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}
