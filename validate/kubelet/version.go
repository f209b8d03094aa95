package kubelet

import (
	"fmt"
	"regexp"
	"strconv"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
)

// Version is a Kubernetes release 1.Minor.Patch.
type Version struct{ Minor, Patch int }

// The releases whose flags were read from the source, all flags in force.
// Older and newer ones get no verdict on flags that are not listed here.
const (
	oldestFlags = 34
	newestFlags = 37
)

var versionPattern = regexp.MustCompile(`^v?1\.(\d{1,3})(?:\.(\d{1,3}))?(?:[-+~].*)?$`)

// ParseVersion reads a version as `kubelet --version` prints it, or 1.37.
func ParseVersion(s string) (Version, error) {
	m := versionPattern.FindStringSubmatch(s)
	if m == nil {
		return Version{}, exitcode.BadInput(fmt.Errorf("kubelet version %q: want 1.MINOR.PATCH as `kubelet --version` prints it", s))
	}
	n := func(i int) int { v, _ := strconv.Atoi(m[i]); return v } // at most three digits
	return Version{n(1), n(2)}, nil
}

func (v Version) String() string { return fmt.Sprintf("1.%d.%d", v.Minor, v.Patch) }

// Negotiation is how a kubelet arrives at its cgroup driver (KEP-4033).
type Negotiation struct {
	Driver string
	// FromRuntime says that the CRI's answer decided, not the configuration.
	FromRuntime bool
	// Refusal is set if the kubelet does not start.
	Refusal string
}

// Negotiate says which cgroup driver the kubelet ends up with. implemented
// says whether the runtime answers RuntimeConfig, answer what it says.
//
// Asking the runtime is alpha in 1.28, on by default from 1.31 and locked on
// from 1.34. A runtime without an answer is put up with until 1.37; 1.38 is
// announced to refuse it (kubernetes#139121).
func (c *Config) Negotiate(implemented bool, answer string) Negotiation {
	own := Negotiation{Driver: c.CgroupDriver.Value}
	switch {
	case c.Version.Minor < 28, c.Version.Minor < 34 && !c.gate("KubeletCgroupDriverFromCRI", c.Version.Minor >= 31):
		return own
	case implemented:
		return Negotiation{Driver: answer, FromRuntime: true}
	case c.Version.Minor >= 38:
		return Negotiation{Refusal: "the container runtime does not support the CRI method RuntimeConfig, which the kubelet needs from 1.38 on"}
	}
	return own
}

func (c *Config) gate(name string, def bool) bool {
	if g, ok := c.FeatureGates[name]; ok {
		return g.Value
	}
	return def
}
