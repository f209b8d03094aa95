# Prints what runs in containers on this node, one record a line, fields
# separated by tabs:
#   B  boot-ID clock-ticks-since-boot
#   R  controllers of the root cgroup
#   P  pid ppid start-time cgroup apparmor-label netns comm command-line
#   C  cgroup-path controllers
#   M  mount-point root fs-type
# One pass over /proc and /sys/fs/cgroup; a process that ends meanwhile is left
# out. Only core Perl, so that it runs with perl-base alone.
use strict;
use warnings;

sub slurp {
    my ($path) = @_;
    open(my $fh, '<', $path) or return undef;
    local $/;
    my $text = <$fh>;
    close $fh;
    return $text;
}

sub clean {
    my ($text) = @_;
    $text = '' unless defined $text;
    $text =~ s/[\0\s]+/ /g;
    $text =~ s/^ | $//g;
    return $text;
}

# USER_HZ is 100 on every architecture that Kubernetes has releases for.
my $uptime = slurp('/proc/uptime') // die "reading /proc/uptime: $!\n";
print join("\t", 'B', clean(slurp('/proc/sys/kernel/random/boot_id')), int(100 * (split / /, $uptime)[0])), "\n";
print join("\t", 'R', clean(slurp('/sys/fs/cgroup/cgroup.controllers'))), "\n";

opendir(my $proc, '/proc') or die "opening /proc: $!\n";
for my $pid (sort { $a <=> $b } grep { /^\d+$/ } readdir $proc) {
    my $cgroup = slurp("/proc/$pid/cgroup");
    next unless defined $cgroup;
    ($cgroup) = $cgroup =~ /^0::(.*)$/m;
    next unless defined $cgroup;
    my $stat = slurp("/proc/$pid/stat");
    next unless defined $stat && $stat =~ /^\d+ \((.*)\) (\S) (.*)$/s;
    my ($comm, $run, @rest) = ($1, $2, split / /, $3);
    # A zombie has no cgroup membership that matters and waits for its parent.
    next if $run eq 'Z';
    next unless $cgroup =~ /kubepods|cri-containerd/
        || $comm =~ /^containerd|^kubelet$/;
    my $label = slurp("/proc/$pid/attr/apparmor/current");
    $label = slurp("/proc/$pid/attr/current") unless defined $label;
    my $netns = readlink("/proc/$pid/ns/net");
    print join("\t", 'P', $pid, $rest[0], $rest[18], $cgroup, clean($label),
        defined $netns ? $netns : '', $comm, clean(slurp("/proc/$pid/cmdline"))), "\n";
}
closedir $proc;

my @pending = ('');
while (@pending) {
    my $path = shift @pending;
    opendir(my $dir, "/sys/fs/cgroup$path") or next;
    for my $name (sort readdir $dir) {
        next if $name =~ /^\.\.?$/;
        my $child = "$path/$name";
        next if -l "/sys/fs/cgroup$child" || !-d _;
        push @pending, $child;
        next unless $child =~ /kubepods|cri-containerd/;
        print join("\t", 'C', $child, clean(slurp("/sys/fs/cgroup$child/cgroup.controllers"))), "\n";
    }
    closedir $dir;
}

my $mounts = slurp('/proc/1/mountinfo');
die "reading /proc/1/mountinfo: $!\n" unless defined $mounts;
for my $line (split /\n/, $mounts) {
    my ($fields, $tail) = split / - /, $line, 2;
    my @f = split / /, $fields;
    next unless $f[4] =~ m{^/(var/)?run/(netns|containerd)/|^/var/lib/(kubelet/pods|containerd)/};
    my ($type) = split / /, $tail;
    print join("\t", 'M', $f[4], $f[3], $type), "\n";
}
