package cluster

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
)

func pod(name, uid string, change func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "e2e", Name: name, UID: types.UID(uid)}}
	if change != nil {
		change(p)
	}
	return p
}

func ready(p *corev1.Pod) {
	p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
}

func terminating(p *corev1.Pod) { now := metav1.Now(); p.DeletionTimestamp = &now }

// clock advances by a second each time it is read.
func clock() func() time.Time {
	var mu sync.Mutex
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	return func() time.Time {
		mu.Lock()
		defer mu.Unlock()
		now = now.Add(time.Second)
		return now
	}
}

func TestRecorderKeepsAPodsLife(t *testing.T) {
	t.Parallel()
	r := NewRecorder(clock())
	r.applyPod(watch.Added, pod("trap", "u1", nil))
	r.applyPod(watch.Modified, pod("trap", "u1", ready))
	r.applyPod(watch.Modified, pod("trap", "u1", func(p *corev1.Pod) { ready(p); terminating(p) }))
	if got, _ := r.Pod("e2e", "trap"); !got.Gone.IsZero() {
		t.Errorf("a pod that is there is gone at %s", got.Gone)
	}
	r.applyPod(watch.Deleted, pod("trap", "u1", terminating))
	r.applyPod(watch.Added, pod("trap", "u2", nil)) // its successor
	all := r.Pods()
	if len(all) != 2 || all[0].UID != "u1" || all[1].UID != "u2" {
		t.Fatalf("records: %+v", all)
	}
	first := all[0]
	for _, pair := range [][2]time.Time{{first.FirstSeen, first.Ready}, {first.Ready, first.Terminating}, {first.Terminating, first.Gone}} {
		if !pair[0].Before(pair[1]) || pair[0].IsZero() {
			t.Errorf("times are out of order: %+v", first)
		}
	}
	if got, ok := r.Pod("e2e", "trap"); !ok || got.UID != "u2" {
		t.Errorf("the latest pod of a name is %+v", got)
	}
	if _, ok := r.Pod("e2e", "other"); ok {
		t.Error("a pod nobody saw is found")
	}
}

