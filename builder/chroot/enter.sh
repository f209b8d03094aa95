# Runs "$@" with the directory $1 as the root of a system; $2 is the same path as
# an fstab has it. It is called by unshare in mount and PID namespaces of its own,
# as their first process; so all that is mounted and started here ends with it. It
# stays outside the new root, by which systemctl and others tell that they are in
# a chroot.
#
# It is called dozens of times for an image, and starting a program is most of
# what it costs: mount(8) gets its mounts as a table.
root=$1 escaped=$2
shift 2

die() {
	echo "nodeimage: cannot set up the chroot $root: $*" >&2
	exit 125
}

# The mounts are this namespace's. -n keeps them out of the host's table,
# /run/mount/utab, which fails for an ordinary user, who may not write it.
mount_all() { printf '%s\n' "$@" >"$root/run/mounts" && mount -n -a -T "$root/run/mounts"; }

# What commands make must not depend on who calls them, or on what machine.
umask 022
# Not every root of a user namespace may write there.
{ echo localhost >/proc/sys/kernel/hostname; } 2>/dev/null || hostname localhost || die "setting the host name"

for dir in proc sys dev run; do
	# A link would lead to a directory of this host.
	[ ! -L "$root/$dir" ] || die "/$dir is a symbolic link"
	[ -d "$root/$dir" ] || mkdir -m 0755 "$root/$dir" || die "making /$dir"
done

# The root must be a mount point, or container runtimes cannot find "/" among
# their mounts.
mount -n --bind "$root" "$root" || die "binding it"
mount -n -t tmpfs -o mode=0755,nosuid,nodev run "$root/run" || die "mounting /run"
# Kernel settings are this host's.
mount_all \
	"proc $escaped/proc proc nosuid,nodev,noexec 0 0" \
	"$escaped/proc/sys $escaped/proc/sys none bind,ro 0 0" \
	"dev $escaped/dev tmpfs mode=0755,nosuid,size=4m 0 0" || die "mounting /proc and /dev"

# The root of a user namespace may not mount another sysfs: it gets this host's,
# of which it may change nothing that its user may not.
mount -n -t sysfs -o ro,nosuid,nodev,noexec sysfs "$root/sys" 2>/dev/null ||
	{ mount -n --rbind /sys "$root/sys" && mount -n -o remount,bind,ro,nosuid,nodev,noexec "$root/sys"; } || die "mounting /sys"

# Nor may it make devices, but use those that are there, as everybody does here.
mkdir "$root/dev/pts" "$root/dev/shm" && ln -s -t "$root/dev" /proc/self/fd pts/ptmx || die "filling /dev"
for link in stdin:0 stdout:1 stderr:2; do
	ln -s "fd/${link#*:}" "$root/dev/${link%:*}" || die "filling /dev"
done
for node in null zero full random urandom tty; do
	: >"$root/dev/$node" || die "making /dev/$node"
done
# SysRq is this host's, too. A kernel without it gets /proc/sys twice, which changes
# nothing.
sysrq=$escaped/proc/sysrq-trigger
[ -e "$root/proc/sysrq-trigger" ] || sysrq=$escaped/proc/sys
mount_all \
	"devpts $escaped/dev/pts devpts newinstance,ptmxmode=0666,mode=0620,gid=5,nosuid,noexec 0 0" \
	"shm $escaped/dev/shm tmpfs mode=1777,nosuid,nodev 0 0" \
	"/dev/null $escaped/dev/null none bind 0 0" "/dev/zero $escaped/dev/zero none bind 0 0" \
	"/dev/full $escaped/dev/full none bind 0 0" "/dev/random $escaped/dev/random none bind 0 0" \
	"/dev/urandom $escaped/dev/urandom none bind 0 0" "/dev/tty $escaped/dev/tty none bind 0 0" \
	"$sysrq $sysrq none bind,ro 0 0" || die "mounting /dev/pts, /dev/shm and the devices"

rm "$root/run/mounts" && mkdir -m 1777 "$root/run/lock" || die "filling /run"

# /etc/resolv.conf is, or is made by us for the time of the build, a link into
# /run; see guard.go. Its target is this host's file.
link=$(readlink "$root/etc/resolv.conf") || link=
case $link in
/run/*) target=$root$link ;;
../run/*) target=$root/${link#../} ;;
*) target= ;;
esac
case $target in
*/../*) target= ;;
esac
if [ -n "$target" ] && [ -e /etc/resolv.conf ]; then
	mkdir -p "${target%/*}" && cat /etc/resolv.conf >"$target" || die "writing $link"
fi

cd "$root" && mount -n --move "$root" / || die "making it the root"
"$@"
exit $?
