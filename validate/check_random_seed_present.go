package validate

import (
	"context"
	"errors"
	"io/fs"
)

func randomSeedPresent() Check {
	return Check{
		ID:         "random-seed-present",
		Title:      "every machine made from the image starts with the same random seed",
		Why:        `A seed that is used twice is none: keys made at first boot on two machines may be alike where the hardware has no source of its own.`,
		Reads:      "systemd's random seed in the root and in the EFI system partition",
		Scope:      "images, not running nodes",
		Fix:        "rm -f /var/lib/systemd/random-seed /boot/efi/loader/random-seed",
		Severity:   Error,
		References: []string{"https://systemd.io/BUILDING_IMAGES/", "https://www.freedesktop.org/software/systemd/man/latest/systemd-random-seed.service.html"},
		AppliesTo:  (*Node).image,
		Run: func(_ context.Context, n *Node) ([]Finding, error) {
			found, err := n.leftovers("a random seed", "none", "/var/lib/systemd/random-seed", "/var/lib/urandom/random-seed",
				"/boot/loader/random-seed", "/boot/efi/loader/random-seed", "/efi/loader/random-seed")
			if err != nil || n.ESP == nil {
				return found, err
			}
			fi, err := n.ESP.Stat("loader/random-seed")
			if errors.Is(err, fs.ErrNotExist) || err == nil && fi.Size() == 0 {
				return found, nil
			}
			if err != nil {
				return nil, err
			}
			return append(found, Finding{File: "/boot/efi/loader/random-seed", Got: "a random seed, in the EFI system partition", Want: "none"}), nil
		},
	}
}
