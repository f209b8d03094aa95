package bootstrap

import _ "embed"

// Some of what packages do when they are configured is slow and waited for by
// no other package: it is put off until all of them are there, or done beside
// them, with the same result.
//
//   - Each package with Python modules has them compiled by a py3compile of its
//     own, which starts three interpreters: that takes twice as long as the
//     compiling. The modules that all programs share are in one directory, and one
//     py3compile does that.
//   - A kernel's depmod reads all modules, unpacking each. Others are configured
//     meanwhile, and it is waited for in the end.
//   - ca-certificates fills /etc/ssl/certs when it is configured, and again when
//     its trigger is, with five processes for each authority. Nothing that is
//     installed from an archive needs one to be configured.
//
// The programs come with packages that are yet to be unpacked. A diversion keeps
// dpkg from putting them where the others look for them. It is written and taken
// out by hand: dpkg-divert would leave it in diversions-old.
var (
	//go:embed putoff.sh
	putOff string // an essential-hook; $1 is the root
	//go:embed catchup.sh
	catchUp string // a customize-hook
)
