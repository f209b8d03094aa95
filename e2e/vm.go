package e2e

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/nodeimage/packer-plugin-nodeimage/e2e/machine"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/run"
)

// vm is a booted machine, as the suite needs it.
type vm interface {
	machine.Node
	Report() machine.Report
	Err() error
	Dir() string
	ScanConsole(allow ...machine.Allow) ([]machine.Finding, error)
	BootTimes(ctx context.Context) (machine.BootTimes, error)
	// Starved says how the machine's host kept it from running lately; see
	// [machine.Machine.Starved].
	Starved() string
	Kill() error
}

type bootFunc func(ctx context.Context, o machine.Options) (vm, error)

func bootMachine(ctx context.Context, o machine.Options) (vm, error) {
	size, err := virtualSize(ctx, run.Host{}, o.Image)
	if err != nil {
		return nil, err
	}
	o.DiskSize = size + growBy
	m, err := machine.Start(ctx, o)
	if err != nil {
		return nil, err
	}
	return m, nil
}

// virtualSize returns the size of the disk that an image holds, in bytes,
// rounded up to sectors.
func virtualSize(ctx context.Context, host run.Runner, image string) (int64, error) {
	res, err := host.Run(ctx, run.Cmd{Argv: []string{"qemu-img", "info", "--output=json", image}})
	if err != nil {
		return 0, exitcode.BadInput(fmt.Errorf("reading the image's size (qemu-img is in the package qemu-utils): %w", err))
	}
	var info struct {
		VirtualSize int64 `json:"virtual-size"`
	}
	if err := json.Unmarshal([]byte(res.Stdout), &info); err != nil || info.VirtualSize <= 0 {
		return 0, exitcode.BadInput(fmt.Errorf("reading the image's size: qemu-img said %q", res.Stdout))
	}
	return (info.VirtualSize + 511) / 512 * 512, nil
}
