package cluster

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Driver is how a container's cgroup was made.
type Driver string

// The drivers a cgroup path gives away.
const (
	DriverSystemd  Driver = "systemd"
	DriverCgroupfs Driver = "cgroupfs"
	// DriverMismatch: the kubelet asked for a systemd slice and runc, without
	// systemd, made a directory of that very name with literal colons, below
	// the cgroup that the runtime itself runs in (kubernetes#110177).
	DriverMismatch Driver = "mismatch"
)

// Placement is what a container's cgroup path says.
type Placement struct {
	Driver      Driver
	PodUID      string // with dashes, as the API has it (static pods: their config hash)
	ContainerID string
	Path        string // of the container's cgroup, without what lies below it
}

var (
	podSlice = `kubepods(?:-burstable|-besteffort)?-pod([0-9a-f_]+)\.slice`

	systemdPath  = regexp.MustCompile(`^/kubepods\.slice/(?:kubepods-(?:burstable|besteffort)\.slice/)?` + podSlice + `/cri-containerd-([0-9a-f]{64})\.scope`)
	cgroupfsPath = regexp.MustCompile(`^/kubepods/(?:burstable/|besteffort/)?pod([0-9a-f-]+)/([0-9a-f]{64})`)
	mismatchPath = regexp.MustCompile(`/` + podSlice + `:cri-containerd:([0-9a-f]{64})`)
	podSliceDir  = regexp.MustCompile(`/` + podSlice + `$`)
)

// ParseCgroup reads a cgroup v2 path as /proc/PID/cgroup has it (without
// "0::"). It returns false for a path that belongs to no CRI container.
func ParseCgroup(path string) (Placement, bool) {
	for _, form := range []struct {
		driver  Driver
		pattern *regexp.Regexp
	}{{DriverMismatch, mismatchPath}, {DriverSystemd, systemdPath}, {DriverCgroupfs, cgroupfsPath}} {
		if m := form.pattern.FindStringSubmatchIndex(path); m != nil {
			return Placement{
				Driver:      form.driver,
				PodUID:      strings.ReplaceAll(path[m[2]:m[3]], "_", "-"),
				ContainerID: path[m[4]:m[5]],
				Path:        path[:m[1]],
			}, true
		}
	}
	return Placement{}, false
}

// podControllers are what the kubelet wants in a pod slice before it believes
// that the pod exists (kubernetes pkg/kubelet/cm, Validate); a slice that
// loses one gets its pod killed.
var podControllers = []string{"cpu", "cpuset", "memory", "hugetlb", "pids"}

// JudgeCgroups returns what is wrong with the cgroups of a node that runs
// containers, each as a sentence; none means that the driver is systemd all
// the way down. It is deterministic from the first container on, long before
// a restart. ran is the number of containers that it judged: nothing wrong
// with none is not a verdict.
func JudgeCgroups(state NodeState) (problems []string, ran int) {
	seen := map[string]bool{}
	for _, p := range state.Processes {
		place, ok := ParseCgroup(p.Cgroup)
		if !ok || seen[place.Path] {
			continue
		}
		seen[place.Path] = true
		ran++
		if place.Driver != DriverSystemd {
			problems = append(problems, fmt.Sprintf("process %d (%s) of container %.12s is in %s: expected /kubepods.slice/…/cri-containerd-<id>.scope", p.PID, p.Comm, place.ContainerID, p.Cgroup))
		}
	}
	for _, c := range state.Cgroups {
		if place, ok := ParseCgroup(c.Path); ok && place.Path == c.Path && !seen[c.Path] && place.Driver != DriverSystemd {
			problems = append(problems, fmt.Sprintf("cgroup %s was not made by systemd", c.Path))
		}
	}
	if state.HasCgroup("/kubepods") {
		problems = append(problems, "/sys/fs/cgroup/kubepods exists: the kubelet manages cgroups itself, beside systemd")
	}
	if ran > 0 && !state.HasCgroup("/kubepods.slice") {
		problems = append(problems, "/sys/fs/cgroup/kubepods.slice does not exist although containers run")
	}
	return problems, ran
}

// JudgeControllers returns a sentence for each pod slice that lacks a
// controller which the root has and the kubelet wants.
func JudgeControllers(state NodeState) []string {
	var want []string
	for _, c := range podControllers {
		if slices.Contains(state.RootControllers, c) {
			want = append(want, c)
		}
	}
	var problems []string
	for _, c := range state.Cgroups {
		if !podSliceDir.MatchString(c.Path) {
			continue
		}
		var missing []string
		for _, w := range want {
			if !slices.Contains(c.Controllers, w) {
				missing = append(missing, w)
			}
		}
		if len(missing) > 0 {
			problems = append(problems, fmt.Sprintf("pod slice %s lacks controllers %s", c.Path, strings.Join(missing, ", ")))
		}
	}
	return problems
}
