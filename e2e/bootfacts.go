package e2e

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/nodeimage/packer-plugin-nodeimage/e2e/cluster"
	"github.com/nodeimage/packer-plugin-nodeimage/e2e/machine"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/run"
)

// bootFacts is what a machine that finished its boot says about itself.
type bootFacts struct {
	EFI             bool // booted by UEFI
	SecureBoot      bool // which started only what its keys sign
	CgroupFS        string
	AppArmorEnabled bool
	SystemState     string // of systemd: running, degraded, …
	FailedUnits     []string
	MachineID       string
	ProductUUID     string
	RootBytes       int64 // of the root file system
	Swap            []string
	CommandLine     string
	KernelRelease   string
	OSRelease       string
	Console         []machine.Finding // faults that the console names
	Times           machine.BootTimes
}

// bootScript prints the facts as "key<TAB>value"; one command costs an
// emulated machine far less than ten.
const bootScript = `use strict; use warnings;
sub slurp { open(my $fh, '<', $_[0]) or return ''; local $/; my $t = <$fh>; close $fh; $t = '' unless defined $t; $t =~ s/\s+$//; return $t }
sub command { my $t = ` + "`@_ 2>/dev/null`" + `; $t =~ s/\s+$//; return $t }
sub fact { my ($k, $v) = @_; for my $l (split /\n/, $v) { print "$k\t$l\n" } }
fact('state', command('systemctl is-system-running --wait'));
fact('efi', -d '/sys/firmware/efi' ? 'yes' : 'no');
# Four bytes of attributes come before the value.
fact('secure-boot', ord(substr(slurp('/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c') . '     ', 4, 1)) == 1 ? 'yes' : 'no');
fact('cgroup', command('stat -fc %T /sys/fs/cgroup'));
fact('apparmor', slurp('/sys/module/apparmor/parameters/enabled'));
fact('failed', command('systemctl list-units --failed --plain --no-legend --full'));
fact('machine-id', slurp('/etc/machine-id'));
fact('product-uuid', slurp('/sys/class/dmi/id/product_uuid'));
fact('root', command('df --block-size=1 --output=size /'));
my @swap = split /\n/, slurp('/proc/swaps'); shift @swap; fact('swap', join("\n", @swap));
fact('cmdline', slurp('/proc/cmdline'));
fact('kernel', command('uname -r'));
my ($pretty) = slurp('/etc/os-release') =~ /^PRETTY_NAME="?([^"\n]*)/m; fact('os', defined $pretty ? $pretty : '');
print "end\t\n";
`

// readBootFacts waits for the boot to finish and reads the facts.
func readBootFacts(ctx context.Context, m vm) (bootFacts, error) {
	out, err := cluster.Perl(ctx, m, bootScript)
	if err != nil {
		return bootFacts{}, fmt.Errorf("reading what the boot came to: %w", err)
	}
	facts, err := parseBootFacts(out)
	if err != nil {
		return bootFacts{}, err
	}
	if facts.Console, err = m.ScanConsole(consoleExcused(m.Report().Accel)...); err != nil {
		return bootFacts{}, err
	}
	if facts.Times, err = m.BootTimes(ctx); err != nil {
		return bootFacts{}, err
	}
	return facts, nil
}

func parseBootFacts(out string) (bootFacts, error) {
	values := map[string][]string{}
	for l := range strings.Lines(out) {
		if key, value, ok := strings.Cut(strings.TrimRight(l, "\n"), "\t"); ok {
			values[key] = append(values[key], strings.TrimSpace(value))
		}
	}
	if _, ok := values["end"]; !ok {
		return bootFacts{}, fmt.Errorf("reading what the boot came to: the node's answer is cut off: %q", out)
	}
	last := func(key string) string {
		if v := values[key]; len(v) > 0 {
			return v[len(v)-1]
		}
		return ""
	}
	root, err := strconv.ParseInt(last("root"), 10, 64)
	if err != nil {
		return bootFacts{}, fmt.Errorf("reading the root file system's size: %w", err)
	}
	facts := bootFacts{
		EFI: last("efi") == "yes", SecureBoot: last("secure-boot") == "yes", CgroupFS: last("cgroup"), AppArmorEnabled: last("apparmor") == "Y",
		SystemState: last("state"), MachineID: last("machine-id"), ProductUUID: last("product-uuid"),
		RootBytes: root, Swap: values["swap"], CommandLine: last("cmdline"), KernelRelease: last("kernel"), OSRelease: last("os"),
	}
	for _, l := range values["failed"] {
		facts.FailedUnits = append(facts.FailedUnits, strings.Fields(strings.TrimLeft(l, "●* "))[0])
	}
	slices.Sort(facts.FailedUnits)
	return facts, nil
}

// unitLog returns the last lines of units' logs of the running boot.
func unitLog(ctx context.Context, node run.Runner, lines int, units ...string) (string, error) {
	argv := []string{"journalctl", "--boot", "--no-pager", "--output=short-monotonic", "--no-hostname", "--lines=" + strconv.Itoa(lines)}
	for _, u := range units {
		argv = append(argv, "--unit="+u)
	}
	return cluster.Output(ctx, node, argv...)
}
