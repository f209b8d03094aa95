package kubelet

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/nodeimage/packer-plugin-nodeimage/validate/source"
	"github.com/nodeimage/packer-plugin-nodeimage/validate/systemd"
)

// Flag is one flag of the kubelet's command line.
type Flag struct {
	Name  string // with hyphens, without the leading ones
	Value string
	Pos   source.Position
	// Removed says from which minor release on no kubelet has the flag, 0 if
	// all that were read have it.
	Removed int
	// Unknown flags are in none of the kubelets that were read.
	Unknown bool
}

// boolFlags are the flags that take no value of their own word.
func boolFlags() map[string]bool {
	set := map[string]bool{}
	for _, n := range strings.Fields(`anonymous-auth authentication-token-webhook cgroups-per-qos
		contention-profiling cpu-cfs-quota enable-controller-attach-detach enable-debugging-handlers enable-server
		exit-on-lock-contention experimental-allocatable-ignore-eviction fail-cgroupv1 fail-swap-on help
		kernel-memcg-notification local-storage-capacity-isolation log-json-split-stream log-text-split-stream
		make-iptables-util-chains protect-kernel-defaults register-node rotate-certificates rotate-server-certificates
		runonce seccomp-default serialize-image-pulls version enable-load-reader log-cadvisor-usage storage-driver-secure`) {
		set[n] = true
	}
	return set
}

// valueFlags are the flags of 1.34 to 1.37 that take a value.
func valueFlags() []string {
	return strings.Fields(`address allowed-unsafe-sysctls authentication-token-webhook-cache-ttl authorization-mode
		authorization-webhook-cache-authorized-ttl authorization-webhook-cache-unauthorized-ttl bootstrap-kubeconfig
		cert-dir cgroup-driver cgroup-root client-ca-file cloud-provider cluster-dns cluster-domain config config-dir
		container-log-max-files container-log-max-size container-runtime-endpoint cpu-cfs-quota-period cpu-manager-policy
		cpu-manager-policy-options cpu-manager-reconcile-period enforce-node-allocatable event-burst event-qps
		eviction-hard eviction-max-pod-grace-period eviction-minimum-reclaim eviction-pressure-transition-period
		eviction-soft eviction-soft-grace-period experimental-mounter-path feature-gates file-check-frequency
		hairpin-mode healthz-bind-address healthz-port hostname-override housekeeping-interval http-check-frequency
		image-credential-provider-bin-dir image-credential-provider-config image-gc-high-threshold
		image-gc-low-threshold image-service-endpoint kube-api-burst kube-api-content-type kube-api-qps kube-reserved
		kube-reserved-cgroup kubeconfig kubelet-cgroups lock-file log-flush-frequency log-json-info-buffer-size
		log-text-info-buffer-size logging-format manifest-url manifest-url-header max-open-files max-pods
		maximum-dead-containers maximum-dead-containers-per-container memory-manager-policy
		minimum-container-ttl-duration minimum-image-ttl-duration node-ip node-labels node-status-max-images
		node-status-update-frequency oom-score-adj pod-cidr pod-manifest-path pod-max-pids pods-per-core port
		provider-id qos-reserved read-only-port register-with-taints registry-burst registry-qps reserved-cpus
		reserved-memory resolv-conf root-dir runtime-cgroups runtime-request-timeout streaming-connection-idle-timeout
		sync-frequency system-cgroups system-reserved system-reserved-cgroup tls-cert-file tls-cipher-suites
		tls-min-version tls-private-key-file topology-manager-policy topology-manager-policy-options
		topology-manager-scope v vmodule volume-plugin-dir volume-stats-agg-period`)
}

// removedFlags says from which minor release on a flag stops the kubelet with
// "unknown flag". Images carry them over in /etc/default/kubelet.
func removedFlags() map[string]int {
	m := map[string]int{
		// Dockershim's flags.
		"network-plugin": 24, "cni-bin-dir": 24, "cni-conf-dir": 24, "cni-cache-dir": 24, "network-plugin-mtu": 24,
		"container-runtime":         27,
		"pod-infra-container-image": 35, // kubernetes#133779
	}
	// cAdvisor's flags, registered by mistake.
	for _, n := range strings.Fields(`application-metrics-count-limit boot-id-file container-hints containerd
		containerd-namespace enable-load-reader event-storage-age-limit event-storage-event-limit
		global-housekeeping-interval log-cadvisor-usage machine-id-file storage-driver-user storage-driver-password
		storage-driver-host storage-driver-db storage-driver-table storage-driver-secure storage-driver-buffer-duration`) {
		m[n] = 37
	}
	return m
}

