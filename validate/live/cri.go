package live

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// criTimeout bounds one call: a runtime that hangs must not hold up a look at
// the rest of the node.
const criTimeout = 3 * time.Second

// CRI is what a container runtime says about itself.
type CRI struct {
	Name, Version string
	// Driver is the cgroup driver that the kubelet follows, systemd or
	// cgroupfs; empty if the runtime does not implement RuntimeConfig.
	Driver string
	// Disabled says that the socket serves no CRI at all.
	Disabled bool
}

// CRI asks the runtime behind a socket. The error is fs.ErrNotExist if nothing
// listens there, fs.ErrPermission if this process may not connect.
func (m *Machine) CRI(ctx context.Context, socket string) (CRI, error) {
	p := m.path(socket)
	if _, err := os.Stat(p); err != nil {
		return CRI{}, err
	}
	probe, err := (&net.Dialer{Timeout: criTimeout}).DialContext(ctx, "unix", p)
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return CRI{}, &fs.PathError{Op: "connect", Path: socket, Err: fs.ErrNotExist}
	case err != nil:
		return CRI{}, err
	}
	if err := probe.Close(); err != nil {
		return CRI{}, err
	}
	conn, err := grpc.NewClient("unix://"+p, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return CRI{}, fmt.Errorf("connecting to %s: %w", socket, err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(ctx, criTimeout)
	defer cancel()
	client := runtimeapi.NewRuntimeServiceClient(conn)
	version, err := client.Version(ctx, &runtimeapi.VersionRequest{})
	if status.Code(err) == codes.Unimplemented {
		return CRI{Disabled: true}, nil
	}
	if err != nil {
		// A runtime that stopped meanwhile is one that nobody listens for: the
		// kernel resets what a closing socket had not yet accepted.
		if probe, again := (&net.Dialer{Timeout: criTimeout}).DialContext(ctx, "unix", p); errors.Is(again, syscall.ECONNREFUSED) {
			return CRI{}, &fs.PathError{Op: "connect", Path: socket, Err: fs.ErrNotExist}
		} else if again == nil {
			_ = probe.Close()
		}
		return CRI{}, fmt.Errorf("asking %s for its version: %w", socket, err)
	}
	cri := CRI{Name: version.RuntimeName, Version: version.RuntimeVersion}
	config, err := client.RuntimeConfig(ctx, &runtimeapi.RuntimeConfigRequest{})
	switch {
	case status.Code(err) == codes.Unimplemented: // containerd 1.x
		return cri, nil
	case err != nil:
		return CRI{}, fmt.Errorf("asking %s for its cgroup driver: %w", socket, err)
	case config.GetLinux() == nil:
		return cri, nil
	}
	cri.Driver = "systemd"
	if config.GetLinux().GetCgroupDriver() == runtimeapi.CgroupDriver_CGROUPFS {
		cri.Driver = "cgroupfs"
	}
	return cri, nil
}
