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

for dir in proc sys dev run; do
	# A link would lead to a directory of this host.
	[ ! -L "$root/$dir" ] || die "/$dir is a symbolic link"
	[ -d "$root/$dir" ] || mkdir -m 0755 "$root/$dir" || die "making /$dir"
done

# The root must be a mount point, or container runtimes cannot find "/" among
# their mounts.
mount --bind "$root" "$root" || die "binding it"

mount -t proc -o nosuid,nodev,noexec proc "$root/proc" || die "mounting /proc"
# Kernel settings and SysRq are this host's.
for ro in sys sysrq-trigger; do
	[ -e "$root/proc/$ro" ] || continue
	mount --bind "$root/proc/$ro" "$root/proc/$ro" &&
		mount -o remount,bind,ro "$root/proc/$ro" || die "protecting /proc/$ro"
done
mount -t sysfs -o ro,nosuid,nodev,noexec sysfs "$root/sys" || die "mounting /sys"

mount -t tmpfs -o mode=0755,nosuid,size=4m dev "$root/dev" || die "mounting /dev"
mkdir "$root/dev/pts" "$root/dev/shm" || die "filling /dev"
for node in null:3 zero:5 full:7 random:8 urandom:9; do
	mknod -m 0666 "$root/dev/${node%:*}" c 1 "${node#*:}" || die "making /dev/${node%:*}"
done
mknod -m 0666 "$root/dev/tty" c 5 0 || die "making /dev/tty"
ln -s /proc/self/fd "$root/dev/fd" &&
	ln -s fd/0 "$root/dev/stdin" && ln -s fd/1 "$root/dev/stdout" && ln -s fd/2 "$root/dev/stderr" &&
	ln -s pts/ptmx "$root/dev/ptmx" || die "filling /dev"
mount -t devpts -o newinstance,ptmxmode=0666,mode=0620,gid=5,nosuid,noexec devpts "$root/dev/pts" ||
	die "mounting /dev/pts"
mount -t tmpfs -o mode=1777,nosuid,nodev shm "$root/dev/shm" || die "mounting /dev/shm"

mount -t tmpfs -o mode=0755,nosuid,nodev run "$root/run" || die "mounting /run"
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

cd "$root" && mount --move "$root" / || die "making it the root"
"$@"
exit $?
