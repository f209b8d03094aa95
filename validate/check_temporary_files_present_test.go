package validate

func temporaryFilesPresentFixtures() []fixture {
	return []fixture{
		{name: "good", node: tree{"/tmp": directory(0o777), "/var/tmp/empty": directory(0o700)}},
		{name: "left", node: tree{"/tmp/script_1234.sh": exe("#!/bin/sh")}, want: []expect{{Warn, "/tmp/script_1234.sh", 0, "", "temporary"}}},
	}
}
