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
depmod=
if [ -e usr/sbin/depmod.later ]; then
	mv usr/sbin/depmod.later run/depmod.later
	(
		while read -r args; do
			chroot . depmod $args || exit 1
		done <run/depmod.later
	) &
	depmod=$!
fi
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
[ -z "$depmod" ] || wait "$depmod" || rc=1
[ -z "$certificates" ] || wait "$certificates" || rc=1
rm -f run/depmod.later
exit "$rc"
