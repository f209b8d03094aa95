package profiles

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
)

var sizePattern = regexp.MustCompile(`^([0-9]+)(B|KiB|MiB|GiB|TiB)$`)

// ParseSize reads a size such as 8GiB, 64MiB or 512B into bytes. Only whole
// numbers with a binary unit are read: 8G means two different things to
// different tools, so it is refused.
func ParseSize(s string) (int64, error) {
	m := sizePattern.FindStringSubmatch(s)
	if m == nil {
		return 0, fmt.Errorf("size %q: expected a whole number and B, KiB, MiB, GiB or TiB, such as 8GiB", clip(s))
	}
	n, err := strconv.ParseInt(m[1], 10, 64)
	shift := map[string]uint{"B": 0, "KiB": 10, "MiB": 20, "GiB": 30, "TiB": 40}[m[2]]
	if err != nil || n > math.MaxInt64>>shift {
		return 0, fmt.Errorf("size %q: too large: expected less than 8388608TiB", clip(s))
	}
	return n << shift, nil
}
