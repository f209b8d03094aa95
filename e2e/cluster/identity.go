package cluster

import (
	"fmt"
	"maps"
	"slices"
)

// Identity is what must not change while a pod just runs.
type Identity struct {
	Restarts  int32  // of the container, as the API has it
	Container string // ID of the running container
	Sandbox   string // ID of the ready sandbox
	Attempt   uint32 // of the sandbox: how often it was made anew
}

// Identities maps "namespace/pod container" to what must not change.
type Identities map[string]Identity

// Identify joins what the API and the runtime know of the pods that run in a
// namespace. Static pods have another UID in the runtime than in the API, so
// pods are matched by name.
func Identify(namespace string, pods []PodRecord, sandboxes []Sandbox, containers []Container) (Identities, error) {
	ready := map[string]Sandbox{}
	for _, s := range sandboxes {
		if s.Namespace == namespace && s.Ready {
			if other, ok := ready[s.Pod]; ok {
				return nil, fmt.Errorf("pod %s/%s has two ready sandboxes, %s and %s", namespace, s.Pod, other.ID, s.ID)
			}
			ready[s.Pod] = s
		}
	}
	identities := Identities{}
	for _, p := range pods {
		if p.Namespace != namespace || !p.Gone.IsZero() {
			continue
		}
		sandbox, ok := ready[p.Name]
		if !ok {
			return nil, fmt.Errorf("pod %s/%s has no ready sandbox", namespace, p.Name)
		}
		for _, status := range p.Last.Status.ContainerStatuses {
			identity := Identity{Restarts: status.RestartCount, Sandbox: sandbox.ID, Attempt: sandbox.Attempt}
			for _, c := range containers {
				if c.SandboxID == sandbox.ID && c.Name == status.Name && c.Running {
					identity.Container = c.ID
				}
			}
			if identity.Container == "" {
				return nil, fmt.Errorf("container %s of pod %s/%s does not run", status.Name, namespace, p.Name)
			}
			identities[fmt.Sprintf("%s/%s %s", namespace, p.Name, status.Name)] = identity
		}
	}
	return identities, nil
}

// Changes returns a sentence for everything that is different in after.
func (before Identities) Changes(after Identities) []string {
	var changes []string
	for _, name := range slices.Sorted(maps.Keys(before)) {
		b := before[name]
		a, ok := after[name]
		if !ok {
			changes = append(changes, name+" is gone")
			continue
		}
		say := func(what string, old, new any) {
			changes = append(changes, fmt.Sprintf("%s: %s was %v and is %v", name, what, old, new))
		}
		if a.Restarts != b.Restarts {
			say("restart count", b.Restarts, a.Restarts)
		}
		if a.Container != b.Container {
			say("container ID", b.Container, a.Container)
		}
		if a.Sandbox != b.Sandbox {
			say("sandbox ID", b.Sandbox, a.Sandbox)
		}
		if a.Attempt != b.Attempt {
			say("sandbox attempt", b.Attempt, a.Attempt)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(after)) {
		if _, ok := before[name]; !ok {
			changes = append(changes, name+" is new")
		}
	}
	return changes
}
