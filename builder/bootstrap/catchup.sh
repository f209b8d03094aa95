set -eu
cd "$1"
for list in var/lib/dpkg/diversions var/lib/dpkg/diversions-old; do
	[ ! -e "$list" ] || sed -i -e '\#^/usr/bin/py3compile$#,+2d' -e '\#^\(/usr\)\?/sbin/depmod$#,+2d' -e '\#^/usr/sbin/update-ca-certificates$#,+2d' "$list"
done
for program in usr/bin/py3compile usr/sbin/depmod usr/sbin/update-ca-certificates; do
	rm "$program"
	if [ -e "$program.distrib" ] || [ -L "$program.distrib" ]; then
		mv "$program.distrib" "$program"
	fi
done
certificates=
if [ -e usr/sbin/update-ca-certificates.later ]; then
	rm usr/sbin/update-ca-certificates.later
	chroot . update-ca-certificates &
	certificates=$!
fi
rc=0
if [ -e usr/bin/py3compile ]; then
	for dir in usr/lib/python3/dist-packages usr/lib/python3.*/dist-packages; do
		[ ! -d "$dir" ] || chroot . py3compile "/$dir" || rc=1
	done
fi
for pid in usr/sbin/depmod.later/*.pid; do
	[ -e "$pid" ] || continue
	call=${pid%.pid}
	# It is no child of this shell's; five minutes are a hundred times what it takes.
	tenths=0
	while [ ! -e "$call.rc" ] && [ "$tenths" -lt 3000 ] && kill -0 "$(cat "$pid")" 2>/dev/null; do
		sleep 0.1
		tenths=$((tenths + 1))
	done
	if [ ! -e "$call.rc" ] || [ "$(cat "$call.rc")" != 0 ]; then
		echo "depmod failed:" >&2
		cat "$call.said" >&2
		rc=1
	fi
done
[ -z "$certificates" ] || wait "$certificates" || rc=1
rm -rf usr/sbin/depmod.later
exit "$rc"
