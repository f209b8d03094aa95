package workload

import (
	"fmt"
	"path"
	"strconv"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// Namespace holds everything the suite makes.
const Namespace = "nodeimage-e2e"

// MarkerRoot is the node's directory with one directory of markers a pod.
const MarkerRoot = "/var/lib/nodeimage-e2e/markers"

const (
	markerMount = "/markers"
	servePort   = 8080
	// HostPort is where the node itself hands to the pod "server".
	HostPort = 18080
	// ServicePort is where the Service "server" answers.
	ServicePort = 80
	// LongGrace is far more than a well-behaved container needs, so that a
	// pod which goes within it went because of SIGTERM. While twenty pods end
	// on two slow emulated CPUs, half a minute was once too short for one of
	// them to be told.
	LongGrace = 90 * time.Second
	// ShortGrace is what pods get that only SIGKILL ends: time to be told before.
	ShortGrace = 15 * time.Second
)

// State is what a pod shall reach before it is deleted.
type State string

// The states that variants are deleted in.
const (
	Running  State = "running"
	Crashing State = "crashing" // has restarted at least once
)

// Variant is one way of ending a pod that must work.
type Variant struct {
	Name  string
	Title string // continues "deletes a pod …"
	Pod   *corev1.Pod
	State State
	// Grace is what the pod is deleted with; nil leaves it to the pod.
	Grace *int64
	// Confined pods must carry containerd's default AppArmor profile, else
	// their deletion proves nothing about it. Privileged ones carry none.
	Confined bool
	// Markers are the words that each container must have written by the
	// time its pod is gone, in this order.
	Markers map[string][]string
	// Stubborn pods end by SIGKILL only, so they live for their whole grace
	// period; going earlier would mean that something else killed them.
	Stubborn bool
	// Exec says that a command shall be running in the pod by exec.
	Exec bool
}

// EffectiveGrace is the time that the pod may take by its own wish.
func (v Variant) EffectiveGrace() time.Duration {
	if v.Grace != nil {
		return time.Duration(*v.Grace) * time.Second
	}
	return time.Duration(*v.Pod.Spec.TerminationGracePeriodSeconds) * time.Second
}

func container(name, mode string, args ...string) corev1.Container {
	return corev1.Container{
		Name: name, Image: ImageName, ImagePullPolicy: corev1.PullNever,
		Args:         append([]string{mode}, args...),
		VolumeMounts: []corev1.VolumeMount{{Name: "markers", MountPath: markerMount}},
	}
}

func marker(name string) string { return path.Join(markerMount, name) }

func trap(name string) corev1.Container { return container(name, "trap-term", marker(name)) }

func newPod(name string, grace time.Duration, containers ...corev1.Container) *corev1.Pod {
	seconds := int64(grace / time.Second)
	kind := corev1.HostPathDirectoryOrCreate
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: Namespace, Name: name, Labels: map[string]string{"app": name}},
		Spec: corev1.PodSpec{
			TerminationGracePeriodSeconds: &seconds,
			Containers:                    containers,
			Volumes: []corev1.Volume{{Name: "markers", VolumeSource: corev1.VolumeSource{
				HostPath: &corev1.HostPathVolumeSource{Path: path.Join(MarkerRoot, name), Type: &kind},
			}}},
		},
	}
}

func resources(cpu, memory string) corev1.ResourceList {
	return corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse(memory)}
}

// PlainName is the pod that ends as most pods do.
const PlainName = "trap"

// Variants returns the single pods to delete, all different. Among them are
// pods of each QoS class, since each has its own level of cgroups.
func Variants() []Variant {
	termed := []string{"START", "TERM", "EXIT"}
	one := map[string][]string{"main": termed}
	zero := int64(0)

	multi := newPod("multi", LongGrace, trap("main"), trap("second"), trap("third"))
	multi.Spec.Containers[0].Resources.Requests = resources("10m", "8Mi")

	prestop := newPod("prestop", LongGrace, trap("main"))
	prestop.Spec.Containers[0].Lifecycle = &corev1.Lifecycle{PreStop: &corev1.LifecycleHandler{
		Exec: &corev1.ExecAction{Command: []string{interpreter, scriptPath, "mark", marker("main"), "PRESTOP", "1"}},
	}}
	prestop.Spec.Containers[0].Resources = corev1.ResourceRequirements{Requests: resources("500m", "64Mi"), Limits: resources("500m", "64Mi")}

	hostNetwork := newPod("host-network", LongGrace, trap("main"))
	hostNetwork.Spec.HostNetwork = true

	privileged := newPod("privileged", LongGrace, trap("main"))
	yes := true
	privileged.Spec.Containers[0].SecurityContext = &corev1.SecurityContext{Privileged: &yes}

	shared := newPod("shared-pid", LongGrace, trap("main"), trap("second"))
	shared.Spec.ShareProcessNamespace = &yes

	return []Variant{
		{Name: PlainName, Title: "that handles SIGTERM", Confined: true, Markers: one, State: Running,
			Pod: newPod(PlainName, LongGrace, trap("main"))},
		{Name: "ignore", Title: "that ignores SIGTERM", Confined: true, Stubborn: true, State: Running,
			Markers: map[string][]string{"main": {"START", "TERM"}},
			Pod:     newPod("ignore", ShortGrace, container("main", "ignore-term", marker("main")))},
		{Name: "crash", Title: "that crashes in a loop", State: Crashing,
			Pod: newPod("crash", ShortGrace, container("main", "crash", "1"))},
		{Name: "multi", Title: "with several containers", Confined: true, State: Running,
			Markers: map[string][]string{"main": termed, "second": termed, "third": termed}, Pod: multi},
		{Name: "prestop", Title: "with a preStop hook", Confined: true, State: Running,
			Markers: map[string][]string{"main": {"START", "PRESTOP", "TERM", "EXIT"}}, Pod: prestop},
		{Name: "exec", Title: "with an exec in flight", Confined: true, Markers: one, State: Running, Exec: true,
			Pod: newPod("exec", LongGrace, trap("main"))},
		{Name: "spawn", Title: "that leaves children behind", Confined: true, State: Running,
			Markers: map[string][]string{"main": {"START", "TERM"}},
			Pod:     newPod("spawn", LongGrace, container("main", "spawn", marker("main"), "3"))},
		{Name: "host-network", Title: "on the host's network", Confined: true, Markers: one, State: Running, Pod: hostNetwork},
		{Name: "privileged", Title: "that is privileged", Markers: one, State: Running, Pod: privileged},
		{Name: "shared-pid", Title: "with a shared process namespace", Confined: true, State: Running,
			Markers: map[string][]string{"main": termed, "second": termed}, Pod: shared},
		{Name: "force", Title: "by force", Confined: true, State: Running, Grace: &zero,
			Pod: newPod("force", LongGrace, container("main", "ignore-term", marker("main")))},
	}
}

