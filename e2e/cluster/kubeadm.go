package cluster

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/run"
)

// Where the suite puts its files on the node, and where kubeadm puts its own.
const (
	configPath     = "/run/nodeimage-e2e/kubeadm.yaml"
	patchesDir     = "/run/nodeimage-e2e/patches"
	AdminConfig    = "/etc/kubernetes/admin.conf"
	conflistPath   = "/etc/cni/net.d/10-nodeimage-e2e.conflist"
	ipamState      = "/var/lib/cni/networks/nodeimage-e2e"
	criEndpoint    = "unix://" + criSocket
	podSubnet      = "10.244.0.0/16"
	ServiceDomain  = "cluster.local"
	serviceSubnet  = "10.96.0.0/12"
	minMemoryMiB   = 1700 // kubeadm's ControlPlaneMem
	minimumNumCPUs = 2    // kubeadm's ControlPlaneNumCPU
)

// Plan is what `kubeadm init` is asked to do.
type Plan struct {
	KubernetesVersion string // as `kubeadm version -o short` prints it: v1.37.2
	CPUs, MemoryMiB   int
	// Slow enlarges kubeadm's timeouts and eases the election of leaders for a
	// machine whose instructions are emulated. It changes nothing that the
	// suite judges.
	Slow bool
}

// IgnoredPreflightErrors names the preflight errors that a machine this small
// needs ignored; none for the default machine.
func (p Plan) IgnoredPreflightErrors() []string {
	ignored := []string{}
	if p.CPUs < minimumNumCPUs {
		ignored = append(ignored, "NumCPU")
	}
	if p.MemoryMiB < minMemoryMiB {
		ignored = append(ignored, "Mem")
	}
	return ignored
}

type arg struct {
	Name  string `yaml:"name"`
	Value string `yaml:"value"`
}

// Config renders the kubeadm configuration. It has no KubeletConfiguration on
// purpose: how the kubelet is configured is the image's and kubeadm's doing,
// and that is what gets tested.
func (p Plan) Config() ([]byte, error) {
	timeouts := map[string]string{}
	var election, scheduling, heartbeat, environment []arg
	algorithm := "RSA-2048" // kubeadm's own choice
	if p.Slow {
		timeouts = map[string]string{
			"controlPlaneComponentHealthCheck": "20m0s",
			"kubeletHealthCheck":               "10m0s",
			"kubernetesAPICall":                "10m0s",
			"etcdAPICall":                      "10m0s",
			"tlsBootstrap":                     "10m0s",
		}
		// A lease that is renewed a second late makes the controllers exit,
		// which would read as an unstable control plane. The scheduler needs no
		// election; the controller manager does, which without one exits when
		// the API server takes longer than ten seconds. Its lease may be long,
		// since ReleaseDeadLease does not wait for its end.
		scheduling = []arg{{"leader-elect", "false"}}
		election = []arg{
			{"leader-elect-lease-duration", "300s"},
			{"leader-elect-renew-deadline", "240s"},
			{"leader-elect-retry-period", "10s"},
		}
		// One member needs no heartbeat ten times a second.
		heartbeat = []arg{{"heartbeat-interval", "1000"}, {"election-timeout", "10000"}}
		// The API server opens a hundred connections to etcd, and emulation
		// takes a twentieth of a second for each signature with RSA.
		algorithm = "ECDSA-P256"
		// Memory is there, and time is not: the limit makes the collector work
		// as ever before it runs out.
		environment = []arg{{"GOGC", "400"}, {"GOMEMLIMIT", "700MiB"}}
	}
	initial := map[string]any{
		"apiVersion": "kubeadm.k8s.io/v1beta4",
		"kind":       "InitConfiguration",
		"nodeRegistration": map[string]any{
			"criSocket":             criEndpoint,
			"ignorePreflightErrors": p.IgnoredPreflightErrors(),
			"imagePullPolicy":       "Never",
			// One node runs everything.
			"taints": []any{},
		},
		"timeouts": timeouts,
	}
	if p.Slow {
		initial["patches"] = map[string]any{"directory": patchesDir}
	}
	documents := []any{
		initial,
		map[string]any{
			"apiVersion":          "kubeadm.k8s.io/v1beta4",
			"kind":                "ClusterConfiguration",
			"kubernetesVersion":   p.KubernetesVersion,
			"encryptionAlgorithm": algorithm,
			"apiServer":           map[string]any{"extraEnvs": environment},
			"networking": map[string]any{
				"dnsDomain":     ServiceDomain,
				"podSubnet":     podSubnet,
				"serviceSubnet": serviceSubnet,
			},
			"etcd":              map[string]any{"local": map[string]any{"extraArgs": heartbeat, "extraEnvs": environment}},
			"controllerManager": map[string]any{"extraArgs": election, "extraEnvs": environment},
			"scheduler":         map[string]any{"extraArgs": scheduling, "extraEnvs": environment},
		},
	}
	var b bytes.Buffer
	enc := yaml.NewEncoder(&b)
	enc.SetIndent(2)
	for _, d := range documents {
		if err := enc.Encode(d); err != nil {
			return nil, fmt.Errorf("rendering the kubeadm configuration: %w", err)
		}
	}
	if err := enc.Close(); err != nil {
		return nil, fmt.Errorf("rendering the kubeadm configuration: %w", err)
	}
	return b.Bytes(), nil
}

// readinessPatch lets the API server be asked for its readiness as often as the
// others are. kubeadm has it asked each second; with a TLS handshake and sixty
// checks a time that is a third of all that an idle API server does.
const readinessPatch = `spec:
  containers:
    - name: kube-apiserver
      readinessProbe:
        periodSeconds: 10
`

