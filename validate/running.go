package validate

import (
	"errors"
	"io/fs"
	"strings"
)

// running skips what is not the machine that this process runs on.
func (n *Node) running() (string, error) {
	if n.Live == nil {
		return "only a running node can tell; validate / on the node", nil
	}
	return "", nil
}

// runs skips nodes on which a program does not run.
func (n *Node) runs(name string) (string, error) {
	if reason, err := n.running(); reason != "" || err != nil {
		return reason, err
	}
	all, err := n.Live.Processes(name)
	if err == nil && len(all) == 0 {
		return name + " does not run", nil
	}
	return "", missing(err, name+" cannot be looked at")
}

// missing makes of a file that a running system does not have a reason to
// skip; anything else stays an error.
func missing(err error, reason string) error {
	if errors.Is(err, fs.ErrNotExist) {
		return absent("%s: %v", reason, err)
	}
	return err
}

// misplaced are the cgroups that a container of containerd must not be in:
// those that runc makes of systemd's names with the cgroupfs driver, and the
// kubelet's of the cgroupfs driver.
func misplaced(path string) bool {
	return strings.Contains(path, ".slice:cri-containerd:") || path == "/kubepods"
}

// inContainer are the cgroups of containers with the systemd driver.
func inContainer(path string) bool {
	return strings.Contains(path, "/cri-containerd-") && strings.HasSuffix(path, ".scope")
}
