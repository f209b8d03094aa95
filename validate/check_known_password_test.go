package validate

func knownPasswordFixtures() []fixture {
	good := []string{"root:*:20000:0:99999:7:::", "daemon:!:20000::::::", "sshd:!*:20000::::::"}
	return []fixture{
		{name: "good", node: tree{"/etc/shadow": lines(good...), "/etc/passwd": lines("root:x:0:0:root:/root:/bin/bash", "daemon:x:1:1::/:/bin/sh")}},
		{name: "a password", node: tree{"/etc/shadow": lines(append(good, "packer:$y$j9T$salt$hash:20000::::::")...)}, want: []expect{{Fail, "/etc/shadow", 4, "packer", "a password"}}},
		{name: "in the backup", node: tree{"/etc/shadow-": lines("root:$6$salt$hash:20000::::::")}, want: []expect{{Fail, "/etc/shadow-", 1, "root", "a password"}}},
		{name: "empty", node: tree{"/etc/shadow": lines("root::20000::::::")}, want: []expect{{Fail, "/etc/shadow", 1, "root", "empty"}}},
		{name: "a second root", node: tree{"/etc/passwd": lines("root:x:0:0::/root:/bin/sh", "toor:x:0:0::/root:/bin/sh")}, want: []expect{{Fail, "/etc/passwd", 2, "toor", "user ID 0"}}},
		{name: "in passwd", node: tree{"/etc/passwd": lines("root::0:0::/root:/bin/sh")}, want: []expect{{Fail, "/etc/passwd", 1, "root", "empty"}}},
	}
}
