package validate

import "io/fs"

func setuidUnexpectedFixtures() []fixture {
	dpkg := tree{
		"/var/lib/dpkg/status":         lines("Package: sudo", "Status: install ok installed", "Architecture: amd64", "Version: 1.9.16p2-3"),
		"/var/lib/dpkg/info/sudo.list": lines("/.", "/usr", "/usr/bin", "/usr/bin/sudo"),
		"/usr/bin/sudo":                moded(fs.ModeSetuid|0o755, "sudo"),
	}
	return []fixture{
		{name: "good", node: dpkg},
		{name: "a build script's", node: dpkg.with("/usr/local/bin/helper", moded(fs.ModeSetuid|0o755, "helper")),
			want: []expect{{Warn, "/usr/local/bin/helper", 0, "", "from no package"}}},
		{name: "capabilities", node: dpkg.with("/usr/local/bin/agent", &entry{content: "agent", mode: 0o755,
			xattr: map[string]string{"security.capability": "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"}}),
			want: []expect{{Warn, "/usr/local/bin/agent", 0, "", "capabilities"}}},
		{name: "a directory is no program", node: dpkg.with("/var/mail", directory(fs.ModeSetgid|0o775))},
	}
}
