package profiles

import (
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
)

// Verdict says how a containerd branch goes with a Kubernetes minor version.
type Verdict string

// The verdicts, best first.
const (
	Recommended Verdict = "recommended" // containerd's own table lists the pair
	Works       Verdict = "works"       // has the CRI the kubelet wants, but is not listed
	Fallback    Verdict = "fallback"    // runs; the kubelet cannot ask for the cgroup driver
	Refused     Verdict = "refused"     // does not run
)

var verdicts = []string{string(Recommended), string(Works), string(Fallback), string(Refused)}

// Compatibility is what is known about versions that go together, from
// compatibility.yaml. Maps are keyed by branch: "1.37", "2.3".
type Compatibility struct {
	APIVersion string                      `yaml:"apiVersion" json:"apiVersion"`
	Kind       string                      `yaml:"kind" json:"kind"`
	Sources    map[string]Reference        `yaml:"sources" json:"sources"`
	Kubernetes map[string]KubernetesBranch `yaml:"kubernetes" json:"kubernetes"`
	Containerd map[string]ContainerdBranch `yaml:"containerd" json:"containerd"`
	Runc       map[string]RuncBranch       `yaml:"runc" json:"runc"`
	Systems    map[string]System           `yaml:"systems" json:"systems"` // by ID-VERSION_ID of os-release
	Faults     map[string]SystemFault      `yaml:"faults" json:"faults"`   // by the ID of the check that finds it in an image
}

// Reference is where something was read, and when.
type Reference struct {
	Title string `yaml:"title" json:"title"`
	URL   string `yaml:"url" json:"url"`
	Read  Date   `yaml:"read" json:"read"`
}

// Date is a day, 2026-11-23.
type Date string

// KubernetesBranch is a minor version of Kubernetes.
type KubernetesBranch struct {
	EndOfLife  Date                      `yaml:"endOfLife" json:"endOfLife"`
	Sources    []string                  `yaml:"sources" json:"sources"`
	Kubeadm    []KubeadmWants            `yaml:"kubeadm" json:"kubeadm"`       // ascending by From
	Containerd map[string]ContainerdPair `yaml:"containerd" json:"containerd"` // by containerd branch
}

// KubeadmWants are the image tags that kubeadm asks for from a patch release on.
type KubeadmWants struct {
	From    string `yaml:"from" json:"from"`
	Etcd    string `yaml:"etcd" json:"etcd"`
	CoreDNS string `yaml:"coredns" json:"coredns"`
	Pause   string `yaml:"pause" json:"pause"`
}

// ContainerdPair is what is known of a containerd branch under a Kubernetes minor.
type ContainerdPair struct {
	Verdict Verdict `yaml:"verdict" json:"verdict"`
	From    string  `yaml:"from" json:"from,omitempty"` // the patch release from which containerd's table lists it
}

// ContainerdBranch is a minor version of containerd.
type ContainerdBranch struct {
	ConfigVersion int      `yaml:"configVersion" json:"configVersion"`
	Runc          string   `yaml:"runc" json:"runc"` // lowest runc branch it was tested with
	EndOfLife     Date     `yaml:"endOfLife" json:"endOfLife"`
	Sources       []string `yaml:"sources" json:"sources"`
}

// RuncBranch is a minor version of runc.
type RuncBranch struct {
	Support string   `yaml:"support" json:"support"` // full, security, severe, none
	Sources []string `yaml:"sources" json:"sources"`
}

var (
	branchName = regexp.MustCompile(`^(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)$`)
	dateText   = regexp.MustCompile(`^[0-9]{4}-[01][0-9]-[0-3][0-9]$`)
)

// LoadCompatibility returns the built-in table, which is the same for all
// callers and not to be changed. An error means that this program was built
// with a broken one.
func LoadCompatibility() (*Compatibility, error) { return builtinCompatibility() }

// Every profile is held against the table, and a matrix has thousands of them,
// so it is read once.
var builtinCompatibility = sync.OnceValues(func() (*Compatibility, error) { return readCompatibility(builtin) })

func readCompatibility(files fs.FS) (*Compatibility, error) {
	c := &Compatibility{}
	check := func(v *validator) {
		v.table = c
		v.compatibility(c)
	}
	if err := readTable(files, compatibilityFile, "compatibility table", c, check); err != nil {
		return nil, err
	}
	return c, nil
}

