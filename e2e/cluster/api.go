package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// Connect returns a client for the cluster that kubeadm made on node. Its
// connections are opened from inside the node, so that no port needs to be
// forwarded and the API server's certificate matches.
func Connect(ctx context.Context, node Node) (kubernetes.Interface, error) {
	kubeconfig, err := node.ReadFile(ctx, AdminConfig)
	if err != nil {
		return nil, fmt.Errorf("fetching the administrator's kubeconfig: %w", err)
	}
	config, err := clientcmd.RESTConfigFromKubeConfig(kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", AdminConfig, err)
	}
	config.Dial = node.Dial
	config.QPS, config.Burst = 100, 200
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("making a client for the cluster: %w", err)
	}
	return client, nil
}

// RedactKubeconfig returns a kubeconfig without keys, certificates, tokens and
// passwords, for the report.
func RedactKubeconfig(kubeconfig []byte) ([]byte, error) {
	config, err := clientcmd.Load(kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("reading a kubeconfig to redact: %w", err)
	}
	// Replaced as a whole rather than field by field, so that a kind of
	// credential nobody thought of cannot slip through.
	for name := range config.AuthInfos {
		config.AuthInfos[name] = clientcmdapi.NewAuthInfo()
	}
	return clientcmd.Write(*config)
}

// WaitServiceAccount waits for the default service account of a namespace.
// Pods made before it exist are refused.
func WaitServiceAccount(ctx context.Context, client kubernetes.Interface, namespace string) error {
	return Poll(ctx, time.Second, func(ctx context.Context) error {
		_, err := client.CoreV1().ServiceAccounts(namespace).Get(ctx, "default", metav1.GetOptions{})
		if err != nil {
			return fmt.Errorf("waiting for the service account %s/default: %w", namespace, err)
		}
		return nil
	})
}

// TheNode returns the cluster's only node.
func TheNode(ctx context.Context, client kubernetes.Interface) (*corev1.Node, error) {
	nodes, err := client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("listing nodes: %w", err)
	}
	if len(nodes.Items) != 1 {
		return nil, fmt.Errorf("the cluster has %d nodes, expected 1", len(nodes.Items))
	}
	return &nodes.Items[0], nil
}

// NodeReady returns an error that says why the node is not ready.
func NodeReady(node *corev1.Node) error {
	for _, c := range node.Status.Conditions {
		if c.Type == corev1.NodeReady {
			if c.Status == corev1.ConditionTrue {
				return nil
			}
			return fmt.Errorf("node %s is not ready: %s: %s", node.Name, c.Reason, c.Message)
		}
	}
	return fmt.Errorf("node %s has not reported whether it is ready", node.Name)
}

// PodReady tells whether the pod has the condition Ready.
func PodReady(pod *corev1.Pod) bool {
	return slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

// Restarts sums the restarts of a pod's containers.
func Restarts(pod *corev1.Pod) int32 {
	var n int32
	for _, c := range pod.Status.ContainerStatuses {
		n += c.RestartCount
	}
	return n
}

// KubeletConfig is the part of the kubelet's effective configuration that the
// suite judges.
type KubeletConfig struct {
	CgroupDriver string `json:"cgroupDriver"`
	ResolvConf   string `json:"resolvConf"`
	FailSwapOn   *bool  `json:"failSwapOn"`
}

// Configz returns the kubelet's effective configuration, through the API
// server, and its JSON as evidence. Only from Kubernetes 1.35 on does it show
// the cgroup driver that the runtime imposed (kubernetes#134743).
func Configz(ctx context.Context, client kubernetes.Interface, nodeName string) (KubeletConfig, []byte, error) {
	data, err := client.CoreV1().RESTClient().Get().
		Resource("nodes").Name(nodeName).SubResource("proxy").Suffix("configz").
		Do(ctx).Raw()
	if err != nil {
		return KubeletConfig{}, nil, fmt.Errorf("reading the kubelet's /configz: %w", err)
	}
	config, err := parseConfigz(data)
	return config, data, err
}

func parseConfigz(data []byte) (KubeletConfig, error) {
	var answer struct {
		Config *KubeletConfig `json:"kubeletconfig"`
	}
	if err := json.Unmarshal(data, &answer); err != nil {
		return KubeletConfig{}, fmt.Errorf("reading the kubelet's /configz: %w", err)
	}
	if answer.Config == nil || answer.Config.CgroupDriver == "" {
		return KubeletConfig{}, fmt.Errorf("reading the kubelet's /configz: no kubeletconfig.cgroupDriver in %.200s", data)
	}
	return *answer.Config, nil
}
