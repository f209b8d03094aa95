package machine

import (
	"context"
	"fmt"
	"strings"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/run"
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

// EmulatedTimerSlack lets timers fire together: a tick of most kernels, in
// nanoseconds.
const EmulatedTimerSlack = "4000000"

// Reported is a node that tells what runs its instructions.
type Reported interface {
	run.Runner
	Report() Report
}

// Quieten spares an emulated machine most of its timer interrupts. Each Go
// program has a thread that sleeps for as little as 20 microseconds at a time,
// and a node runs dozens of them; under emulation an interrupt and the switch
// of address spaces that follows cost so much that these sleeps take most of
// both CPUs. It changes when timers fire, by milliseconds, and nothing that is
// judged. A machine that is not emulated is left as it is. A reboot undoes it.
func Quieten(ctx context.Context, node Reported) error {
	if node.Report().Accel != AccelTCG {
		return nil
	}
	_, err := node.Run(ctx, run.Cmd{Argv: []string{"perl", "-", EmulatedTimerSlack}, Stdin: strings.NewReader(quietenScript)})
	if err != nil {
		return fmt.Errorf("giving the node's threads a larger timer slack: %w", err)
	}
	return nil
}
