package cluster

import (
	"context"
	_ "embed"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/run"
)

//go:embed probe.pl
var probeScript string

// NodeState is what runs in containers on a node at one moment.
type NodeState struct {
	BootID          string
	Ticks           uint64 // clock ticks since boot, a hundred a second
	RootControllers []string
	Processes       []Process // in containers, and the runtime's and the kubelet's own
	Cgroups         []Cgroup  // of pods and containers
	Mounts          []Mount   // of pods, containers and network namespaces
}

// Process is one process. PID and Start together identify it on one boot.
type Process struct {
	PID, PPID int
	Start     uint64 // clock ticks since boot
	Cgroup    string // cgroup v2 path
	AppArmor  string // label with mode, such as "cri-containerd.apparmor.d (enforce)"
	NetNS     string // "net:[inode]"
	Comm      string
	Command   string
}

// Cgroup is one directory of the cgroup tree.
type Cgroup struct {
	Path        string
	Controllers []string
}

// Mount is one mount of the host.
type Mount struct {
	Point, Root, Type string
}

// Probe reads the node's state in one command.
func Probe(ctx context.Context, node run.Runner) (NodeState, error) {
	out, err := Perl(ctx, node, probeScript)
	if err != nil {
		return NodeState{}, fmt.Errorf("probing the node: %w", err)
	}
	return parseProbe(out)
}

func parseProbe(out string) (NodeState, error) {
	var s NodeState
	n := 0
	for l := range strings.Lines(out) {
		n++
		f := strings.Split(strings.TrimRight(l, "\n"), "\t")
		bad := func(err error) (NodeState, error) {
			return NodeState{}, fmt.Errorf("reading the probe's line %d %q: %w", n, l, err)
		}
		want := map[string]int{"B": 3, "R": 2, "P": 9, "C": 3, "M": 4}[f[0]]
		if want == 0 || len(f) != want {
			return bad(fmt.Errorf("%d fields, expected %d", len(f), want))
		}
		switch f[0] {
		case "B":
			ticks, err := strconv.ParseUint(f[2], 10, 64)
			if err != nil {
				return bad(err)
			}
			s.BootID, s.Ticks = f[1], ticks
		case "R":
			s.RootControllers = strings.Fields(f[1])
		case "P":
			pid, err1 := strconv.Atoi(f[1])
			ppid, err2 := strconv.Atoi(f[2])
			start, err3 := strconv.ParseUint(f[3], 10, 64)
			for _, err := range []error{err1, err2, err3} {
				if err != nil {
					return bad(err)
				}
			}
			s.Processes = append(s.Processes, Process{pid, ppid, start, f[4], f[5], f[6], f[7], f[8]})
		case "C":
			s.Cgroups = append(s.Cgroups, Cgroup{f[1], strings.Fields(f[2])})
		case "M":
			s.Mounts = append(s.Mounts, Mount{f[1], f[2], f[3]})
		}
	}
	if s.BootID == "" {
		return NodeState{}, fmt.Errorf("reading the probe: no boot ID in %d lines, so it did not run to its end", n)
	}
	return s, nil
}

// HasCgroup tells whether the cgroup directory exists.
func (s NodeState) HasCgroup(path string) bool {
	return slices.ContainsFunc(s.Cgroups, func(c Cgroup) bool { return c.Path == path })
}

// CgroupPaths returns the distinct cgroups of container processes, sorted.
func (s NodeState) CgroupPaths() []string {
	var paths []string
	for _, p := range s.Processes {
		if strings.Contains(p.Cgroup, "kubepods") || strings.Contains(p.Cgroup, "cri-containerd") {
			paths = append(paths, p.Cgroup)
		}
	}
	slices.Sort(paths)
	return slices.Compact(paths)
}

// Pod returns the processes of one pod, the pause process included.
func (s NodeState) Pod(uid string) []Process {
	var ps []Process
	for _, p := range s.Processes {
		if place, ok := ParseCgroup(p.Cgroup); ok && place.PodUID == uid {
			ps = append(ps, p)
		}
	}
	return ps
}