// BatchSize is how many pods are deleted at once: the variants, the Job's pod
// and fillers.
const BatchSize = 20

// Fillers returns the equal pods that bring the pods to delete to BatchSize.
// All are deleted together with the variants: an emulated machine needs some
// ten seconds to start a pod, so a second set of pods would cost minutes and
// show nothing more.
func Fillers() []Variant {
	var all []Variant
	for i := range BatchSize - len(Variants()) - 1 {
		name := "filler-" + strconv.Itoa(i)
		pod := newPod(name, LongGrace, trap("main"))
		// The variants have mounted tokens; these need not wait for theirs.
		no := false
		pod.Spec.AutomountServiceAccountToken = &no
		all = append(all, Variant{Name: name, Title: fmt.Sprintf("that is one of %d", BatchSize), Confined: true, State: Running,
			Markers: map[string][]string{"main": {"START", "TERM", "EXIT"}}, Pod: pod})
	}
	return all
}

// Deleted returns all pods that are deleted at once but the Job's.
func Deleted() []Variant { return append(Variants(), Fillers()...) }

// JobName is the Job whose pod has finished when it is deleted.
const JobName = "finished"

// Job returns a Job that succeeds at once.
func Job() *batchv1.Job {
	pod := newPod(JobName, ShortGrace, container("main", "done", marker("main")))
	pod.Spec.RestartPolicy = corev1.RestartPolicyNever
	never := int32(0)
	return &batchv1.Job{
		ObjectMeta: pod.ObjectMeta,
		Spec: batchv1.JobSpec{
			BackoffLimit: &never,
			Template:     corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: pod.Labels}, Spec: pod.Spec},
		},
	}
}

// SetName is the StatefulSet that is restarted pod by pod; SetSize its replicas.
const (
	SetName = "rolling"
	SetSize = 2
)

// StatefulSet returns the set to restart.
func StatefulSet() *appsv1.StatefulSet {
	pod := newPod(SetName, LongGrace, trap("main"))
	size := int32(SetSize)
	return &appsv1.StatefulSet{
		ObjectMeta: pod.ObjectMeta,
		Spec: appsv1.StatefulSetSpec{
			Replicas: &size, ServiceName: SetName,
			Selector: &metav1.LabelSelector{MatchLabels: pod.Labels},
			// Both at once: the order of a restart, not of a start, is judged.
			PodManagementPolicy: appsv1.ParallelPodManagement,
			Template:            corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: pod.Labels}, Spec: pod.Spec},
		},
	}
}

// The pods that live through the whole run: they must survive restarts of
// containerd and the kubelet, and come back after a reboot.
const (
	ServerName = "server"
	ClientName = "client"
)

// Survivors returns the pods behind and in front of the Service.
func Survivors() []*corev1.Pod {
	// The port on the host takes the way through portmap and the host's iptables.
	server := newPod(ServerName, ShortGrace, container("main", "serve", strconv.Itoa(servePort), ServerName))
	server.Spec.Containers[0].Ports = []corev1.ContainerPort{{ContainerPort: servePort, HostPort: HostPort}}
	return []*corev1.Pod{
		server,
		newPod(ClientName, ShortGrace, container("main", "trap-term", marker("main"))),
	}
}

// Service returns the Service in front of the server.
func Service() *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: Namespace, Name: ServerName},
		Spec: corev1.ServiceSpec{
			Selector: map[string]string{"app": ServerName},
			Ports:    []corev1.ServicePort{{Port: ServicePort, TargetPort: intstr.FromInt32(servePort)}},
		},
	}
}

// Command returns the argv that runs a mode of the workload inside a container.
func Command(mode string, args ...string) []string {
	return append([]string{interpreter, scriptPath, mode}, args...)
}
