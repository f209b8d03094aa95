package cluster

import (
	"context"
	"errors"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/run"
)

type fakeRuntime struct {
	runtimeapi.UnimplementedRuntimeServiceServer
	driver *runtimeapi.RuntimeConfigResponse
	err    error
}

func (f *fakeRuntime) RuntimeConfig(context.Context, *runtimeapi.RuntimeConfigRequest) (*runtimeapi.RuntimeConfigResponse, error) {
	return f.driver, f.err
}

func (f *fakeRuntime) Version(context.Context, *runtimeapi.VersionRequest) (*runtimeapi.VersionResponse, error) {
	return &runtimeapi.VersionResponse{RuntimeName: "containerd", RuntimeVersion: "v2.3.7"}, nil
}

func (f *fakeRuntime) ListPodSandbox(context.Context, *runtimeapi.ListPodSandboxRequest) (*runtimeapi.ListPodSandboxResponse, error) {
	return &runtimeapi.ListPodSandboxResponse{Items: []*runtimeapi.PodSandbox{{
		Id: "s1", State: runtimeapi.PodSandboxState_SANDBOX_READY, CreatedAt: 5e9,
		Metadata: &runtimeapi.PodSandboxMetadata{Name: "kube-proxy-x", Namespace: "kube-system", Uid: "u1", Attempt: 2},
	}}}, nil
}

func (f *fakeRuntime) ListContainers(context.Context, *runtimeapi.ListContainersRequest) (*runtimeapi.ListContainersResponse, error) {
	return &runtimeapi.ListContainersResponse{Containers: []*runtimeapi.Container{{
		Id: "c1", PodSandboxId: "s1", State: runtimeapi.ContainerState_CONTAINER_RUNNING, CreatedAt: 6e9,
		Metadata: &runtimeapi.ContainerMetadata{Name: "kube-proxy", Attempt: 1},
		Labels:   map[string]string{"io.kubernetes.pod.uid": "u1"},
	}}}, nil
}

type fakeImages struct {
	runtimeapi.UnimplementedImageServiceServer
}

func (fakeImages) ListImages(context.Context, *runtimeapi.ListImagesRequest) (*runtimeapi.ListImagesResponse, error) {
	return &runtimeapi.ListImagesResponse{Images: []*runtimeapi.Image{{Id: "i1", RepoTags: []string{"b:1", "a:1"}, Pinned: true}}}, nil
}

// hostNode runs the bridge on this host, against a socket of the test's own.
type hostNode struct{ socket string }

func (n hostNode) Run(ctx context.Context, cmd run.Cmd) (run.Result, error) {
	argv := cmd.Argv
	if argv[len(argv)-1] == criSocket {
		argv = append(argv[:len(argv)-1:len(argv)-1], n.socket)
	}
	c := exec.CommandContext(ctx, argv[0], argv[1:]...)
	c.Stdout = cmd.Stdout
	stdin, err := c.StdinPipe()
	if err != nil {
		return run.Result{}, err
	}
	go func() {
		buf := make([]byte, 4096)
		for {
			n, err := cmd.Stdin.Read(buf)
			if n > 0 {
				_, _ = stdin.Write(buf[:n])
			}
			if err != nil {
				_ = stdin.Close()
				return
			}
		}
	}()
	return run.Result{}, c.Run()
}

func serveCRI(t *testing.T, services ...func(*grpc.Server)) *CRI {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "cri.sock")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	for _, s := range services {
		s(server)
	}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	cri, err := DialCRI(hostNode{socket})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cri.Close() })
	return cri
}

// The client talks gRPC through the very perl command that runs on nodes.
func TestCRIThroughTheBridge(t *testing.T) {
	t.Parallel()
	runtime := &fakeRuntime{driver: &runtimeapi.RuntimeConfigResponse{Linux: &runtimeapi.LinuxRuntimeConfiguration{CgroupDriver: runtimeapi.CgroupDriver_SYSTEMD}}}
	cri := serveCRI(t,
		func(s *grpc.Server) { runtimeapi.RegisterRuntimeServiceServer(s, runtime) },
		func(s *grpc.Server) { runtimeapi.RegisterImageServiceServer(s, fakeImages{}) })
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if got, err := cri.CgroupDriver(ctx); err != nil || got != "SYSTEMD" {
		t.Errorf("driver %q, %v", got, err)
	}
	sandboxes, err := cri.Sandboxes(ctx)
	if diff := cmp.Diff([]Sandbox{{"s1", "kube-system", "kube-proxy-x", "u1", 2, true, time.Unix(5, 0)}}, sandboxes); err != nil || diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
	containers, err := cri.Containers(ctx)
	if diff := cmp.Diff([]Container{{"c1", "kube-proxy", "s1", "u1", 1, true, time.Unix(6, 0)}}, containers); err != nil || diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
	images, err := cri.Images(ctx)
	if diff := cmp.Diff([]Image{{[]string{"a:1", "b:1"}, true}}, images); err != nil || diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}

	runtime.driver, runtime.err = nil, status.Error(codes.Unimplemented, "unknown method RuntimeConfig for service runtime.v1.RuntimeService")
	if _, err := cri.CgroupDriver(ctx); !errors.Is(err, ErrNoRuntimeConfig) {
		t.Errorf("a runtime without RuntimeConfig gives %v", err)
	}
}

// Docker's package disables the CRI plugin; that must not read as the harmless
// "too old for RuntimeConfig".
func TestCRIDisabled(t *testing.T) {
	t.Parallel()
	cri := serveCRI(t)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	_, err := cri.CgroupDriver(ctx)
	if err == nil || errors.Is(err, ErrNoRuntimeConfig) || !strings.Contains(err.Error(), "unknown service runtime.v1.RuntimeService") {
		t.Errorf("got %v", err)
	}
}
