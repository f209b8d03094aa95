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
	required []string // images that kubeadm asks for
	output   string   // of kubeadm init
	warnings []cluster.Preflight
	finished time.Time
	limits   thresholds
	made     chan error // how making the test pods went; nil if none are wanted
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
	tcg := m.Report().Accel == machine.AccelTCG
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
	if c.required, err = cluster.RequiredImages(ctx, m, c.version); err != nil {
		return nil, err
	}
	if problems := s.judgeImages(ctx, c); len(problems) > 0 && !s.options.Witness {
		return nil, &oracleError{problems}
	}

	done := s.progress.step("kubeadm init %s", c.version)
	begin := time.Now()
	hopeful, stop := s.whileHopeful(ctx)
	defer stop()
	initCtx, cancel := context.WithCancelCause(hopeful)
	defer cancel(nil)
	var group errgroup.Group
	group.Go(func() error { return s.watchFirstContainers(initCtx, cancel, m, begin) })
	group.Go(func() error {
		// Its CPU time is waited for anyway while static pods come up.
		return workload.Install(initCtx, m)
	})
	c.output, err = cluster.Init(initCtx, m, cluster.Plan{
		KubernetesVersion: c.version, CPUs: m.Report().CPUs, MemoryMiB: m.Report().MemoryMiB, Slow: tcg,
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
	if tcg {
		s.watchers.Go(func() { c.releaseDeadLeases(s.ctx) })
	}
	if s.options.Witness {
		s.watchers.Go(func() { s.followEvents(c) })
	}
	if !s.demand.empty() {
		c.made = make(chan error, 1)
		s.watchers.Go(func() {
			ctx, cancel := context.WithTimeout(s.ctx, podsLimit)
			defer cancel()
			pace := &pace{recorder: c.recorder, atOnce: podsAtOnce, limit: paceLimit}
			if tcg {
				pace.atOnce = podsAtOnceTCG
				c.waitForSystem(ctx)
			}
			c.made <- c.createPods(ctx, s.demand, pace)
		})
	}
	return c, nil
}

// releaseDeadLeases lets a new controller manager begin at once, on nodes so
// slow that its lease is long.
func (c *clusterState) releaseDeadLeases(ctx context.Context) {
	ticker := time.NewTicker(leaseInterval)
	defer ticker.Stop()
	holder := ""
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		// A node that does not answer now, as in a reboot, is asked again.
		containers, err := c.cri.Containers(ctx)
		if err != nil || slices.ContainsFunc(containers, func(k cluster.Container) bool { return k.ID == holder && k.Running }) {
			continue
		}
		holder, _ = cluster.ReleaseDeadLease(ctx, c.client, containers)
	}
}

// followEvents notes events as they come, for a fault that shall show itself.
func (s *suite) followEvents(c *clusterState) {
	for s.ctx.Err() == nil {
		s.noteEvents(c)
		select {
		case <-s.ctx.Done():
		case <-time.After(oracleInterval):
		}
	}
}

// judgeImages returns what keeps this machine, which reaches no registry, from
// starting any pod of the control plane.
func (s *suite) judgeImages(ctx context.Context, c *clusterState) []string {
	var there []string
	for _, image := range c.images {
		there = append(there, image.Names...)
	}
	var problems []string
	for _, name := range c.required {
		if !slices.Contains(there, name) {
			problems = append(problems, fmt.Sprintf("image %s that kubeadm needs is not in the runtime's store", name))
		}
	}
	// A configuration that cannot be read is for its own spec to report.
	if config, err := s.config.get(ctx); err == nil && config.SandboxImage != "" && !strings.Contains(config.SandboxImage, "@") && !slices.Contains(there, config.SandboxImage) {
		problems = append(problems, fmt.Sprintf("containerd's sandbox image %s is not in the runtime's store", config.SandboxImage))
	}
	for _, p := range problems {
		s.notes.add(cause.Fact, p)
	}
	return problems
}

// containerdConfig is containerd's effective configuration, parsed and as
// containerd printed it.
type containerdConfig struct {
	cluster.ContainerdConfig
	text string
}

func (s *suite) readContainerdConfig(ctx context.Context) (containerdConfig, error) {
	m := s.primary.value
	if m == nil {
		return containerdConfig{}, errors.New("no machine")
	}
	config, text, err := cluster.DumpContainerdConfig(ctx, m)
	return containerdConfig{config, text}, err
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
		// A tree without a container in it shows the kubelet's driver alone;
		// what the runtime makes of it comes with the first sandbox.
		if len(problems) > 0 && ran > 0 {
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
func (s *suite) settled(ctx context.Context, c *clusterState) error {
	hopeful, stop := s.whileHopeful(ctx)
	defer stop()
	go s.followCrashes(hopeful, c)
	err := c.recorder.Wait(hopeful, c.systemReady)
	if err == nil {
		s.notes.up()
	}
	return err
}

// systemReady tells which of the cluster's own pods are not ready yet.
func (c *clusterState) systemReady() error {
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
}

// waitForSystem waits until the cluster's own pods are ready, or until it has
// waited long enough: that they never are is for the specs to report.
func (c *clusterState) waitForSystem(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, settleLimit)
	defer cancel()
	_ = c.recorder.Wait(ctx, c.systemReady)
}

// followCrashes notes the logs of the system's pods while one of them crashes
// and is waited for: why CoreDNS exits, only its own log says.
func (s *suite) followCrashes(ctx context.Context, c *clusterState) {
	ticker := time.NewTicker(oracleInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if slices.ContainsFunc(c.recorder.Pods(), func(p cluster.PodRecord) bool {
			return p.Namespace == systemNamespace && p.Gone.IsZero() && !cluster.PodReady(p.Last) && cluster.Restarts(p.Last) > 0
		}) {
			s.notePodLogs(ctx, c.node)
		}
	}
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
