package validate

func machineSecretPresentFixtures() []fixture {
	const iscsi = "/etc/iscsi/initiatorname.iscsi"
	return []fixture{
		{name: "good", node: tree{iscsi: lines("## made at first start", "GenerateName=yes")}},
		{name: "storage names", node: tree{"/etc/nvme/hostid": lines("id"), iscsi: lines("# iSCSI", "InitiatorName=iqn.1993-08.org.debian:01:abc")}, want: []expect{
			{Fail, "/etc/nvme/hostid", 0, "", "one machine"}, {Fail, iscsi, 2, "InitiatorName", "fixed"}}},
		{name: "systemd's secret", node: tree{"/var/lib/systemd/credential.secret": moded(0o600, "secret")}, want: []expect{{Fail, "/var/lib/systemd/credential.secret", 0, "", ""}}},
	}
}
