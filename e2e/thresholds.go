package e2e

import (
	"time"

	"github.com/nodeimage/packer-plugin-nodeimage/e2e/machine"
)

// How long things may take. A threshold is an upper bound that a good image
// keeps with room to spare and a bad one breaks by far: the faults that the
// suite looks for keep a pod for ever, not for some seconds more. What each
// was derived from is in docs/thresholds.md, which a test compares with this.
const (
	// slackKVM and slackTCG are what a pod may take beyond its grace period
	// while twenty pods end at once and a StatefulSet restarts.
	slackKVM = 30 * time.Second
	slackTCG = 10 * time.Minute

	// nodeSlackKVM and nodeSlackTCG bound the time between a pod's leaving
	// the API and its last trace's leaving the node, counted from the first
	// look, when all have left the API. For a force-deleted pod that includes
	// the kill itself.
	nodeSlackKVM = 20 * time.Second
	nodeSlackTCG = 5 * time.Minute

	// stubbornTolerance is how much earlier than its grace period a pod that
	// only SIGKILL ends may be seen gone: grace periods are whole seconds.
	stubbornTolerance = time.Second

	// sandboxGC bounds the time until the kubelet's garbage collection, which
	// runs each minute, has removed the record of a dead sandbox.
	sandboxGC = 3 * time.Minute
)

// Limits of stages, for the slowest machine that the suite still judges.
const (
	bootLimit     = 15 * time.Minute
	initLimit     = 25 * time.Minute
	settleLimit   = 20 * time.Minute
	podsLimit     = 45 * time.Minute
	restartLimit  = 5 * time.Minute
	rebootLimit   = 15 * time.Minute
	commandLimit  = 3 * time.Minute
	evidenceLimit = 2 * time.Minute
	explainLimit  = 30 * time.Second
)

// onMachine is the limit of a spec that needs the booted machine, and onCluster
// of one that needs the cluster, where the spec's own part takes up to own. The
// boot and kubeadm init happen in whichever spec asks first, and any can be the
// first when only some run.
func onMachine(own time.Duration) time.Duration { return bootLimit + own }

func onCluster(own time.Duration) time.Duration { return onMachine(initLimit + settleLimit + own) }

// Poll intervals: small against what they wait for, large against what one
// look costs an emulated machine (about 0.3 s).
const (
	oracleInterval = 3 * time.Second
	nodeInterval   = 2 * time.Second
	soakInterval   = 10 * time.Second
	leaseInterval  = 5 * time.Second
)

// growBy is by how much the machine's disk is larger than the image, so that
// the root file system has something to grow into.
const growBy = 6 << 30

type thresholds struct {
	slack, nodeSlack time.Duration
}

func thresholdsFor(accel machine.Accel, slack time.Duration) thresholds {
	t := thresholds{slack: slackKVM, nodeSlack: nodeSlackKVM}
	if accel == machine.AccelTCG {
		t = thresholds{slack: slackTCG, nodeSlack: nodeSlackTCG}
	}
	if slack > 0 {
		t.slack = slack
	}
	return t
}
