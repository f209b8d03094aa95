package engine

import (
	"bytes"
	"fmt"
	"maps"
	"path/filepath"
	"slices"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/matrix"
)

// KubernetesOptions says where the jobs run.
type KubernetesOptions struct {
	Namespace string // "" for that of whoever applies it
	// Image is a container image with nodeimage and what a build and a boot
	// need; best by digest.
	Image string
	// Claim is the PersistentVolumeClaim, shared by all nodes, that gets the
	// results.
	Claim string
	// Parallelism is how many pods run at one time.
	Parallelism int
	// KVM is the resource by which a device plugin gives /dev/kvm out. Cells
	// that no machine runs do not ask for it.
	KVM string
}

// What a pod asks for: one virtual machine, and a build before it.
const (
	podCPUs      = 2
	podMemoryMiB = 6144
	podDiskMiB   = 20480
	// podGrace is more than stages get to end their machines in, in seconds.
	podGrace = 60
)

// maxConfigMap is what a ConfigMap may hold, less some room for its names.
const maxConfigMap = 1000 << 10

const (
	containerName = "cells"
	matrixMount   = "/matrix"
	resultsMount  = "/results"
	cacheMount    = "/var/cache/nodeimage"
)

// kubernetes is a List with a ConfigMap that has matrix, profiles and ticket,
// and an Indexed Job for each architecture whose completion index is the
// shard. An index whose image failed is not run again, one whose machine failed
// is, and bad input ends the job: it would be the same everywhere.
func kubernetes(o Options) (any, error) {
	k := o.Kubernetes
	switch {
	case k.Image == "":
		return nil, exitcode.BadInput(fmt.Errorf("kubernetes: name the container image of the pods with --image"))
	case k.Claim == "":
		return nil, exitcode.BadInput(fmt.Errorf("kubernetes: name the claim that gets the results with --results-claim"))
	}
	name := "nodeimage-matrix-" + o.Expanded.Plan.SHA256[:12]
	labels := map[string]string{"app.kubernetes.io/name": "nodeimage-matrix", "nodeimage.dev/plan": o.Expanded.Plan.SHA256[:16]}
	config, items, err := o.configMap(metav1.ObjectMeta{Name: name, Namespace: k.Namespace, Labels: labels})
	if err != nil {
		return nil, err
	}
	list := struct {
		APIVersion string `json:"apiVersion"`
		Kind       string `json:"kind"`
		Items      []any  `json:"items"`
	}{"v1", "List", []any{config}}
	parts := o.parts()
	for _, arch := range slices.Sorted(maps.Keys(parts)) {
		list.Items = append(list.Items, o.job(metav1.ObjectMeta{Name: name + "-" + arch, Namespace: k.Namespace, Labels: labels}, name, arch, parts[arch], items))
	}
	return list, nil
}

