package disk

import "testing"

func TestGrubVendor(t *testing.T) {
	t.Parallel()
	for image, want := range map[string]string{
		"MZ\x00\x00/EFI/debian\x00\x00": "debian",
		"MZ/EFI/debian\x00":             "ubuntu", // in the middle of a text
		"MZ\x00/EFI/../../x\x00":        "ubuntu",
		"MZ\x00/EFI/\x00":               "ubuntu",
		"":                              "ubuntu",
	} {
		if got := grubVendor([]byte(image), "ubuntu"); got != want {
			t.Errorf("%q: %s, want %s", image, got, want)
		}
	}
}
