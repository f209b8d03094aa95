package validate

import "github.com/nodeimage/packer-plugin-nodeimage/profiles"

func profileUnitDiffersFixtures() []fixture {
	p := someProfile(func(p *profiles.Profile) {
		p.Host.DisableUnits, p.Host.MaskUnits = []string{"chrony.service"}, []string{"apt-daily.service"}
	})
	masked := tree{"/etc/systemd/system/apt-daily.service": link("/dev/null")}
	return []fixture{
		unlisted(),
		{name: "good", profile: p, node: masked},
		{name: "nothing as it should be", profile: p, node: tree{
			"/etc/systemd/system/sysinit.target.wants/systemd-timesyncd.service": nil,
			"/usr/lib/systemd/system/chrony.service":                             lines("[Service]", "ExecStart=/usr/sbin/chronyd", "[Install]", "WantedBy=multi-user.target"),
			"/etc/systemd/system/multi-user.target.wants/chrony.service":         link("/usr/lib/systemd/system/chrony.service"),
		}, want: []expect{
			{Fail, "/usr/lib/systemd/system/systemd-timesyncd.service", 0, "systemd-timesyncd.service", "disabled"},
			{Fail, "/usr/lib/systemd/system/chrony.service", 0, "chrony.service", "enabled"},
			{Fail, "", 0, "apt-daily.service", "not-found"},
		}},
	}
}
