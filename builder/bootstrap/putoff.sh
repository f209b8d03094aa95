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
cat >usr/sbin/depmod <<'STUB'
#!/bin/sh
echo "$*" >>/usr/sbin/depmod.later
STUB
cat >usr/sbin/update-ca-certificates <<'STUB'
#!/bin/sh
: >/usr/sbin/update-ca-certificates.later
STUB
chmod 0755 usr/bin/py3compile usr/sbin/depmod usr/sbin/update-ca-certificates
