package validate

import (
	"context"
	"errors"
)

func swapEnabled() Check {
	return Check{
		ID:    "swap-enabled",
		Title: "swap is turned on at boot, and the kubelet does not start",
		Why: `The kubelet says: running with swap on is not supported, please disable swap or set --fail-swap-on flag
to false. kubeadm only warns, so the first sign is a node that never becomes ready.`,
		Reads:      "/etc/fstab, swap units, zram-generator's configuration, and the kubelet's failSwapOn",
		Fix:        "remove the swap area; set failSwapOn: false only if swap is wanted",
		Severity:   Error,
		References: []string{"https://kubernetes.io/docs/setup/production-environment/tools/kubeadm/install-kubeadm/#swap-configuration", "kubernetes/kubernetes#53533"},
		Run:        runSwapEnabled,
	}
}

func runSwapEnabled(_ context.Context, n *Node) ([]Finding, error) {
	k, err := n.kubelet()
	if err != nil && !errors.Is(err, errAbsent) {
		return nil, err
	}
	if err == nil && !k.FailSwapOn.Value && k.FailSwapOn.Key != "" {
		return nil, nil
	}
	const want = "no swap"
	var found []Finding
	table, err := n.fstab()
	if err != nil {
		return nil, err
	}
	units, err := n.units()
	if err != nil {
		return nil, err
	}
	// A masked swap.target keeps what fstab's generator pulls in from starting.
	target, err := units.Unit("swap.target")
	if err != nil {
		return nil, err
	}
	for _, e := range table.Swaps() {
		if target.State == "masked" {
			break
		}
		found = append(found, Finding{Key: e.Spec, Got: "a swap area", Want: want,
			Fix: "sed -i -E '/^[^#]*[[:space:]]swap[[:space:]]/d' /etc/fstab\nswapoff -a"}.at(e.Pos))
	}
	swaps, err := units.Swaps()
	if err != nil {
		return nil, err
	}
	for _, s := range swaps {
		found = append(found, Finding{Key: s.Unit, Got: "swap on " + s.What, Want: want,
			Fix: "rm " + s.Pos.File + "\nsystemctl daemon-reload\nswapoff -a"}.at(s.Pos))
	}
	return found, nil
}
