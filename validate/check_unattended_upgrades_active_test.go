package validate

func unattendedUpgradesActiveFixtures() []fixture {
	const conf = "/etc/apt/apt.conf.d/20auto-upgrades"
	on := tree{
		"/usr/bin/unattended-upgrade": exe("#!/usr/bin/python3"),
		conf:                          lines(`APT::Periodic::Update-Package-Lists "1";`, `APT::Periodic::Unattended-Upgrade "1";`),
		"/usr/lib/systemd/system/apt-daily-upgrade.timer":                 lines("[Timer]", "OnCalendar=*-*-* 6:00", "[Install]", "WantedBy=timers.target"),
		"/usr/lib/systemd/system/apt-daily-upgrade.service":               lines("[Service]", "Type=oneshot", "ExecStart=/usr/lib/apt/apt.systemd.daily install"),
		"/usr/lib/systemd/system/timers.target":                           lines("[Unit]", "Description=Timers"),
		"/usr/lib/systemd/system/multi-user.target":                       lines("[Unit]", "Requires=basic.target"),
		"/usr/lib/systemd/system/basic.target":                            lines("[Unit]", "Wants=timers.target"),
		"/etc/systemd/system/timers.target.wants/apt-daily-upgrade.timer": link("/usr/lib/systemd/system/apt-daily-upgrade.timer"),
	}
	return []fixture{
		{name: "good"},
		{name: "on", node: on, want: []expect{{Warn, conf, 2, "APT::Periodic::Unattended-Upgrade", "apt-daily-upgrade.timer"}}},
		{name: "switched off later", node: on.with("/etc/apt/apt.conf.d/90-nodeimage", lines(`APT::Periodic::Unattended-Upgrade "0";`))},
		{name: "the timer does not run", node: on.with("/etc/systemd/system/timers.target.wants/apt-daily-upgrade.timer", nil)},
		{name: "the service is masked", node: on.with("/etc/systemd/system/apt-daily-upgrade.service", link("/dev/null"))},
		{name: "not installed", node: on.with("/usr/bin/unattended-upgrade", nil)},
	}
}
