set -eu
cd "$1"
umask 022
# A release with packages from before the merge of /usr has /sbin/depmod.
for path in /usr/bin/py3compile /usr/sbin/depmod /sbin/depmod /usr/sbin/update-ca-certificates; do
	printf '%s\n' "$path" "$path.distrib" : >>var/lib/dpkg/diversions
done
# A package's own directories are compiled at once: nobody else does it.
cat >usr/bin/py3compile <<'STUB'
#!/bin/sh
[ "$#" != 2 ] || [ "$1" != -p ] || exit 0
[ ! -x /usr/bin/py3compile.distrib ] || exec /usr/bin/py3compile.distrib "$@"
STUB
# depmod goes by the name that it is called by. It holds nothing of its caller's,
# who would wait for that, and leaves its exit code.
cat >usr/sbin/depmod <<'STUB'
#!/bin/sh
set -eu
later=/usr/sbin/depmod.later
mkdir -p "$later/bin"
ln -sf "$(readlink -f /usr/sbin/depmod.distrib)" "$later/bin/depmod"
(
	rc=0
	"$later/bin/depmod" "$@" || rc=$?
	echo "$rc" >"$later/$$.new"
	mv "$later/$$.new" "$later/$$.rc"
) </dev/null >"$later/$$.said" 2>&1 3>&- 4>&- 5>&- 6>&- 7>&- 8>&- 9>&- &
echo "$!" >"$later/$$.pid"
STUB
cat >usr/sbin/update-ca-certificates <<'STUB'
#!/bin/sh
: >/usr/sbin/update-ca-certificates.later
STUB
chmod 0755 usr/bin/py3compile usr/sbin/depmod usr/sbin/update-ca-certificates