// Traces are the names by which a pod's remains can be found on a node after
// the API has forgotten it.
type Traces struct {
	UID string
	IDs []string // of its containers and sandboxes
	// NetNS are the mount points of its network namespaces. Inode numbers
	// would not do: the kernel hands freed ones out again.
	NetNS []string
}

// TracesOf collects the traces of a pod while it runs. Host-network pods have
// no namespace of their own and so no NetNS.
func (s NodeState) TracesOf(uid string) Traces {
	t := Traces{UID: uid}
	for _, p := range s.Pod(uid) {
		place, _ := ParseCgroup(p.Cgroup)
		t.IDs = append(t.IDs, place.ContainerID)
		for _, m := range s.Mounts {
			if m.Type == "nsfs" && m.Root == p.NetNS {
				t.NetNS = append(t.NetNS, m.Point)
			}
		}
	}
	slices.Sort(t.IDs)
	t.IDs = slices.Compact(t.IDs)
	slices.Sort(t.NetNS)
	t.NetNS = slices.Compact(t.NetNS)
	return t
}

// Remains returns what is left of a pod on the node: processes, shims,
// cgroups, mounts, network namespaces. None means that it is gone.
func (s NodeState) Remains(t Traces) []string {
	var left []string
	slicePart := "pod" + strings.ReplaceAll(t.UID, "-", "_")
	mentions := func(text string) bool {
		return strings.Contains(text, "pod"+t.UID) || strings.Contains(text, slicePart) ||
			strings.Contains(text, "/pods/"+t.UID) ||
			slices.ContainsFunc(t.IDs, func(id string) bool { return strings.Contains(text, id) })
	}
	for _, p := range s.Processes {
		if mentions(p.Cgroup) {
			left = append(left, fmt.Sprintf("process %d (%s) in %s", p.PID, p.Comm, p.Cgroup))
		} else if strings.HasPrefix(p.Comm, "containerd-shim") && mentions(p.Command) {
			left = append(left, fmt.Sprintf("shim %d: %s", p.PID, p.Command))
		}
	}
	for _, c := range s.Cgroups {
		if mentions(c.Path) {
			left = append(left, "cgroup "+c.Path)
		}
	}
	for _, m := range s.Mounts {
		if mentions(m.Point) || slices.Contains(t.NetNS, m.Point) {
			left = append(left, fmt.Sprintf("mount %s (%s)", m.Point, m.Type))
		}
	}
	return left
}

// passing is the age, in clock ticks, below which a process of a container may
// be one that ends by itself: an exec probe, or kube-proxy's iptables, which
// takes several seconds under emulation.
const passing = 60 * 100

// Survivors compares two states of one boot and returns a sentence for each
// container process of before that is gone or was replaced in after. The first
// process of each container counts, and of the others those that had lived for
// a minute: what is younger may have ended by itself.
func Survivors(before, after NodeState) []string {
	if before.BootID != after.BootID {
		return []string{fmt.Sprintf("the node rebooted: boot ID was %s and is %s", before.BootID, after.BootID)}
	}
	alive := map[int]uint64{}
	for _, p := range after.Processes {
		alive[p.PID] = p.Start
	}
	first := map[string]uint64{}
	for _, p := range before.Processes {
		if start, ok := first[p.Cgroup]; !ok || p.Start < start {
			first[p.Cgroup] = p.Start
		}
	}
	var lost []string
	for _, p := range before.Processes {
		if _, ok := ParseCgroup(p.Cgroup); !ok {
			continue
		}
		if p.Start > first[p.Cgroup] && p.Start+passing > before.Ticks {
			continue
		}
		if start, ok := alive[p.PID]; !ok || start != p.Start {
			lost = append(lost, fmt.Sprintf("process %d (%s) in %s", p.PID, p.Comm, p.Cgroup))
		}
	}
	return lost
}
