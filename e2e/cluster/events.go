package cluster

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// The event reasons that the suite judges by; the kubelet's own words.
const (
	ReasonSandboxChanged = "SandboxChanged"
	ReasonFailedKillPod  = "FailedKillPod"
	ReasonPulling        = "Pulling"
)

// EventRecord is an event in the few fields that matter.
type EventRecord struct {
	Namespace, Name string // of the object it is about
	Reason, Message string
	Warning         bool
	Count           int32
	First, Last     time.Time // the node's clock
}

func (e EventRecord) String() string {
	return fmt.Sprintf("%s/%s %s: %s", e.Namespace, e.Name, e.Reason, e.Message)
}

// Events returns all events seen so far, by time of last occurrence.
func (r *Recorder) Events() []EventRecord {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := make([]EventRecord, 0, len(r.events))
	for _, e := range r.events {
		all = append(all, newEventRecord(e))
	}
	slices.SortFunc(all, func(a, b EventRecord) int {
		return cmp.Or(a.Last.Compare(b.Last), cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Reason, b.Reason))
	})
	return all
}

func newEventRecord(e *corev1.Event) EventRecord {
	record := EventRecord{
		Namespace: e.InvolvedObject.Namespace, Name: e.InvolvedObject.Name,
		Reason: e.Reason, Message: e.Message, Warning: e.Type == corev1.EventTypeWarning,
		Count: max(e.Count, 1), First: e.FirstTimestamp.Time, Last: e.LastTimestamp.Time,
	}
	if e.Series != nil {
		record.Count, record.Last = max(record.Count, e.Series.Count), e.Series.LastObservedTime.Time
	}
	if record.First.IsZero() {
		record.First = e.EventTime.Time
	}
	if record.Last.IsZero() {
		record.Last = record.First
	}
	return record
}

// EventsFor filters events by reason and, unless namespace is empty, by the
// namespace of their object.
func EventsFor(events []EventRecord, reason, namespace string) []EventRecord {
	return slices.DeleteFunc(slices.Clone(events), func(e EventRecord) bool {
		return e.Reason != reason || (namespace != "" && e.Namespace != namespace)
	})
}

// SandboxVerdict is what a set of SandboxChanged events amounts to.
type SandboxVerdict string

// The verdicts on SandboxChanged events. The kubelet may have to make a
// sandbox anew once, and a suite that fails on a single event teaches people
// to ignore it; the fault makes them again and again, or in many pods.
const (
	SandboxesQuiet     SandboxVerdict = "quiet"
	SandboxesTransient SandboxVerdict = "transient"
	SandboxesPattern   SandboxVerdict = "pattern"
)

const (
	// sandboxRepeats in one pod are a pattern: the fault's pods are killed
	// each 5 to 130 seconds, so a window of minutes holds several.
	sandboxRepeats = 2
	// sandboxPods that are hit are a pattern: one pod can have bad luck, the
	// fault hits every pod of the node.
	sandboxPods = 2
)

// JudgeSandboxes classifies the SandboxChanged events among events whose last
// occurrence is not before since.
func JudgeSandboxes(events []EventRecord, since time.Time) (SandboxVerdict, []EventRecord) {
	var hits []EventRecord
	perPod := map[string]int32{}
	for _, e := range EventsFor(events, ReasonSandboxChanged, "") {
		if e.Last.Before(since) {
			continue
		}
		hits = append(hits, e)
		n := e.Count
		if e.First.Before(since) {
			n = 1 // an old event that came again: only this much is certain
		}
		perPod[e.Namespace+"/"+e.Name] += n
	}
	for _, n := range perPod {
		if n >= sandboxRepeats {
			return SandboxesPattern, hits
		}
	}
	switch {
	case len(perPod) >= sandboxPods:
		return SandboxesPattern, hits
	case len(perPod) > 0:
		return SandboxesTransient, hits
	default:
		return SandboxesQuiet, nil
	}
}
