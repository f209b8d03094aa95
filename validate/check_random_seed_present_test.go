package validate

func randomSeedPresentFixtures() []fixture {
	return []fixture{
		{name: "good"},
		{name: "systemd's", node: tree{"/var/lib/systemd/random-seed": moded(0o600, "seed")}, want: []expect{{Fail, "/var/lib/systemd/random-seed", 0, "", "random seed"}}},
		{name: "in the EFI system partition", esp: tree{"/loader/random-seed": file("seed")}, want: []expect{{Fail, "/boot/efi/loader/random-seed", 0, "", "EFI system partition"}}},
		{name: "good, an EFI system partition without one", esp: tree{"/loader/loader.conf": file("timeout 0")}},
	}
}
