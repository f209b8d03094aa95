package containerd

import (
	"fmt"
	"regexp"
	"strconv"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
)

// Version is a containerd release, as far as its reading of the configuration
// depends on it.
type Version struct {
	Major, Minor, Patch int
	// Suffix is what follows the three numbers: a pre-release, or the
	// packager's revision. Debian's decides the default CNI directory.
	Suffix string
}

// The span of releases whose configuration code was read and executed.
// Outside of it the nearest rules are taken and Config.Extrapolated is set.
var (
	oldestModelled = Version{Major: 1, Minor: 5}
	newestModelled = Version{Major: 2, Minor: 4}
)

var versionPattern = regexp.MustCompile(`^(?:\d+:)?v?(\d{1,4})\.(\d{1,4})\.(\d{1,4})(.*)$`)

// ParseVersion reads a version as `containerd --version`, a package or a Go
// module gives it: 2.3.7, v1.7.24, 1.7.24~ds1-6+deb13u1.
func ParseVersion(s string) (Version, error) {
	m := versionPattern.FindStringSubmatch(s)
	if m == nil {
		return Version{}, exitcode.BadInput(fmt.Errorf("containerd version %q: want MAJOR.MINOR.PATCH as `containerd --version` prints it", s))
	}
	n := func(i int) int { v, _ := strconv.Atoi(m[i]); return v } // at most four digits each
	return Version{n(1), n(2), n(3), m[4]}, nil
}

func (v Version) String() string {
	return fmt.Sprintf("%d.%d.%d%s", v.Major, v.Minor, v.Patch, v.Suffix)
}

// Compare orders versions by their three numbers alone.
func (v Version) Compare(w Version) int {
	for _, d := range []int{v.Major - w.Major, v.Minor - w.Minor, v.Patch - w.Patch} {
		if d != 0 {
			return d
		}
	}
	return 0
}

// AtLeast reports whether v is major.minor.patch or later.
func (v Version) AtLeast(major, minor, patch int) bool {
	return v.Compare(Version{Major: major, Minor: minor, Patch: patch}) >= 0
}

// schema is the newest config version that this containerd knows.
func (v Version) schema() int {
	switch {
	case v.AtLeast(2, 3, 0):
		return 4
	case v.AtLeast(2, 0, 0):
		return 3
	}
	return 2
}

// debian reports whether Debian built this binary from its repacked source.
// Its packages look for CNI plugins in /usr/lib/cni by default.
func (v Version) debian() bool { return debianSuffix.MatchString(v.Suffix) }

var debianSuffix = regexp.MustCompile(`^[~+]ds`)

// checksNewerSchema reports whether a 1.x release refuses a config version
// above 2. Before, it went on with the file and found none of the new keys.
// The refusal is in 1.7.17 and 1.6.36 and not in 1.7.16 and 1.6.19.
func (v Version) checksNewerSchema() bool {
	return v.AtLeast(1, 7, 17) || (v.Minor == 6 && v.Patch >= 32)
}

// anchorsGlobs reports whether a relative import with a wildcard is taken from
// the importing file's directory (in 1.7.16 and 1.6.36, not in 1.7.15 and
// 1.6.19) and not from containerd's working directory.
func (v Version) anchorsGlobs() bool {
	return v.AtLeast(1, 7, 16) || (v.Minor == 6 && v.Patch >= 32)
}

// refusesNewerDropIn reports whether a drop-in of a higher version than the
// main file's is an error. Added in 2.3.0, taken back in 2.3.5.
func (v Version) refusesNewerDropIn() bool {
	return v.AtLeast(2, 3, 0) && !v.AtLeast(2, 3, 5)
}
