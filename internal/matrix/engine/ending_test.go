package engine_test

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// ending is how an Indexed Job came to its end.
type ending struct {
	// Codes are the exit codes of each index's pods, in the order in which the
	// pods were made: as many as the index was tried.
	Codes map[int][]int
	// Completed and Failed are the indexes that the API server calls so.
	Completed, Failed []int
	// Reason is that of the job's last condition.
	Reason string
}

// endingOf reads a job that is over. A pod that ended otherwise than by its
// own exit code is an error.
func endingOf(job *batchv1.Job, pods []corev1.Pod) (ending, error) {
	e := ending{Codes: map[int][]int{}}
	over, ok := jobOver(job)
	if !ok {
		return e, fmt.Errorf("job %s is not over: %d active", job.Name, job.Status.Active)
	}
	e.Reason = over.Reason
	var err error
	if e.Completed, err = parseIndexes(job.Status.CompletedIndexes); err != nil {
		return e, err
	}
	if failed := job.Status.FailedIndexes; failed != nil {
		if e.Failed, err = parseIndexes(*failed); err != nil {
			return e, err
		}
	}
	pods = slices.Clone(pods)
	slices.SortFunc(pods, func(a, b corev1.Pod) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
	})
	for _, p := range pods {
		index, err := strconv.Atoi(p.Annotations[batchv1.JobCompletionIndexAnnotation])
		if err != nil {
			return e, fmt.Errorf("pod %s has no completion index: %w", p.Name, err)
		}
		if len(p.Status.ContainerStatuses) != 1 || p.Status.ContainerStatuses[0].State.Terminated == nil {
			return e, fmt.Errorf("pod %s of index %d is %s (%s %s) and no container of it has ended", p.Name, index, p.Status.Phase, p.Status.Reason, p.Status.Message)
		}
		e.Codes[index] = append(e.Codes[index], int(p.Status.ContainerStatuses[0].State.Terminated.ExitCode))
	}
	return e, nil
}

// parseIndexes reads a list such as 1,3-5,7.
func parseIndexes(text string) (list []int, err error) {
	for part := range strings.SplitSeq(text, ",") {
		if part == "" {
			continue
		}
		first, last, ranged := strings.Cut(part, "-")
		if !ranged {
			last = first
		}
		from, err := strconv.Atoi(first)
		if err != nil {
			return nil, fmt.Errorf("indexes %q: %w", text, err)
		}
		to, err := strconv.Atoi(last)
		if err != nil {
			return nil, fmt.Errorf("indexes %q: %w", text, err)
		}
		for i := from; i <= to; i++ {
			list = append(list, i)
		}
	}
	return list, nil
}

// jobOver is the condition with which a job ended, false for one that goes on.
func jobOver(job *batchv1.Job) (batchv1.JobCondition, bool) {
	i := slices.IndexFunc(job.Status.Conditions, func(c batchv1.JobCondition) bool {
		return (c.Type == batchv1.JobComplete || c.Type == batchv1.JobFailed) && c.Status == corev1.ConditionTrue
	})
	if i < 0 {
		return batchv1.JobCondition{}, false
	}
	return job.Status.Conditions[i], true
}

// podOf is a pod of an index that was made some seconds after the job's first.
func podOf(index, second int, code int32) corev1.Pod {
	return corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name: fmt.Sprintf("cells-%d-%d", index, second), CreationTimestamp: metav1.NewTime(time.Unix(int64(second), 0)),
			Annotations: map[string]string{batchv1.JobCompletionIndexAnnotation: strconv.Itoa(index)},
		},
		Status: corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{{State: corev1.ContainerState{
			Terminated: &corev1.ContainerStateTerminated{ExitCode: code}}}}},
	}
}

// The look at a job's end sees what it is for: a red index that is run again,
// as without a policy for failed pods, and one that is not run again after 75.
func TestEndingOfAJob(t *testing.T) {
	t.Parallel()
	job := func(reason, completed, failed string) *batchv1.Job {
		return &batchv1.Job{Status: batchv1.JobStatus{CompletedIndexes: completed, FailedIndexes: &failed,
			Conditions: []batchv1.JobCondition{{Type: batchv1.JobFailed, Status: corev1.ConditionTrue, Reason: reason}}}}
	}
	want := ending{Codes: map[int][]int{0: {0}, 1: {1}, 2: {75, 75}}, Completed: []int{0}, Failed: []int{1, 2}, Reason: "FailedIndexes"}
	asWanted := []corev1.Pod{podOf(2, 40, 75), podOf(0, 1, 0), podOf(1, 2, 1), podOf(2, 3, 75)}
	for _, tt := range []struct {
		name string
		job  *batchv1.Job
		pods []corev1.Pod
		same bool
	}{
		{"as it must be", job("FailedIndexes", "0", "1,2"), asWanted, true},
		{"as a range", job("FailedIndexes", "0", "1-2"), asWanted, true},
		{"1 is run again", job("FailedIndexes", "0", "1,2"), append(slices.Clone(asWanted), podOf(1, 20, 1)), false},
		{"75 is not", job("FailedIndexes", "0", "1,2"), asWanted[1:], false},
		{"one ends all", job("PodFailurePolicy", "0", "1,2"), asWanted, false},
		{"a red index counts as good", job("FailedIndexes", "0,1", "2"), asWanted, false},
	} {
		got, err := endingOf(tt.job, tt.pods)
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
		if diff := gocmp.Diff(want, got); (diff == "") != tt.same {
			t.Errorf("%s: seen as it must be: %v, want %v\n%s", tt.name, diff == "", tt.same, diff)
		}
	}
	if _, err := endingOf(&batchv1.Job{}, asWanted); err == nil {
		t.Error("a job that goes on has an end")
	}
	evicted := asWanted[0]
	evicted.Status = corev1.PodStatus{Phase: corev1.PodFailed, Reason: "Evicted"}
	if _, err := endingOf(job("", "", ""), []corev1.Pod{evicted}); err == nil {
		t.Error("a pod without an exit code has one")
	}
}
