# Sees to container images in containerd's k8s.io namespace.
#
#   check  NAME=DIGEST...   succeeds when all of them are there, whole, unpacked
#                           and pinned
#   import NAME=DIGEST...   brings them there from the tars 1.tar, 2.tar... in
#                           $NODEIMAGE_STAGE, and checks
#   pack   NAME=DIGEST...   imports them into a store that is thrown away, and
#                           writes what is in it to standard output, as a tar
#   unpack                  makes the store of such a tar on standard input
#
# It talks to the containerd that runs, and else starts one for as long as it
# needs: without CRI, networks or anything else that leaves traces, its state
# below /run. A pack always has its own, in a tmpfs of $NODEIMAGE_SIZE bytes on
# $NODEIMAGE_MOUNT, a directory that nobody else sees in this mount namespace.
set -eu
mode=$1
shift
run=/run
root=/var/lib/containerd
sock=/run/containerd/containerd.sock
work=
pid=
reason=

stop() {
	[ -n "$pid" ] || return 0
	kill "$pid" 2>/dev/null || :
	wait "$pid" || :
	pid=
}

finish() {
	rc=$?
	trap '' INT TERM HUP
	trap - EXIT
	stop
	if [ -n "$work" ]; then
		[ "$rc" = 0 ] || [ "$mode" = check ] || tail -n 20 "$work/log" >&2 || :
		rm -rf -- "$work"
	fi
	[ -z "$reason" ] || echo "preload: $reason" >&2
	exit "$rc"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

die() {
	reason=$*
	exit 1
}

reach() { ctr --address "$sock" --connect-timeout 2s version >/dev/null 2>&1; }

start() {
	sock=$work/containerd.sock
	# Every containerd from 1.3 on reads version 2, which is all this needs.
	cat >"$work/config.toml" <<-END
		version = 2
		root = "$root"
		state = "$work/state"
		disabled_plugins = [
		  "io.containerd.grpc.v1.cri", "io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime",
		  "io.containerd.internal.v1.opt", "io.containerd.internal.v1.restart", "io.containerd.internal.v1.tracing",
		  "io.containerd.nri.v1.nri", "io.containerd.podsandbox.controller.v1.podsandbox",
		  "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.blockfile", "io.containerd.snapshotter.v1.btrfs",
		  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.erofs", "io.containerd.snapshotter.v1.native",
		  "io.containerd.snapshotter.v1.zfs"
		]
		[grpc]
		address = "$sock"
		[ttrpc]
		address = "$sock.ttrpc"
	END
	containerd --config "$work/config.toml" >"$work/log" 2>&1 </dev/null &
	pid=$!
	tries=0
	until [ -S "$sock" ] && reach; do
		kill -0 "$pid" 2>/dev/null || die "containerd ended before it answered"
		tries=$((tries + 1))
		[ "$tries" -lt 600 ] || die "containerd did not answer within a minute"
		sleep 0.1
	done
}

k8s() { ctr --address "$sock" --namespace k8s.io images "$@"; }
leases() { ctr --address "$sock" --namespace k8s.io leases "$@"; }

# unready prints the wanted images that are not as they should be.
unready() {
	k8s check --snapshotter overlayfs >"$work/check" || return
	k8s list >"$work/list" || return
	for want; do
		awk -v name="${want%=*}" -v digest="${want##*=}" '
			FILENAME ~ /check$/ && $1 == name && $3 == digest && $4 == "complete" && $NF == "true" { whole = 1 }
			FILENAME ~ /list$/ && $1 == name && /io\.cri-containerd\.pinned=pinned/ { pinned = 1 }
			END { exit !(whole && pinned) }' "$work/check" "$work/list" || echo "$want"
	done
}

case $mode in
# Without a database there is nothing to ask for.
check) [ -e "$root/io.containerd.metadata.v1.bolt/meta.db" ] || exit 1 ;;
pack)
	run=$NODEIMAGE_MOUNT
	mount -n -t tmpfs -o "mode=0755,size=$NODEIMAGE_SIZE" preload "$run" || die "mounting memory on $run failed"
	root=$run/containerd sock=
	;;
unpack)
	mkdir -p "$root"
	tar --extract --directory="$root" --numeric-owner --same-owner --preserve-permissions --xattrs '--xattrs-include=*' --delay-directory-restore
	exit
	;;
esac
work=$(mktemp -d "$run/nodeimage-preload.XXXXXX")
: >"$work/log"
[ -S "$sock" ] && reach || start

if [ "$mode" != check ]; then
	n=0
	for want; do
		n=$((n + 1))
		k8s import --snapshotter overlayfs "$NODEIMAGE_STAGE/$n.tar" >>"$work/log" 2>&1 || die "importing ${want%=*} failed"
		# Pinned, so that the kubelet's image garbage collection spares it. The
		# label io.cri-containerd.image=managed is left to CRI: it takes that one
		# as a sign that it has already made its own reference by image ID.
		k8s label "${want%=*}" io.cri-containerd.pinned=pinned >>"$work/log" 2>&1 || die "pinning ${want%=*} failed"
	done
	# The index that each tar came with belongs to no image. containerd removes
	# it some time after the import, or not before it is stopped: what is in the
	# store must not depend on that. The end of a lease waits for the collector.
	leases create --id nodeimage-preload >>"$work/log" 2>&1 || die "making a lease failed"
	leases delete --sync nodeimage-preload >>"$work/log" 2>&1 || die "waiting for containerd's garbage collector failed"
fi
left=$(unready "$@") || left=unknown
if [ -n "$left" ]; then
	[ "$mode" = check ] || cat "$work/check" "$work/list" >&2 || :
	die "not there with this digest, whole, unpacked and pinned: $left"
fi
if [ "$mode" = pack ]; then
	stop # it writes its databases out
	# What it calls itself is not for others.
	tar --create --directory="$root" --exclude='./*/uuid' --sort=name --numeric-owner --format=pax --xattrs '--xattrs-include=*' .
fi
