// Package cluster runs kubeadm on a node and reads what the node and the
// cluster are doing: cgroups, processes, mounts, containerd's effective
// configuration, the CRI, events and pods over time.
//
// It knows nothing about virtual machines: everything goes through [Node], so
// that it works on any machine that can be reached.
package cluster

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"net"
	"strings"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/run"
)

// Node is the machine that kubeadm runs on. Commands run as root.
type Node interface {
	run.Runner
	ReadFile(ctx context.Context, path string) ([]byte, error)
	WriteFile(ctx context.Context, path string, mode fs.FileMode, content io.Reader) error
	Dial(ctx context.Context, network, address string) (net.Conn, error)
	Reboot(ctx context.Context) error
}

// Output runs argv on the node and returns its standard output.
func Output(ctx context.Context, node run.Runner, argv ...string) (string, error) {
	res, err := node.Run(ctx, run.Cmd{Argv: argv})
	return res.Stdout, err
}

// Perl runs a script on the node with the interpreter that every Debian and
// Ubuntu node has (perl-base is essential), so that nothing needs to be
// installed for a test.
func Perl(ctx context.Context, node run.Runner, script string, args ...string) (string, error) {
	res, err := node.Run(ctx, run.Cmd{
		Argv:  append([]string{"perl", "-"}, args...),
		Stdin: strings.NewReader(script),
	})
	return res.Stdout, err
}

// UnitProperties returns properties of a systemd unit as systemd knows them,
// drop-ins included.
func UnitProperties(ctx context.Context, node run.Runner, unit string, names ...string) (map[string]string, error) {
	out, err := Output(ctx, node, "systemctl", "show", unit, "--property="+strings.Join(names, ","))
	if err != nil {
		return nil, fmt.Errorf("reading properties of %s: %w", unit, err)
	}
	properties := map[string]string{}
	for l := range strings.Lines(out) {
		if key, value, ok := strings.Cut(strings.TrimRight(l, "\n"), "="); ok {
			properties[key] = value
		}
	}
	for _, name := range names {
		if _, ok := properties[name]; !ok {
			return nil, fmt.Errorf("reading properties of %s: systemd did not answer for %s", unit, name)
		}
	}
	return properties, nil
}