// configMap has the matrix and every profile of a file of its own, each where
// the matrix looks for it.
func (o Options) configMap(meta metav1.ObjectMeta) (*corev1.ConfigMap, []corev1.KeyToPath, error) {
	c := &corev1.ConfigMap{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"}, ObjectMeta: meta, Data: map[string]string{}}
	var items []corev1.KeyToPath
	size := 0
	add := func(key, path, text string) {
		c.Data[key] = text
		items = append(items, corev1.KeyToPath{Key: key, Path: path})
		size += len(key) + len(text)
	}
	text, err := o.Matrix.Text()
	if err != nil {
		return nil, nil, err
	}
	add("matrix.yaml", "matrix.yaml", string(text))
	var ticket bytes.Buffer
	if err := o.Expanded.Ticket().WriteJSON(&ticket); err != nil {
		return nil, nil, err
	}
	add("ticket.json", "ticket.json", ticket.String())
	files := o.Matrix.Files()
	for i, path := range slices.Sorted(maps.Keys(files)) {
		if !filepath.IsLocal(path) {
			return nil, nil, exitcode.BadInput(fmt.Errorf("kubernetes: the profile %s is not below the matrix's folder, where the pods could have it", path))
		}
		text, err := files[path].YAML()
		if err != nil {
			return nil, nil, err
		}
		add(fmt.Sprintf("profile-%d.yaml", i), filepath.ToSlash(filepath.Clean(path)), string(text))
	}
	if size > maxConfigMap {
		return nil, nil, exitcode.BadInput(fmt.Errorf("kubernetes: matrix, profiles and ticket have %d KiB, and a ConfigMap holds %d: split the matrix", size>>10, maxConfigMap>>10))
	}
	return c, items, nil
}

func (o Options) job(meta metav1.ObjectMeta, config, arch string, p part, items []corev1.KeyToPath) *batchv1.Job {
	k := o.Kubernetes
	completions, parallelism, retries := int32(p.shards), int32(min(max(k.Parallelism, 1), p.shards)), int32(o.Retries)
	mode, privileged, token, grace := batchv1.IndexedCompletion, true, false, int64(podGrace)
	resources := corev1.ResourceList{
		corev1.ResourceCPU:              *resource.NewQuantity(podCPUs, resource.DecimalSI),
		corev1.ResourceMemory:           *resource.NewQuantity(podMemoryMiB<<20, resource.BinarySI),
		corev1.ResourceEphemeralStorage: *resource.NewQuantity(podDiskMiB<<20, resource.BinarySI),
	}
	accel := "auto"
	if k.KVM != "" && slices.ContainsFunc(p.cells, matrix.Cell.Booted) {
		resources[corev1.ResourceName(k.KVM)] = *resource.NewQuantity(1, resource.DecimalSI)
		accel = "kvm"
	}
	onExit := func(action batchv1.PodFailurePolicyAction, code int32) batchv1.PodFailurePolicyRule {
		container := containerName
		return batchv1.PodFailurePolicyRule{Action: action, OnExitCodes: &batchv1.PodFailurePolicyOnExitCodesRequirement{
			ContainerName: &container, Operator: batchv1.PodFailurePolicyOnExitCodesOpIn, Values: []int32{code},
		}}
	}
	return &batchv1.Job{
		TypeMeta: metav1.TypeMeta{APIVersion: "batch/v1", Kind: "Job"}, ObjectMeta: meta,
		Spec: batchv1.JobSpec{
			CompletionMode: &mode, Completions: &completions, Parallelism: &parallelism, BackoffLimitPerIndex: &retries,
			PodFailurePolicy: &batchv1.PodFailurePolicy{Rules: []batchv1.PodFailurePolicyRule{
				// A node that is drained says nothing about an image.
				{Action: batchv1.PodFailurePolicyActionIgnore, OnPodConditions: []batchv1.PodFailurePolicyOnPodConditionsPattern{
					{Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue}}},
				onExit(batchv1.PodFailurePolicyActionFailIndex, exitcode.Failed),
				onExit(batchv1.PodFailurePolicyActionFailJob, exitcode.Usage),
				onExit(batchv1.PodFailurePolicyActionCount, exitcode.Infrastructure),
			}},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: meta.Labels},
				Spec: corev1.PodSpec{
					RestartPolicy: corev1.RestartPolicyNever,
					NodeSelector:  map[string]string{corev1.LabelArchStable: arch},
					// A build runs what packages bring; the cluster is not its business.
					AutomountServiceAccountToken:  &token,
					TerminationGracePeriodSeconds: &grace,
					Containers: []corev1.Container{{
						Name: containerName, Image: k.Image,
						Command: []string{"nodeimage"},
						Args: []string{"matrix", "run", matrixMount + "/matrix.yaml", "--ticket", matrixMount + "/ticket.json",
							"--shard", fmt.Sprintf("$(JOB_COMPLETION_INDEX)/%d", p.shards), "--retries", "0", "--accel", accel,
							"--cpus", fmt.Sprint(podCPUs), "--memory", fmt.Sprint(podMemoryMiB),
							"--output", resultsMount + "/" + meta.Name + "/$(JOB_COMPLETION_INDEX)"},
						Env:       []corev1.EnvVar{{Name: "NODEIMAGE_CACHE", Value: cacheMount}},
						Resources: corev1.ResourceRequirements{Requests: resources, Limits: resources},
						// A build makes namespaces, mounts and device nodes.
						SecurityContext: &corev1.SecurityContext{Privileged: &privileged},
						VolumeMounts: []corev1.VolumeMount{
							{Name: "matrix", MountPath: matrixMount, ReadOnly: true},
							{Name: "results", MountPath: resultsMount},
							{Name: "cache", MountPath: cacheMount},
						},
					}},
					Volumes: []corev1.Volume{
						{Name: "matrix", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{
							LocalObjectReference: corev1.LocalObjectReference{Name: config}, Items: items}}},
						{Name: "results", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: k.Claim}}},
						{Name: "cache", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}},
					},
				},
			},
		},
	}
}