// conflist is the pod network: images ship none, and one node needs no more
// than a bridge. It masquerades nothing, since nothing leaves the machine and
// each rule costs an emulated one seconds a pod; portmap, which a pod with a
// port on the host uses, shows that the host's iptables works.
const conflist = `{
  "cniVersion": "1.0.0",
  "name": "nodeimage-e2e",
  "plugins": [
    {
      "type": "bridge",
      "bridge": "cni0",
      "isGateway": true,
      "ipMasq": false,
      "hairpinMode": true,
      "ipam": {
        "type": "host-local",
        "ranges": [[{"subnet": "10.244.0.0/24"}]],
        "routes": [{"dst": "0.0.0.0/0"}]
      }
    },
    {"type": "portmap", "capabilities": {"portMappings": true}}
  ]
}
`

// Version returns what `kubeadm version -o short` prints.
func Version(ctx context.Context, node run.Runner) (string, error) {
	out, err := Output(ctx, node, "kubeadm", "version", "-o", "short")
	if err != nil {
		return "", fmt.Errorf("asking kubeadm for its version: %w", err)
	}
	version := strings.TrimSpace(out)
	if !strings.HasPrefix(version, "v") {
		return "", fmt.Errorf("asking kubeadm for its version: it printed %q, expected v1.x.y", version)
	}
	return version, nil
}

// RequiredImages returns the names that kubeadm asks for, sorted.
func RequiredImages(ctx context.Context, node run.Runner, version string) ([]string, error) {
	out, err := Output(ctx, node, "kubeadm", "config", "images", "list", "--kubernetes-version", version)
	if err != nil {
		return nil, fmt.Errorf("asking kubeadm for its images: %w", err)
	}
	names := strings.Fields(out)
	slices.Sort(names)
	if len(names) == 0 {
		return nil, fmt.Errorf("asking kubeadm for its images: it printed none")
	}
	return names, nil
}

// Init writes the pod network and the configuration and runs `kubeadm init`.
// Its output goes to progress as it comes; the returned text has all of it.
// Cancelling ctx ends kubeadm and leaves the node half set up.
//
// A nil error proves little: with the wrong cgroup driver kubeadm succeeds and
// the cluster falls apart after it.
func Init(ctx context.Context, node Node, plan Plan, progress io.Writer) (string, error) {
	config, err := plan.Config()
	if err != nil {
		return "", err
	}
	if err := node.WriteFile(ctx, configPath, 0o600, bytes.NewReader(config)); err != nil {
		return "", fmt.Errorf("handing the node its kubeadm configuration: %w", err)
	}
	if plan.Slow {
		if err := node.WriteFile(ctx, patchesDir+"/kube-apiserver+strategic.yaml", 0o600, strings.NewReader(readinessPatch)); err != nil {
			return "", fmt.Errorf("handing the node kubeadm's patch: %w", err)
		}
	}
	if err := node.WriteFile(ctx, conflistPath, 0o644, strings.NewReader(conflist)); err != nil {
		return "", fmt.Errorf("handing the node its pod network: %w", err)
	}
	var text bytes.Buffer
	out := io.MultiWriter(&text, progress)
	res, err := node.Run(ctx, run.Cmd{Argv: []string{"kubeadm", "init", "--config", configPath}, Stdout: out})
	text.WriteString(res.Stderr)
	if err != nil {
		return text.String(), fmt.Errorf("kubeadm init: %w", err)
	}
	return text.String(), nil
}

// Preflight is one line of kubeadm's preflight checks.
type Preflight struct {
	Check string // FileContent--proc-sys-net-ipv4-ip_forward, Swap, …
	Error bool   // else a warning
	Text  string
}

var preflightLine = regexp.MustCompile(`(?m)^\s*\[(WARNING|ERROR) ([^\]]+)\]:? (.*)$`)

// ParsePreflight finds the preflight checks that complained in kubeadm's output.
func ParsePreflight(output string) []Preflight {
	var found []Preflight
	for _, m := range preflightLine.FindAllStringSubmatch(output, -1) {
		found = append(found, Preflight{Check: m[2], Error: m[1] == "ERROR", Text: m[3]})
	}
	return found
}

// FatalPreflight returns the complaints that are errors. kubeadm prints an
// error that it was told to ignore as a warning, so these are beyond the list.
func FatalPreflight(found []Preflight) []Preflight {
	return slices.DeleteFunc(slices.Clone(found), func(p Preflight) bool { return !p.Error })
}

// RestartAndWait restarts a unit and waits until systemd calls it active and
// ready answers without error.
func RestartAndWait(ctx context.Context, node run.Runner, unit string, ready func(context.Context) error) error {
	if _, err := Output(ctx, node, "systemctl", "restart", unit); err != nil {
		return fmt.Errorf("restarting %s: %w", unit, err)
	}
	return Poll(ctx, 500*time.Millisecond, func(ctx context.Context) error {
		unitState, err := UnitProperties(ctx, node, unit, "ActiveState")
		if err != nil {
			return err
		}
		if unitState["ActiveState"] != "active" {
			return fmt.Errorf("%s is %s", unit, unitState["ActiveState"])
		}
		return ready(ctx)
	})
}

// Poll calls try until it returns nil or ctx ends; then it returns the last
// error of try, which says more than "deadline exceeded".
func Poll(ctx context.Context, interval time.Duration, try func(context.Context) error) error {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		err := try(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", context.Cause(ctx), err)
		case <-ticker.C:
		}
	}
}
