package e2e

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodeimage/packer-plugin-nodeimage/e2e/cause"
	"github.com/nodeimage/packer-plugin-nodeimage/e2e/cluster"
	"github.com/nodeimage/packer-plugin-nodeimage/e2e/workload"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/run"
)

// podsState is the moment when all test pods ran.
type podsState struct {
	*clusterState
	demand    demand
	state     cluster.NodeState
	uids      map[string]string // by pod name
	clusterIP string            // of the Service, if it is wanted
	started   time.Duration
}

// wantLabel is what plain containers must be confined by, or their ends prove
// nothing.
const wantLabel = "cri-containerd.apparmor.d (enforce)"

// startPods waits until each test pod is where it shall be when it is deleted.
// They have been in the making since the cluster was.
func (s *suite) startPods(ctx context.Context) (*podsState, error) {
	c := s.cluster.value
	if c == nil {
		return nil, errors.New("no cluster")
	}
	done := s.progress.step("starting the test pods")
	p := &podsState{clusterState: c, demand: s.demand, uids: map[string]string{}}
	err := c.podsMade(ctx)
	if err == nil && p.demand.survivors {
		p.clusterIP, err = c.serviceIP(ctx)
	}
	if err == nil {
		hopeful, stop := s.whileHopeful(ctx)
		err = c.recorder.Wait(hopeful, p.waiting)
		stop()
	}
	if err == nil {
		err = s.settled(ctx, c)
	}
	if err == nil {
		err = untilStarted(ctx, c.node, p.demand.variants())
	}
	done(err)
	s.noteEvents(c)
	if err != nil {
		s.notes.add(cause.Fact, err.Error())
		return nil, err
	}
	p.started = time.Since(c.finished)
	s.mu.Lock()
	s.measured["pods-ready-after-init-seconds"] = roundSeconds(p.started)
	s.mu.Unlock()
	if p.state, err = cluster.Probe(ctx, c.node); err != nil {
		return nil, err
	}
	s.noteCgroups(p.state)
	for _, r := range c.recorder.Pods() {
		if r.Namespace == workload.Namespace {
			p.uids[r.Name] = string(r.UID)
		}
	}
	return p, nil
}

// untilStarted waits until the programs in the variants' containers run and
// have asked for SIGTERM. On a starved machine one was six seconds behind its
// container, and a good image looked as if it did not deliver signals.
func untilStarted(ctx context.Context, node run.Runner, variants []workload.Variant) error {
	ctx, cancel := context.WithTimeout(ctx, commandLimit)
	defer cancel()
	for {
		markers, err := workload.ReadMarkers(ctx, node)
		if err != nil {
			return err
		}
		late := markers.NotStarted(variants)
		if len(late) == 0 {
			return nil
		}
		select {
		case <-time.After(nodeInterval):
		case <-ctx.Done():
			return fmt.Errorf("%s after its container runs, no program has written START into its marker below %s: %s", commandLimit, workload.MarkerRoot, strings.Join(late, ", "))
		}
	}
}

// podsMade waits for the API to know the test pods.
func (c *clusterState) podsMade(ctx context.Context) error {
	select {
	case err := <-c.made:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// createPods makes what is wanted.
func (c *clusterState) createPods(ctx context.Context, d demand, pace *pace) error {
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: workload.Namespace}}
	makeOne := func(what string, do func() error) error {
		if err := insist(ctx, do, apierrors.IsAlreadyExists); err != nil {
			return fmt.Errorf("making %s: %w", what, err)
		}
		return nil
	}
	err := makeOne("the namespace "+workload.Namespace, func() error {
		_, err := c.client.CoreV1().Namespaces().Create(ctx, namespace, metav1.CreateOptions{})
		return err
	})
	if err != nil {
		return err
	}
	if err := cluster.WaitServiceAccount(ctx, c.client, workload.Namespace); err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(pace.atOnce)
	pods := c.client.CoreV1().Pods(workload.Namespace)
	create := func(what string, do func() error) {
		group.Go(func() error { return makeOne(what, do) })
	}
	if d.survivors {
		create("the Service", func() error {
			_, err := c.client.CoreV1().Services(workload.Namespace).Create(ctx, workload.Service(), metav1.CreateOptions{})
			return err
		})
	}
	if d.job {
		create("the Job", func() error {
			_, err := c.client.BatchV1().Jobs(workload.Namespace).Create(ctx, workload.Job(), metav1.CreateOptions{})
			return err
		})
	}
	if d.set {
		create("the StatefulSet", func() error {
			_, err := c.client.AppsV1().StatefulSets(workload.Namespace).Create(ctx, workload.StatefulSet(), metav1.CreateOptions{})
			return err
		})
	}
	for _, pod := range d.plain() {
		group.Go(func() error {
			err := makeOne("pod "+pod.Name, func() error {
				_, err := pods.Create(ctx, pod, metav1.CreateOptions{})
				return err
			})
			if err != nil {
				return err
			}
			return pace.until(ctx, pod.Name)
		})
	}
	return group.Wait()
}

