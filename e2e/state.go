package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/nodeimage/packer-plugin-nodeimage/e2e/cause"
	"github.com/nodeimage/packer-plugin-nodeimage/e2e/cluster"
	"github.com/nodeimage/packer-plugin-nodeimage/e2e/machine"
	"github.com/nodeimage/packer-plugin-nodeimage/e2e/workload"
)

// clusterState is a cluster that `kubeadm init` made.
type clusterState struct {
	node     vm
	client   kubernetes.Interface
	cri      *cluster.CRI
	recorder *cluster.Recorder
	version  string // of kubeadm
	images   []cluster.Image
	output   string // of kubeadm init
	warnings []cluster.Preflight
	finished time.Time
	limits   thresholds
}

const systemNamespace = "kube-system"

// oracleError says that the fault is proven and waiting for it is pointless.
type oracleError struct{ problems []string }

func (e *oracleError) Error() string {
	return "stopped early, the outcome is certain: " + strings.Join(e.problems, "; ")
}

// startCluster runs kubeadm init, with one eye on the first containers'
// cgroups: the wrong driver shows there minutes before anything restarts.
func (s *suite) startCluster(ctx context.Context) (*clusterState, error) {
	m, err := s.primary.value, s.primary.err
	if err != nil || m == nil {
		return nil, errors.Join(errors.New("no machine"), err)
	}
	tcg := m.Report().Accel != machine.AccelKVM
	c := &clusterState{node: m, recorder: cluster.NewRecorder(time.Now), limits: thresholdsFor(m.Report().Accel, s.options.Slack)}
	if c.version, err = cluster.Version(ctx, m); err != nil {
		return nil, err
	}
	if c.cri, err = cluster.DialCRI(m); err != nil {
		return nil, err
	}
	// Before anything of the suite's own is imported.
	if c.images, err = c.cri.Images(ctx); err != nil {
		s.notes.add(cause.Fact, err.Error())
		return nil, err
	}

	done := s.progress.step("kubeadm init %s", c.version)
	begin := time.Now()
	initCtx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var group errgroup.Group
	group.Go(func() error { return s.watchFirstContainers(initCtx, cancel, m, begin) })
	group.Go(func() error {
		// Its CPU time is waited for anyway while static pods come up.
		return workload.Install(initCtx, m)
	})
	c.output, err = cluster.Init(initCtx, m, cluster.Plan{
		KubernetesVersion: c.version, CPUs: s.options.CPUs, MemoryMiB: s.options.MemoryMiB, Slow: tcg,
	}, io.Discard)
	done(err)
	c.finished = time.Now()
	s.notes.add(cause.Kubeadm, c.output)
	s.evidence("kubeadm-init.log", []byte(c.output))
	c.warnings = cluster.ParsePreflight(c.output)
	if err != nil {
		cancel(err)
		watchErr := group.Wait()
		var oracle *oracleError
		if errors.As(watchErr, &oracle) || errors.As(context.Cause(initCtx), &oracle) {
			return nil, oracle
		}
		return nil, err
	}
	s.mu.Lock()
	s.measured["kubeadm-init-seconds"] = roundSeconds(c.finished.Sub(begin))
	s.initReturned = c.finished
	s.mu.Unlock()
	installed := s.progress.step("importing the test image")
	err = group.Wait()
	installed(err)
	if err != nil {
		return nil, err
	}
	if c.client, err = cluster.Connect(ctx, m); err != nil {
		return nil, err
	}
	s.watchers.Go(func() { c.recorder.Follow(s.ctx, c.client) })
	return c, nil
}

// watchFirstContainers looks at cgroups until containers of the control plane
// are judged to be in the right place, and ends kubeadm when they are not.
func (s *suite) watchFirstContainers(ctx context.Context, cancel context.CancelCauseFunc, m vm, begin time.Time) error {
	ticker := time.NewTicker(oracleInterval)
	defer ticker.Stop()
	for {
		state, err := cluster.Probe(ctx, m)
		if err != nil {
			if ctx.Err() != nil {
				return nil // kubeadm ended first; the cgroup specs judge later
			}
			return err
		}
		s.noteCgroups(state)
		problems, ran := cluster.JudgeCgroups(state)
		if len(problems) > 0 {
			s.mu.Lock()
			s.measured["cgroup-oracle-seconds"] = roundSeconds(time.Since(begin))
			s.mu.Unlock()
			if s.options.Witness {
				return nil // the specs report it; let the fault show itself
			}
			oracle := &oracleError{problems}
			cancel(oracle)
			return oracle
		}
		if ran >= controlPlaneContainers {
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// controlPlaneContainers are etcd, API server, controller manager and
// scheduler; one container in the right place could be luck with a handler.
const controlPlaneContainers = 4

func (s *suite) noteCgroups(state cluster.NodeState) {
	for _, p := range state.CgroupPaths() {
		s.notes.add(cause.Cgroup, p)
	}
	for _, c := range state.Cgroups {
		s.notes.add(cause.Cgroup, c.Path)
	}
}

// settled waits until the node and CoreDNS are ready: times measured while a
// cluster still starts say nothing about the image.
func (c *clusterState) settled(ctx context.Context) error {
	return c.recorder.Wait(ctx, func() error {
		var waiting []string
		dns := 0
		for _, p := range c.recorder.Pods() {
			if p.Namespace != systemNamespace || !p.Gone.IsZero() {
				continue
			}
			if !cluster.PodReady(p.Last) {
				waiting = append(waiting, p.Name+podReason(p.Last))
			}
			if strings.HasPrefix(p.Name, "coredns-") {
				dns++
			}
		}
		if dns == 0 {
			waiting = append(waiting, "coredns has no pod")
		}
		if len(waiting) > 0 {
			slices.Sort(waiting)
			return fmt.Errorf("not ready: %s", strings.Join(waiting, ", "))
		}
		return nil
	})
}

// podReason says why a pod is not what it should be, as far as it says so.
func podReason(pod *corev1.Pod) string {
	for _, c := range pod.Status.ContainerStatuses {
		switch {
		case c.State.Waiting != nil:
			return fmt.Sprintf(" (%s: %s %s)", c.Name, c.State.Waiting.Reason, c.State.Waiting.Message)
		case c.State.Terminated != nil:
			return fmt.Sprintf(" (%s: %s, exit code %d)", c.Name, c.State.Terminated.Reason, c.State.Terminated.ExitCode)
		}
	}
	if len(pod.Status.ContainerStatuses) == 0 {
		return fmt.Sprintf(" (%s, no container yet)", pod.Status.Phase)
	}
	return ""
}

// identities reads what must stay the same for the system's pods.
func (c *clusterState) identities(ctx context.Context) (cluster.Identities, error) {
	sandboxes, err := c.cri.Sandboxes(ctx)
	if err != nil {
		return nil, err
	}
	containers, err := c.cri.Containers(ctx)
	if err != nil {
		return nil, err
	}
	return cluster.Identify(systemNamespace, c.recorder.Pods(), sandboxes, containers)
}
