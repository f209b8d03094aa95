package cluster

import (
	"context"
	"fmt"
	"path"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/run"
)

// resetScript removes a cluster. Its arguments are the runtime's endpoint, the
// namespace and the image of the test pods, and files.
const resetScript = `use strict; use warnings;
my ($endpoint, $namespace, $image, @own) = @ARGV;
my @failed;
system('kubeadm', 'reset', '--force', '--cri-socket', $endpoint) == 0 or push @failed, 'kubeadm reset';
my @logs = map { (glob("/var/log/pods/${_}_*"), glob("/var/log/containers/*_${_}_*")) } 'kube-system', $namespace;
system('rm', '-rf', '--', @own, @logs) == 0 or push @failed, 'removing files';
system('ctr', '--namespace', 'k8s.io', 'images', 'rm', $image) == 0 or push @failed, "removing the image $image";
if (-e '/sys/class/net/cni0') { system('ip', 'link', 'delete', 'cni0') == 0 or push @failed, 'removing the bridge cni0' }
# kubeadm leaves packet filters alone. What names no chain of Kubernetes' or
# CNI's own stays.
for my $t ('iptables', 'ip6tables') {
    my $rules = ` + "`$t-save 2>/dev/null`" + `;
    next unless defined $rules && $rules =~ /KUBE-|CNI-/;
    my $kept = join("\n", grep { !/KUBE-|CNI-/ } split(/\n/, $rules));
    open(my $fh, '|-', "$t-restore") or push(@failed, "$t-restore"), next;
    print $fh "$kept\n";
    close($fh) or push @failed, "$t-restore";
}
die 'not done: ' . join(', ', @failed) . "\n" if @failed;
`

// Reset takes back what [Init] and the suite's pods did to a node: the cluster,
// the pod network, the image and its pods' logs, packet filters, and further
// files of the suite's. What Kubernetes set in the running kernel stays until
// the next boot.
func Reset(ctx context.Context, node run.Runner, namespace, image string, files ...string) error {
	args := append([]string{criEndpoint, namespace, image, path.Dir(configPath), conflistPath, ipamState}, files...)
	if _, err := Perl(ctx, node, resetScript, args...); err != nil {
		return fmt.Errorf("removing the cluster: %w", err)
	}
	return nil
}