// A watch that breaks is followed by a list; what is missing there is gone.
func TestFollowRelistsAfterABreak(t *testing.T) {
	t.Parallel()
	r := NewRecorder(time.Now)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()

	lists := [][]*corev1.Pod{
		{pod("a", "ua", nil), pod("b", "ub", nil)},
		{pod("b", "ub", ready)},
	}
	var mu sync.Mutex
	calls := 0
	watches := []*watch.FakeWatcher{watch.NewFakeWithChanSize(4, false), watch.NewFakeWithChanSize(4, false)}
	watches[0].Modify(pod("a", "ua", ready))
	watches[0].Error(&metav1.Status{Status: metav1.StatusFailure, Reason: metav1.StatusReasonExpired, Message: "too old"})
	watches[1].Delete(pod("b", "ub", ready))
	done := make(chan struct{})
	go func() {
		defer close(done)
		follow(ctx, r.broke, source[*corev1.Pod]{
			list: func(context.Context) ([]*corev1.Pod, string, error) {
				mu.Lock()
				defer mu.Unlock()
				calls++
				if calls > len(lists) {
					t.Errorf("unexpected list %d", calls)
					return nil, "", errors.New("unexpected")
				}
				return lists[calls-1], "1", nil
			},
			watch: func(_ context.Context, options metav1.ListOptions) (watch.Interface, error) {
				if options.ResourceVersion != "1" || options.TimeoutSeconds == nil {
					t.Errorf("watch options: %+v", options)
				}
				mu.Lock()
				defer mu.Unlock()
				return watches[calls-1], nil
			},
			replace: r.replacePods,
			apply:   r.applyPod,
		})
	}()
	waitCtx, stop := context.WithTimeout(ctx, 10*time.Second)
	defer stop()
	if err := r.Wait(waitCtx, func() error {
		for _, name := range []string{"a", "b"} {
			if p, ok := r.Pod("e2e", name); !ok || p.Gone.IsZero() {
				return errors.New(name + " is there")
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	cancel()
	<-done
	if a, _ := r.Pod("e2e", "a"); a.Ready.IsZero() {
		t.Error("what the first watch said is lost")
	}
	if r.Breaks() != 1 {
		t.Errorf("%d breaks, want 1", r.Breaks())
	}
}

func TestWaitReturnsLastReason(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	err := NewRecorder(time.Now).Wait(ctx, func() error { return errors.New("coredns is not ready") })
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "coredns is not ready") {
		t.Errorf("got %v", err)
	}
}

func TestJudgeSandboxes(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	event := func(name string, count int32, first, last time.Duration) EventRecord {
		return EventRecord{Namespace: "kube-system", Name: name, Reason: ReasonSandboxChanged, Count: count, First: start.Add(first), Last: start.Add(last)}
	}
	other := EventRecord{Namespace: "kube-system", Name: "etcd", Reason: "Killing", Count: 9, First: start, Last: start.Add(time.Minute)}
	for _, tc := range []struct {
		name   string
		events []EventRecord
		want   SandboxVerdict
	}{
		{"none", []EventRecord{other}, SandboxesQuiet},
		{"one", []EventRecord{event("kube-proxy", 1, time.Minute, time.Minute), other}, SandboxesTransient},
		{"before the window", []EventRecord{event("kube-proxy", 5, -2*time.Minute, -time.Minute)}, SandboxesQuiet},
		{"old event once more", []EventRecord{event("kube-proxy", 5, -2*time.Minute, time.Minute)}, SandboxesTransient},
		{"again in one pod", []EventRecord{event("kube-proxy", 2, time.Minute, 2*time.Minute)}, SandboxesPattern},
		{"two events for one pod", []EventRecord{event("kube-proxy", 1, time.Minute, time.Minute), event("kube-proxy", 1, 2*time.Minute, 2*time.Minute)}, SandboxesPattern},
		{"two pods", []EventRecord{event("kube-proxy", 1, time.Minute, time.Minute), event("etcd", 1, time.Minute, time.Minute)}, SandboxesPattern},
	} {
		if got, hits := JudgeSandboxes(tc.events, start); got != tc.want || (got == SandboxesQuiet) != (len(hits) == 0) {
			t.Errorf("%s: got %s with %d events, want %s", tc.name, got, len(hits), tc.want)
		}
	}
}

func TestEvents(t *testing.T) {
	t.Parallel()
	at := metav1.NewTime(time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC))
	r := NewRecorder(time.Now)
	e := &corev1.Event{
		ObjectMeta:     metav1.ObjectMeta{UID: "e1"},
		InvolvedObject: corev1.ObjectReference{Namespace: "kube-system", Name: "kube-proxy-x"},
		Reason:         ReasonSandboxChanged, Message: "Pod sandbox changed, it will be killed and re-created.",
		FirstTimestamp: at, LastTimestamp: at, Count: 1,
	}
	r.applyEvent(watch.Added, e)
	again := e.DeepCopy()
	again.Count = 3
	r.applyEvent(watch.Modified, again)
	series := &corev1.Event{ObjectMeta: metav1.ObjectMeta{UID: "e2"}, Reason: "X", EventTime: metav1.NewMicroTime(at.Time), Series: &corev1.EventSeries{Count: 4, LastObservedTime: metav1.NewMicroTime(at.Add(time.Hour))}}
	r.applyEvent(watch.Added, series)
	r.applyEvent(watch.Deleted, again) // it expired; it happened all the same
	got := r.Events()
	if len(got) != 2 || got[0].Count != 3 || got[1].Count != 4 || !got[1].Last.Equal(at.Add(time.Hour)) {
		t.Fatalf("got %+v", got)
	}
	if want := "kube-system/kube-proxy-x SandboxChanged: Pod sandbox changed, it will be killed and re-created."; got[0].String() != want {
		t.Errorf("got %q", got[0])
	}
	if n := len(EventsFor(got, ReasonSandboxChanged, "kube-system")); n != 1 {
		t.Errorf("%d events found", n)
	}
	if n := len(EventsFor(got, ReasonSandboxChanged, "default")); n != 0 {
		t.Errorf("%d events of another namespace found", n)
	}
}
