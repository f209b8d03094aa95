package validate

func apparmorRuncProfileDisabledFixtures() []fixture {
	const disabled = "/etc/apparmor.d/disable/runc"
	return []fixture{
		{name: "good"},
		{name: "disabled", node: tree{disabled: link("/etc/apparmor.d/runc")}, want: []expect{{Warn, disabled, 0, "profile runc", "disabled"}}},
		{name: "AppArmor 3", node: tree{"/etc/apparmor.d/runc": nil}, want: []expect{{Skip, "", 0, "", "no AppArmor profile for runc"}}},
	}
}
