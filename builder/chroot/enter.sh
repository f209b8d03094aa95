# Runs "$@" with the directory $1 as the root of a system. It is called by
# unshare in mount and PID namespaces of its own, as their first process; so
# all that is mounted and started here ends with it. It stays outside the new
# root, by which systemctl and others tell that they are in a chroot.
root=$1
shift

die() {
	echo "nodeimage: cannot set up the chroot $root: $*" >&2
	exit 125
}

# What commands make must not depend on who calls them, or on what machine.
umask 022
hostname localhost || die "setting the host name"

for dir in proc sys dev run; do
	# A link would lead to a directory of this host.
	[ ! -L "$root/$dir" ] || die "/$dir is a symbolic link"
	[ -d "$root/$dir" ] || mkdir -m 0755 "$root/$dir" || die "making /$dir"
done

# The mounts are this namespace's. -n keeps them out of the host's table,
# /run/mount/utab, which fails for an ordinary user, who may not write it.

# The root must be a mount point, or container runtimes cannot find "/" among
# their mounts.
mount -n --bind "$root" "$root" || die "binding it"

mount -n -t proc -o nosuid,nodev,noexec proc "$root/proc" || die "mounting /proc"
# Kernel settings and SysRq are this host's.
for ro in sys sysrq-trigger; do
	[ -e "$root/proc/$ro" ] || continue
	mount -n --bind "$root/proc/$ro" "$root/proc/$ro" &&
		mount -n -o remount,bind,ro "$root/proc/$ro" || die "protecting /proc/$ro"
done
# The root of a user namespace may not mount another sysfs: it gets this host's,
# of which it may change nothing that its user may not.
mount -n -t sysfs -o ro,nosuid,nodev,noexec sysfs "$root/sys" 2>/dev/null ||
	{ mount -n --rbind /sys "$root/sys" && mount -n -o remount,bind,ro,nosuid,nodev,noexec "$root/sys"; } || die "mounting /sys"

mount -n -t tmpfs -o mode=0755,nosuid,size=4m dev "$root/dev" || die "mounting /dev"
mkdir "$root/dev/pts" "$root/dev/shm" || die "filling /dev"
# Nor may it make devices, but use those that are there.
for node in null:1:3 zero:1:5 full:1:7 random:1:8 urandom:1:9 tty:5:0; do
	name=${node%%:*} number=${node#*:}
	mknod -m 0666 "$root/dev/$name" c "${number%:*}" "${number#*:}" 2>/dev/null ||
		{ : >"$root/dev/$name" && mount -n --bind "/dev/$name" "$root/dev/$name"; } || die "making /dev/$name"
done
ln -s /proc/self/fd "$root/dev/fd" &&
	ln -s fd/0 "$root/dev/stdin" && ln -s fd/1 "$root/dev/stdout" && ln -s fd/2 "$root/dev/stderr" &&
	ln -s pts/ptmx "$root/dev/ptmx" || die "filling /dev"
mount -n -t devpts -o newinstance,ptmxmode=0666,mode=0620,gid=5,nosuid,noexec devpts "$root/dev/pts" ||
	die "mounting /dev/pts"
mount -n -t tmpfs -o mode=1777,nosuid,nodev shm "$root/dev/shm" || die "mounting /dev/shm"

mount -n -t tmpfs -o mode=0755,nosuid,nodev run "$root/run" || die "mounting /run"
mkdir -m 1777 "$root/run/lock" || die "filling /run"

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
