package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/run"
)

// bridgeScript joins its standard streams to a unix socket. The socket belongs
// to root and an SSH user need not be root, so a forwarded socket would be
// refused where a command that runs as root is not.
const bridgeScript = `use strict; use warnings; use IO::Socket::UNIX; use IO::Select;
my $s = IO::Socket::UNIX->new(Peer => $ARGV[0]) or die "connecting to $ARGV[0]: $!\n";
my $sel = IO::Select->new(\*STDIN, $s);
sub pass { my ($from, $to) = @_;
  my $n = sysread($from, my $buf, 65536);
  exit 0 unless $n;
  for (my $off = 0; $off < $n;) { my $w = syswrite($to, $buf, $n - $off, $off); exit 1 unless defined $w; $off += $w; } }
while (my @ready = $sel->can_read) { for my $fh (@ready) { $fh == $s ? pass($s, \*STDOUT) : pass(\*STDIN, $s); } }`

// bridge opens a connection to a unix socket of the node through a command
// that runs as root there. Closing the connection ends the command.
func bridge(ctx context.Context, node run.Runner, socket string) net.Conn {
	near, far := net.Pipe()
	// The dialer's context ends with the dial; the command lives as long as
	// the connection does.
	go func() {
		// Its error needs no second way out: the caller sees the connection
		// closed, and gRPC reports the runtime as unavailable.
		_, _ = node.Run(context.WithoutCancel(ctx), run.Cmd{
			Argv:   []string{"perl", "-e", bridgeScript, socket},
			Stdin:  far,
			Stdout: far,
		})
		_ = far.Close()
	}()
	return near
}

// CRI is a client of the node's container runtime.
type CRI struct {
	conn    *grpc.ClientConn
	runtime runtimeapi.RuntimeServiceClient
	images  runtimeapi.ImageServiceClient
}

// DialCRI prepares a client; the connection is made on first use and again
// after the runtime was restarted.
func DialCRI(node run.Runner) (*CRI, error) {
	conn, err := grpc.NewClient("passthrough:///"+criSocket,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, socket string) (net.Conn, error) {
			return bridge(ctx, node, socket), nil
		}))
	if err != nil {
		return nil, fmt.Errorf("preparing a CRI client: %w", err)
	}
	return newCRI(conn), nil
}

func newCRI(conn *grpc.ClientConn) *CRI {
	return &CRI{conn, runtimeapi.NewRuntimeServiceClient(conn), runtimeapi.NewImageServiceClient(conn)}
}

// Close ends the connection and the command behind it.
func (c *CRI) Close() error { return c.conn.Close() }

// ErrNoRuntimeConfig says that the runtime does not tell its cgroup driver:
// all of containerd 1.x. The kubelet then uses its own configuration.
var ErrNoRuntimeConfig = errors.New("the runtime does not implement RuntimeConfig")

// CgroupDriver returns what the runtime tells the kubelet: SYSTEMD or CGROUPFS.
func (c *CRI) CgroupDriver(ctx context.Context) (string, error) {
	res, err := c.runtime.RuntimeConfig(ctx, &runtimeapi.RuntimeConfigRequest{})
	if status.Code(err) == codes.Unimplemented {
		// Both "unknown method" (all 1.7) and "unknown service" (the CRI
		// plugin is off) have this code, and only the first is harmless.
		if _, versionErr := c.Version(ctx); versionErr != nil {
			return "", versionErr
		}
		return "", fmt.Errorf("%w: %w", ErrNoRuntimeConfig, err)
	}
	if err != nil {
		return "", fmt.Errorf("asking the runtime for its configuration: %w", err)
	}
	if res.GetLinux() == nil {
		return "", fmt.Errorf("%w: the answer has no Linux section", ErrNoRuntimeConfig)
	}
	return res.GetLinux().GetCgroupDriver().String(), nil
}

// Version returns the runtime's name and version.
func (c *CRI) Version(ctx context.Context) (string, error) {
	res, err := c.runtime.Version(ctx, &runtimeapi.VersionRequest{})
	if err != nil {
		return "", fmt.Errorf("asking the runtime for its version: %w", err)
	}
	return res.GetRuntimeName() + " " + res.GetRuntimeVersion(), nil
}

// Sandbox is one pod sandbox that the runtime knows.
type Sandbox struct {
	ID, Namespace, Pod, UID string
	Attempt                 uint32 // how often the kubelet had to make it anew
	Ready                   bool
	Created                 time.Time
}

// Sandboxes returns all sandboxes, the stopped ones included.
func (c *CRI) Sandboxes(ctx context.Context) ([]Sandbox, error) {
	res, err := c.runtime.ListPodSandbox(ctx, &runtimeapi.ListPodSandboxRequest{})
	if err != nil {
		return nil, fmt.Errorf("listing pod sandboxes: %w", err)
	}
	var all []Sandbox
	for _, s := range res.GetItems() {
		all = append(all, Sandbox{
			ID: s.GetId(), Namespace: s.GetMetadata().GetNamespace(), Pod: s.GetMetadata().GetName(), UID: s.GetMetadata().GetUid(),
			Attempt: s.GetMetadata().GetAttempt(),
			Ready:   s.GetState() == runtimeapi.PodSandboxState_SANDBOX_READY,
			Created: time.Unix(0, s.GetCreatedAt()),
		})
	}
	return all, nil
}

// Container is one container that the runtime knows.
type Container struct {
	ID, Name, SandboxID, PodUID string
	Attempt                     uint32
	Running                     bool
	Created                     time.Time
}

// Containers returns all containers, the exited ones included.
func (c *CRI) Containers(ctx context.Context) ([]Container, error) {
	res, err := c.runtime.ListContainers(ctx, &runtimeapi.ListContainersRequest{})
	if err != nil {
		return nil, fmt.Errorf("listing containers: %w", err)
	}
	var all []Container
	for _, k := range res.GetContainers() {
		all = append(all, Container{
			ID: k.GetId(), Name: k.GetMetadata().GetName(), SandboxID: k.GetPodSandboxId(),
			PodUID: k.GetLabels()["io.kubernetes.pod.uid"], Attempt: k.GetMetadata().GetAttempt(),
			Running: k.GetState() == runtimeapi.ContainerState_CONTAINER_RUNNING,
			Created: time.Unix(0, k.GetCreatedAt()),
		})
	}
	return all, nil
}

// Image is one image that the runtime holds.
type Image struct {
	Names  []string // repository:tag, sorted
	Pinned bool     // exempt from the kubelet's garbage collection
}

// Images returns all images that the runtime holds.
func (c *CRI) Images(ctx context.Context) ([]Image, error) {
	res, err := c.images.ListImages(ctx, &runtimeapi.ListImagesRequest{})
	if err != nil {
		return nil, fmt.Errorf("listing images: %w", err)
	}
	var all []Image
	for _, i := range res.GetImages() {
		names := slices.Clone(i.GetRepoTags())
		slices.Sort(names)
		all = append(all, Image{names, i.GetPinned()})
	}
	return all, nil
}
