package validate

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"testing"

	"google.golang.org/grpc"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// fakeCRI answers on containerd's socket. What it does not implement is
// refused as unimplemented, as containerd does.
type fakeCRI struct {
	runtimeapi.UnimplementedRuntimeServiceServer
	driver   string // empty: RuntimeConfig is not implemented, as in 1.7
	disabled bool   // the socket serves no CRI
}

func (f *fakeCRI) Version(context.Context, *runtimeapi.VersionRequest) (*runtimeapi.VersionResponse, error) {
	return &runtimeapi.VersionResponse{RuntimeName: "containerd", RuntimeVersion: "2.3.7"}, nil
}

func (f *fakeCRI) RuntimeConfig(ctx context.Context, r *runtimeapi.RuntimeConfigRequest) (*runtimeapi.RuntimeConfigResponse, error) {
	if f.driver == "" {
		return f.UnimplementedRuntimeServiceServer.RuntimeConfig(ctx, r)
	}
	driver := runtimeapi.CgroupDriver_SYSTEMD
	if f.driver == "cgroupfs" {
		driver = runtimeapi.CgroupDriver_CGROUPFS
	}
	return &runtimeapi.RuntimeConfigResponse{Linux: &runtimeapi.LinuxRuntimeConfiguration{CgroupDriver: driver}}, nil
}

func (f *fakeCRI) serve(t *testing.T, root string) {
	t.Helper()
	socket := filepath.Join(root, "run/containerd/containerd.sock")
	must(t, os.MkdirAll(filepath.Dir(socket), 0o755))
	listener, err := net.Listen("unix", socket)
	must(t, err)
	server := grpc.NewServer()
	if !f.disabled {
		runtimeapi.RegisterRuntimeServiceServer(server, f)
	}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
}
