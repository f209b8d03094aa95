package profiles

import (
	"math"
	"testing"
)

func TestParseSize(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int64{
		"0B": 0, "512B": 512, "1KiB": 1024, "64MiB": 64 << 20, "8GiB": 8 << 30, "2TiB": 2 << 40,
		"9223372036854775807B": math.MaxInt64, "8388607TiB": 8388607 << 40,
	} {
		if got, err := ParseSize(text); err != nil || got != want {
			t.Errorf("ParseSize(%q) = %d, %v, expected %d", text, got, err, want)
		}
	}
	for _, text := range []string{
		"", "8", "8G", "8GB", "8gib", "8 GiB", " 8GiB", "8GiB\n", "-1GiB", "+1GiB", "1.5GiB", "0x8GiB", "GiB", "8PiB",
		"8388608TiB", "9223372036854775808B", "99999999999999999999999GiB",
	} {
		if got, err := ParseSize(text); err == nil {
			t.Errorf("ParseSize(%q) = %d, expected an error", text, got)
		}
	}
}
