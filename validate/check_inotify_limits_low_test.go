package validate

func inotifyLimitsLowFixtures() []fixture {
	const conf = "/etc/sysctl.d/90-nodeimage.conf"
	return []fixture{
		{name: "good"},
		{name: "not set", node: tree{conf: nil}, want: []expect{{Warn, "/etc/sysctl.d", 0, "fs.inotify.max_user_instances", "default 128"}}},
		{name: "low", node: tree{conf: lines("fs.inotify.max_user_instances=256", "fs.inotify.max_user_watches=8192")}, want: []expect{
			{Warn, conf, 1, "fs.inotify.max_user_instances", "256"}, {Warn, conf, 2, "fs.inotify.max_user_watches", "8192"}}},
	}
}
