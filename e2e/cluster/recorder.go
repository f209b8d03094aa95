package cluster

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
)

// PodRecord is what was seen of one pod over its life. Times are this host's,
// taken when the watch delivered the change.
type PodRecord struct {
	Namespace, Name string
	UID             types.UID
	FirstSeen       time.Time
	Ready           time.Time // first time with condition Ready; zero if never
	Terminating     time.Time // first time with a deletion timestamp; zero if never
	Gone            time.Time // deleted from the API; zero while it is there
	Last            *corev1.Pod
}

// Recorder follows pods and events of all namespaces and keeps what it saw,
// so that specs can assert afterwards on things that happened at once.
type Recorder struct {
	now func() time.Time

	mu      sync.Mutex
	changed chan struct{} // closed and replaced on every change
	pods    map[types.UID]*PodRecord
	order   []types.UID
	events  map[types.UID]*corev1.Event
	breaks  int
}

// NewRecorder returns an empty recorder. now is time.Now outside tests.
func NewRecorder(now func() time.Time) *Recorder {
	return &Recorder{now: now, changed: make(chan struct{}), pods: map[types.UID]*PodRecord{}, events: map[types.UID]*corev1.Event{}}
}

// Follow records until ctx ends. When the API server goes away it lists and
// watches again; what vanished meanwhile is recorded as gone at that moment.
func (r *Recorder) Follow(ctx context.Context, client kubernetes.Interface) {
	pods, events := client.CoreV1().Pods(""), client.CoreV1().Events("")
	var wg sync.WaitGroup
	wg.Go(func() {
		follow(ctx, r.broke, source[*corev1.Pod]{
			list: func(ctx context.Context) ([]*corev1.Pod, string, error) {
				l, err := pods.List(ctx, metav1.ListOptions{})
				if err != nil {
					return nil, "", err
				}
				return pointers(l.Items), l.ResourceVersion, nil
			},
			watch:   pods.Watch,
			replace: r.replacePods,
			apply:   r.applyPod,
		})
	})
	wg.Go(func() {
		follow(ctx, r.broke, source[*corev1.Event]{
			list: func(ctx context.Context) ([]*corev1.Event, string, error) {
				l, err := events.List(ctx, metav1.ListOptions{})
				if err != nil {
					return nil, "", err
				}
				return pointers(l.Items), l.ResourceVersion, nil
			},
			watch: events.Watch,
			replace: func(all []*corev1.Event) {
				for _, e := range all {
					r.applyEvent(watch.Added, e)
				}
			},
			apply: r.applyEvent,
		})
	})
	wg.Wait()
}

func pointers[T any](items []T) []*T {
	all := make([]*T, len(items))
	for i := range items {
		all[i] = &items[i]
	}
	return all
}

// source is one kind of object that follow lists and watches.
type source[T any] struct {
	list    func(context.Context) ([]T, string, error)
	watch   func(context.Context, metav1.ListOptions) (watch.Interface, error)
	replace func([]T)
	apply   func(watch.EventType, T)
}

const (
	relistPause = 500 * time.Millisecond
	// A connection through a node that rebooted may neither deliver nor
	// break; the server ends the watch after this many seconds, and callTimeout
	// bounds a list.
	watchSeconds = 120
	callTimeout  = 30 * time.Second
)

func follow[T any](ctx context.Context, broke func(), s source[T]) {
	for ctx.Err() == nil {
		if err := followOnce(ctx, s); err != nil && ctx.Err() == nil {
			broke()
		}
		select {
		case <-ctx.Done():
		case <-time.After(relistPause):
		}
	}
}

// followOnce lists, then watches until the watch ends.
func followOnce[T any](ctx context.Context, s source[T]) error {
	listCtx, cancel := context.WithTimeout(ctx, callTimeout)
	items, version, err := s.list(listCtx)
	cancel()
	if err != nil {
		return err
	}
	s.replace(items)
	timeout := int64(watchSeconds)
	watchCtx, cancel := context.WithTimeout(ctx, (watchSeconds+30)*time.Second)
	defer cancel()
	w, err := s.watch(watchCtx, metav1.ListOptions{ResourceVersion: version, TimeoutSeconds: &timeout})
	if err != nil {
		return err
	}
	defer w.Stop()
	for {
		select {
		case <-watchCtx.Done():
			return watchCtx.Err()
		case event, ok := <-w.ResultChan():
			if !ok {
				return nil
			}
			if event.Type == watch.Error {
				return apierrors.FromObject(event.Object)
			}
			object, ok := any(event.Object).(T)
			if !ok {
				continue // a bookmark, or a kind added later
			}
			s.apply(event.Type, object)
		}
	}
}

func (r *Recorder) broke() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.breaks++
}

// Breaks counts how often the API server could not be reached.
func (r *Recorder) Breaks() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.breaks
}

func (r *Recorder) signal() {
	close(r.changed)
	r.changed = make(chan struct{})
}

func (r *Recorder) applyPod(kind watch.EventType, pod *corev1.Pod) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.recordPod(pod)
	if kind == watch.Deleted {
		r.pods[pod.UID].Gone = r.now()
	}
	r.signal()
}

func (r *Recorder) recordPod(pod *corev1.Pod) {
	record, ok := r.pods[pod.UID]
	if !ok {
		record = &PodRecord{Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID, FirstSeen: r.now()}
		r.pods[pod.UID] = record
		r.order = append(r.order, pod.UID)
	}
	record.Last = pod
	if record.Ready.IsZero() && PodReady(pod) {
		record.Ready = r.now()
	}
	if record.Terminating.IsZero() && pod.DeletionTimestamp != nil {
		record.Terminating = r.now()
	}
}

func (r *Recorder) replacePods(pods []*corev1.Pod) {
	r.mu.Lock()
	defer r.mu.Unlock()
	there := map[types.UID]bool{}
	for _, p := range pods {
		there[p.UID] = true
		r.recordPod(p)
	}
	for uid, record := range r.pods {
		if !there[uid] && record.Gone.IsZero() {
			record.Gone = r.now()
		}
	}
	r.signal()
}

func (r *Recorder) applyEvent(kind watch.EventType, event *corev1.Event) {
	if kind == watch.Deleted {
		return // events expire; what was seen stays seen
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events[event.UID] = event
	r.signal()
}

// Pods returns copies of all records in the order of first sight.
func (r *Recorder) Pods() []PodRecord {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := make([]PodRecord, 0, len(r.order))
	for _, uid := range r.order {
		all = append(all, *r.pods[uid])
	}
	return all
}

// Pod returns the latest record of the pod with this name.
func (r *Recorder) Pod(namespace, name string) (PodRecord, bool) {
	all := r.Pods()
	for i := len(all) - 1; i >= 0; i-- {
		if all[i].Namespace == namespace && all[i].Name == name {
			return all[i], true
		}
	}
	return PodRecord{}, false
}

// Wait returns nil as soon as done does, which is called at once and after
// each change. When ctx ends first, it returns done's last error.
func (r *Recorder) Wait(ctx context.Context, done func() error) error {
	for {
		r.mu.Lock()
		changed := r.changed
		r.mu.Unlock()
		err := done()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("gave up waiting: %w", context.Cause(ctx)), err)
		case <-changed:
		}
	}
}