func (v *validator) compatibility(c *Compatibility) {
	v.oneOf("apiVersion", c.APIVersion, []string{APIVersion})
	v.oneOf("kind", c.Kind, []string{"Compatibility"})
	v.sources(c.Sources)
	v.filled("kubernetes", len(c.Kubernetes), "Kubernetes minor version")
	for _, name := range sortedKeys(c.Kubernetes) {
		at, k := join("kubernetes", name), c.Kubernetes[name]
		v.branch(at, name)
		v.date(at+".endOfLife", k.EndOfLife)
		v.references(at, k.Sources)
		v.filled(at+".kubeadm", len(k.Kubeadm), "patch release with its image tags")
		for i, w := range k.Kubeadm {
			at := fmt.Sprintf("%s.kubeadm[%d]", at, i)
			v.match(at+".from", w.From, upstreamVersion, "a Kubernetes version")
			if w.From != "" && branch(w.From) != name || i > 0 && compareVersions(w.From, k.Kubeadm[i-1].From) <= 0 {
				v.report(at+".from", "found %s, expected a version of %s, in ascending order", quote(w.From), name)
			}
			v.match(at+".etcd", w.Etcd, upstreamVersion, "an etcd image tag")
			v.match(at+".coredns", w.CoreDNS, moduleVersion, "a CoreDNS image tag")
			v.match(at+".pause", w.Pause, upstreamVersion, "a pause image tag")
		}
		v.filled(at+".containerd", len(k.Containerd), "containerd branch")
		for _, other := range sortedKeys(k.Containerd) {
			at, pair := join(at+".containerd", other), k.Containerd[other]
			if _, known := c.Containerd[other]; !known {
				v.reportKey(at, "containerd %s is not described under containerd", other)
			}
			v.oneOf(at+".verdict", string(pair.Verdict), verdicts)
			if pair.From != "" && branch(pair.From) != other {
				v.report(at+".from", "found %s, expected a version of %s", quote(pair.From), other)
			}
		}
	}
	for _, name := range sortedKeys(c.Containerd) {
		at, b := join("containerd", name), c.Containerd[name]
		v.branch(at, name)
		v.date(at+".endOfLife", b.EndOfLife)
		v.references(at, b.Sources)
		if !slices.Contains([]int{2, 3, 4}, b.ConfigVersion) {
			v.report(at+".configVersion", "found %d, expected 2, 3 or 4", b.ConfigVersion)
		}
		if _, known := c.Runc[b.Runc]; !known {
			v.report(at+".runc", "runc %s is not described under runc", b.Runc)
		}
	}
	for _, name := range sortedKeys(c.Runc) {
		at, b := join("runc", name), c.Runc[name]
		v.branch(at, name)
		v.references(at, b.Sources)
		v.oneOf(at+".support", b.Support, []string{"full", "security", "severe", "none"})
	}
	v.systems(c)
}

func (v *validator) sources(refs map[string]Reference) {
	for _, id := range sortedKeys(refs) {
		at, ref := join("sources", id), refs[id]
		v.required(at+".title", ref.Title, "what was read")
		v.uri(at+".url", ref.URL, "https")
		v.date(at+".read", ref.Read)
	}
}

func (v *validator) branch(at, name string) {
	if !branchName.MatchString(name) {
		v.reportKey(at, "found %s, expected a major and minor version such as \"1.37\"", quote(name))
	}
}

func (v *validator) date(at string, d Date) {
	v.match(at, string(d), dateText, "a day such as 2026-11-23")
}

func (v *validator) references(at string, ids []string) {
	v.filled(at+".sources", len(ids), "source")
	v.list(at+".sources", ids, func(at, id string) { v.oneOf(at, id, sortedKeys(v.table.Sources)) })
}

// ConfigVersion returns the version of config.toml that this version of
// containerd wants: 2 for 1.x, 3 for 2.0 to 2.2, 4 from 2.3 on. A higher one
// is refused or silently ignored by older releases, a lower one is migrated
// with losses. An unknown branch is bad input.
func ConfigVersion(containerdVersion string) (int, error) {
	table, err := LoadCompatibility()
	if err != nil {
		return 0, err
	}
	b, known := table.Containerd[branch(containerdVersion)]
	if !known {
		return 0, exitcode.BadInput(fmt.Errorf("containerd %q: its configuration version is not known; expected a version of %s",
			containerdVersion, strings.Join(Branches(table.Containerd), ", ")))
	}
	return b.ConfigVersion, nil
}

// Wants returns the image tags that kubeadm of this Kubernetes version asks
// for, or false when they are not known.
func (c *Compatibility) Wants(kubernetesVersion string) (KubeadmWants, bool) {
	var found KubeadmWants
	ok := false
	for _, w := range c.Kubernetes[branch(kubernetesVersion)].Kubeadm {
		if compareVersions(kubernetesVersion, w.From) >= 0 {
			found, ok = w, true
		}
	}
	return found, ok
}

// Pair returns how a containerd version goes with a Kubernetes version, or
// false when nothing is known about them.
func (c *Compatibility) Pair(kubernetesVersion, containerdVersion string) (Verdict, bool) {
	pair, ok := c.Kubernetes[branch(kubernetesVersion)].Containerd[branch(containerdVersion)]
	if ok && pair.Verdict == Recommended && pair.From != "" && compareVersions(containerdVersion, pair.From) < 0 {
		return Works, true
	}
	return pair.Verdict, ok
}

// branch returns major and minor of an upstream or Debian version.
func branch(version string) string {
	n := numbers(version)
	if len(n) < 2 {
		return ""
	}
	return strconv.Itoa(n[0]) + "." + strconv.Itoa(n[1])
}

var leadingNumbers = regexp.MustCompile(`^(?:[0-9]+:)?v?([0-9]{1,9}(?:\.[0-9]{1,9})*)`)

func numbers(version string) []int {
	m := leadingNumbers.FindStringSubmatch(version)
	if m == nil {
		return nil
	}
	var out []int
	for _, part := range strings.Split(m[1], ".") {
		n, _ := strconv.Atoi(part) // at most nine digits
		out = append(out, n)
	}
	return out
}

// compareVersions orders by numbers only; pre-releases count as their release.
func compareVersions(a, b string) int { return slices.Compare(numbers(a), numbers(b)) }

// Branches returns the keys of a map by branch in the order of their numbers:
// 1.7 before 1.10.
func Branches[V any](m map[string]V) []string {
	keys := sortedKeys(m)
	slices.SortStableFunc(keys, compareVersions)
	return keys
}