// serviceIP returns the cluster IP of the Service.
func (c *clusterState) serviceIP(ctx context.Context) (ip string, err error) {
	err = insist(ctx, func() error {
		made, err := c.client.CoreV1().Services(workload.Namespace).Get(ctx, workload.ServerName, metav1.GetOptions{})
		if err == nil {
			ip = made.Spec.ClusterIP
		}
		return err
	}, nil)
	return ip, err
}

// waiting names the pods that are not yet where they shall be.
func (p *podsState) waiting() error {
	var late []string
	judge := func(name string, there func(*corev1.Pod) bool) {
		r, ok := p.recorder.Pod(workload.Namespace, name)
		switch {
		case !ok:
			late = append(late, name+" (not made)")
		case !there(r.Last):
			late = append(late, name+podReason(r.Last))
		}
	}
	for _, v := range p.demand.variants() {
		if v.State == workload.Crashing {
			judge(v.Name, func(pod *corev1.Pod) bool { return cluster.Restarts(pod) > 0 })
		} else {
			judge(v.Name, cluster.PodReady)
		}
	}
	if p.demand.survivors {
		for _, survivor := range workload.Survivors() {
			judge(survivor.Name, cluster.PodReady)
		}
	}
	if p.demand.set {
		for i := range workload.SetSize {
			judge(fmt.Sprintf("%s-%d", workload.SetName, i), cluster.PodReady)
		}
	}
	if p.demand.job {
		if name, ok := p.jobPod(); !ok {
			late = append(late, "the Job's pod (not made)")
		} else {
			judge(name, func(pod *corev1.Pod) bool { return pod.Status.Phase == corev1.PodSucceeded })
		}
	}
	if len(late) == 0 {
		return nil
	}
	slices.Sort(late)
	return fmt.Errorf("%d test pods are not there yet: %s", len(late), strings.Join(late, ", "))
}

func (p *podsState) jobPod() (string, bool) {
	for _, r := range p.recorder.Pods() {
		if r.Namespace == workload.Namespace && strings.HasPrefix(r.Name, workload.JobName+"-") {
			return r.Name, true
		}
	}
	return "", false
}

// labelProblems returns a sentence for each process of a plain container that
// AppArmor does not confine as it shall.
func (s *suite) labelProblems(state cluster.NodeState, name, uid string) []string {
	var problems []string
	judged := 0
	for _, process := range state.Pod(uid) {
		if process.Comm == pauseComm {
			continue // containerd gives the sandbox's process no profile
		}
		judged++
		fact := fmt.Sprintf("AppArmor label of %s, process %d (%s), is %q", name, process.PID, process.Comm, process.AppArmor)
		if process.AppArmor != wantLabel {
			s.notes.add(cause.Fact, fact)
			problems = append(problems, fact+fmt.Sprintf(", expected %q", wantLabel))
		}
	}
	if judged == 0 {
		problems = append(problems, fmt.Sprintf("pod %s has no process on the node", name))
	}
	return problems
}

const pauseComm = "pause"

// noteEvents keeps the events for the diagnosis.
func (s *suite) noteEvents(c *clusterState) {
	for _, e := range c.recorder.Events() {
		s.notes.add(cause.Event, e.String())
	}
}

// exec runs a mode of the workload in a test pod with the node's own kubectl.
func (c *clusterState) exec(ctx context.Context, pod, mode string, args ...string) (string, error) {
	out, err := cluster.Output(ctx, c.node, c.kubectlExec(pod, mode, args...)...)
	return strings.TrimSpace(out), err
}

func (c *clusterState) kubectlExec(pod, mode string, args ...string) []string {
	return append([]string{"kubectl", "--kubeconfig", cluster.AdminConfig, "exec", "--namespace", workload.Namespace, pod, "--"},
		workload.Command(mode, args...)...)
}
