package bootstrap

// Each package with Python modules has them compiled by a py3compile of its own,
// which starts three interpreters: for the packages of a node that takes twice
// as long as the compiling. The modules that all programs share are in one
// directory, and compiled there by one py3compile when the packages are
// configured, by the same interpreter to the same bytes.
//
// py3compile comes with one of these packages. A diversion keeps dpkg from
// putting it where the others look for it. It is written and taken out by hand,
// since dpkg-divert would leave it in diversions-old. $1 is the root.
const (
	deferBytecode = `printf '%s\n' /usr/bin/py3compile /usr/bin/py3compile.distrib : >>"$1/var/lib/dpkg/diversions" && ` +
		`printf '%s\n' '#!/bin/sh' 'program=/usr/bin/py3compile.distrib' ` +
		// A package's own directories are not among those; see below.
		`'[ "$#" != 2 ] || [ "$1" != -p ] || exit 0' ` +
		`'[ ! -x "$program" ] || exec "$program" "$@"' >"$1/usr/bin/py3compile" && chmod 0755 "$1/usr/bin/py3compile"`

	makeBytecode = `rm "$1/usr/bin/py3compile" && ` +
		`for list in "$1/var/lib/dpkg/diversions" "$1/var/lib/dpkg/diversions-old"; do ` +
		`[ ! -e "$list" ] || sed -i '\#^/usr/bin/py3compile$#,+2d' "$list" || exit 1; done; ` +
		`[ ! -e "$1/usr/bin/py3compile.distrib" ] || { mv "$1/usr/bin/py3compile.distrib" "$1/usr/bin/py3compile" && ` +
		`for dir in "$1"/usr/lib/python3/dist-packages "$1"/usr/lib/python3.*/dist-packages; do ` +
		`[ ! -d "$dir" ] || chroot "$1" py3compile "${dir#"$1"}" || exit 1; done; }`
)