// parseFlags follows pflag with the kubelet's name normalization. The fault
// is what stops the kubelet, if anything does; parsing goes on all the same,
// so that one run finds them all.
func (c *Config) parseFlags(args []systemd.Arg) {
	bools, removed := boolFlags(), removedFlags()
	known := map[string]bool{}
	for _, n := range valueFlags() {
		known[n] = true
	}
	for i := 0; i < len(args); i++ {
		a := args[i]
		if a.Text == "--" {
			if i+1 < len(args) {
				c.fault(fmt.Sprintf("unknown command [%s]", args[i+1].Text), "", args[i+1].Pos)
			}
			return
		}
		body, long := strings.CutPrefix(a.Text, "--")
		if !long {
			var short bool
			if body, short = strings.CutPrefix(a.Text, "-"); !short || body == "" {
				c.fault(fmt.Sprintf("unknown command [%s]", a.Text), "", a.Pos)
				continue
			}
			if body[0] == 'v' && len(body) > 1 && body[1] != '=' {
				body = "v=" + body[1:] // -v2
			}
		}
		name, value, hasValue := strings.Cut(body, "=")
		name = strings.ReplaceAll(name, "_", "-")
		if !long && name != "v" && name != "h" {
			c.fault(fmt.Sprintf("failed to parse kubelet flag: unknown shorthand flag: %q in %s", string([]rune(body)[:1]), a.Text), a.Text, a.Pos)
			continue
		}
		f := Flag{Name: name, Value: value, Pos: a.Pos, Removed: removed[name]}
		f.Unknown = !bools[name] && !known[name] && f.Removed == 0 && name != "h"
		gone := f.Removed != 0 && c.Version.Minor >= f.Removed
		if gone || f.Unknown && c.Version.Minor >= oldestFlags && c.Version.Minor <= newestFlags {
			c.fault("failed to parse kubelet flag: unknown flag: --"+name, "--"+name, a.Pos)
		}
		switch {
		case hasValue:
		case bools[name]:
			f.Value = "true"
		case i+1 < len(args) && !(f.Unknown && strings.HasPrefix(args[i+1].Text, "-")):
			i++
			f.Value = args[i].Text
		case !f.Unknown:
			c.fault("failed to parse kubelet flag: flag needs an argument: --"+name, "--"+name, a.Pos)
		}
		c.Flags = append(c.Flags, f)
	}
}

// flag returns the last of the flags of that name: later ones win.
func (c *Config) flag(name string) (Flag, bool) {
	for i := len(c.Flags) - 1; i >= 0; i-- {
		if c.Flags[i].Name == name {
			return c.Flags[i], true
		}
	}
	return Flag{}, false
}

// applyFlags lets the command line win over the files, as the kubelet does.
func (c *Config) applyFlags() {
	str := func(s *Setting[string], name string) {
		if f, ok := c.flag(name); ok {
			*s = Setting[string]{f.Value, "--" + name, f.Pos}
		}
	}
	boolean := func(s *Setting[bool], name string) {
		f, ok := c.flag(name)
		if !ok {
			return
		}
		v, err := strconv.ParseBool(f.Value)
		if err != nil {
			c.fault(fmt.Sprintf("failed to parse kubelet flag: invalid argument %q for %q flag", f.Value, "--"+name), "--"+name, f.Pos)
			return
		}
		*s = Setting[bool]{v, "--" + name, f.Pos}
	}
	str(&c.CgroupDriver, "cgroup-driver")
	str(&c.CgroupRoot, "cgroup-root")
	str(&c.KubeletCgroups, "kubelet-cgroups")
	str(&c.SystemCgroups, "system-cgroups")
	str(&c.ResolvConf, "resolv-conf")
	str(&c.StaticPodPath, "pod-manifest-path")
	str(&c.RuntimeEndpoint, "container-runtime-endpoint")
	str(&c.ImageEndpoint, "image-service-endpoint")
	str(&c.RootDir, "root-dir")
	boolean(&c.FailSwapOn, "fail-swap-on")
	boolean(&c.FailCgroupV1, "fail-cgroupv1")
	boolean(&c.CgroupsPerQOS, "cgroups-per-qos")
	boolean(&c.ProtectKernelDefaults, "protect-kernel-defaults")
	for _, f := range c.Flags {
		if f.Name != "feature-gates" {
			continue
		}
		for _, kv := range strings.Split(f.Value, ",") {
			k, v, _ := strings.Cut(kv, "=")
			b, err := strconv.ParseBool(strings.TrimSpace(v))
			if k = strings.TrimSpace(k); k == "" || err != nil {
				if kv != "" {
					c.fault(fmt.Sprintf("failed to parse kubelet flag: invalid value of %s=%s", k, v), "--feature-gates", f.Pos)
				}
				continue
			}
			c.FeatureGates[k] = Setting[bool]{b, "--feature-gates " + k, f.Pos}
		}
	}
}
