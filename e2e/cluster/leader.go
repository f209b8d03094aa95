package cluster

import (
	"context"
	"fmt"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// controllerManager names the controller manager's container and its lease.
const controllerManager = "kube-controller-manager"

// ReleaseDeadLease deletes the controller manager's lease when the container
// that took it cannot run any more: the one that runs now was made after it was
// taken. On a node's only control plane nobody else can hold it, and waiting
// until it has run out would only cost its whole duration, after each of the
// controller manager's exits and after a reboot.
//
// It returns the ID of the container that holds the lease, and none while no
// container does. A lease that changes between the look and the deletion stays.
func ReleaseDeadLease(ctx context.Context, client kubernetes.Interface, containers []Container) (holder string, err error) {
	i := slices.IndexFunc(containers, func(c Container) bool { return c.Name == controllerManager && c.Running })
	if i < 0 {
		return "", nil
	}
	leases := client.CoordinationV1().Leases(metav1.NamespaceSystem)
	lease, err := leases.Get(ctx, controllerManager, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return "", nil
	case err != nil:
		return "", fmt.Errorf("reading the controller manager's lease: %w", err)
	case lease.Spec.AcquireTime == nil:
		return "", nil
	case lease.Spec.AcquireTime.After(containers[i].Created):
		return containers[i].ID, nil
	}
	err = leases.Delete(ctx, controllerManager, metav1.DeleteOptions{
		Preconditions: &metav1.Preconditions{UID: &lease.UID, ResourceVersion: &lease.ResourceVersion},
	})
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return "", fmt.Errorf("releasing the controller manager's lease: %w", err)
	}
	return "", nil
}
