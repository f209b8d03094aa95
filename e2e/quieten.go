package e2e

import (
	"context"
	"fmt"

	"github.com/nodeimage/packer-plugin-nodeimage/e2e/cluster"
	"github.com/nodeimage/packer-plugin-nodeimage/e2e/machine"
)

// quietenScript gives every thread a large timer slack; what they start
// inherits it (PR_SET_TIMERSLACK, proc_pid_timerslack_ns(5)).
const quietenScript = `
opendir(my $proc, '/proc') or die "opening /proc: $!\n";
my $set = 0;
for my $pid (grep { /^\d+$/ } readdir $proc) {
    opendir(my $tasks, "/proc/$pid/task") or next;
    for my $tid (grep { /^\d+$/ } readdir $tasks) {
        open(my $fh, '>', "/proc/$tid/timerslack_ns") or next;
        $set++ if syswrite($fh, $ARGV[0]);
    }
}
print "$set\n";
`

// emulatedTimerSlack lets timers fire together: a tick of most kernels.
const emulatedTimerSlack = "4000000"

// quieten spares an emulated machine most of its timer interrupts. Each Go
// program has a thread that sleeps for as little as 20 microseconds at a time,
// and a node runs dozens of them; under emulation an interrupt and the switch
// of address spaces that follows cost so much that these sleeps take most of
// both CPUs. It changes when timers fire, by milliseconds, and nothing that is
// judged. A machine that is not emulated is left as it is. A reboot undoes it.
func quieten(ctx context.Context, node vm) error {
	if node.Report().Accel != machine.AccelTCG {
		return nil
	}
	if _, err := cluster.Perl(ctx, node, quietenScript, emulatedTimerSlack); err != nil {
		return fmt.Errorf("giving the node's threads a larger timer slack: %w", err)
	}
	return nil
}
