package profiles

import (
	"fmt"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Patterns of names that other programs read back.
var (
	profileName  = regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$`)
	groupName    = regexp.MustCompile(`^[a-z0-9][a-z0-9-]*$`)
	codename     = regexp.MustCompile(`^[a-z][a-z0-9-]*$`)
	osVersion    = regexp.MustCompile(`^[0-9]+(\.[0-9]+)?$`)
	suiteName    = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]*(/[a-z0-9._-]+)*$`)
	areaName     = regexp.MustCompile(`^[a-z0-9][a-z0-9-]*(/[a-z0-9-]+)*$`)
	snapshotTime = regexp.MustCompile(`^20[0-9]{2}(0[1-9]|1[0-2])(0[1-9]|[12][0-9]|3[01])T([01][0-9]|2[0-3])[0-5][0-9][0-5][0-9]Z$`)
	packageName  = regexp.MustCompile(`^[a-z0-9][a-z0-9+.-]+$`)
	kernelArg    = regexp.MustCompile("^[^\\s\"'`$\\\\]+$")
	moduleName   = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]*$`)
	sysctlName   = regexp.MustCompile(`^[a-z][a-z0-9_-]*([./][A-Za-z0-9_-]+)+$`)
	sysctlValue  = regexp.MustCompile(`^[^\x00-\x08\x0a-\x1f\x7f]+$`)
	unitName     = regexp.MustCompile(`^[A-Za-z0-9:_.\\@-]+\.(service|socket|device|mount|automount|swap|target|path|timer|slice|scope)$`)
	journalSize  = regexp.MustCompile(`^[1-9][0-9]*[KMGT]?$`)
	timeZone     = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+)*$`)
	localeName   = regexp.MustCompile(`^(C|POSIX|[a-z]{2,3}_[A-Z]{2})(\.[A-Za-z0-9-]+)?(@[a-z]+)?$`)
	handlerName  = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)
	handlerType  = regexp.MustCompile(`^io\.containerd\.[a-z0-9-]+\.v[0-9]+$`)
	noFile       = regexp.MustCompile(`^([1-9][0-9]*|infinity)(?::([1-9][0-9]*|infinity))?$`)
	repository   = regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:[0-9]{1,5})?(/[a-z0-9]+([._-]+[a-z0-9]+)*)*$`)
	standIn      = regexp.MustCompile(`^[^\x00-\x1f\x7f]{1,200}$`)
	rootLabel    = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`)
	variants     = []string{"essential", "apt", "required", "minbase", "buildd", "important", "standard"}
	architecture = []string{"amd64", "arm64"}
)

// datasources are those cloud-init 25 knows; it ignores any other name in
// silence, and the node then never gets its keys.
var datasources = []string{
	"AliYun", "Akamai", "AltCloud", "Azure", "Bigstep", "CloudCIX", "CloudSigma", "CloudStack",
	"ConfigDrive", "DigitalOcean", "Ec2", "Exoscale", "GCE", "Hetzner", "IBMCloud", "LXD", "MAAS",
	"NWCS", "NoCloud", "None", "OVF", "OpenNebula", "OpenStack", "Oracle", "RbxCloud", "Scaleway",
	"SmartOS", "UpCloud", "VMware", "Vultr", "WSL",
}

const (
	runcHandlerType        = "io.containerd.runc.v2"
	defaultImageRepository = "registry.k8s.io"
	stubResolvConf         = "/run/systemd/resolve/stub-resolv.conf"
)

// The smallest disk that holds a node with its images, and the smallest FAT32
// file system that firmware accepts as an EFI system partition. ext4 keeps 16
// bytes for a label.
const (
	minDiskSize  = 4 << 30
	minESPSize   = 33 << 20
	maxRootLabel = 16
)

// validator checks the values of a decoded profile with defaults filled in.
type validator struct {
	*decoder
	top   position
	table *Compatibility
	said  map[string]bool // paths something was said about
}

func newValidator(d *decoder, file string, table *Compatibility) *validator {
	return &validator{decoder: d, top: position{file, 1, 1}, table: table, said: map[string]bool{}}
}

// report says something about a value, at its place, or where there is none
// at the nearest key above. The first message about a path is the only one.
func (v *validator) report(path, format string, args ...any) {
	at, ok := v.at[path]
	for p := parent(path); !ok; p = parent(p) {
		if p == "" {
			at = v.top
			break
		}
		if at, ok = v.keyAt[p]; !ok {
			at, ok = v.at[p]
		}
	}
	v.say(at, path, format, args...)
}

// reportKey says something about a key rather than its value.
func (v *validator) reportKey(path, format string, args ...any) {
	v.say(v.keyAt[path], path, format, args...)
}

func (v *validator) say(at position, path, format string, args ...any) {
	for p := path; p != ""; p = parent(p) {
		if v.refused[p] {
			return
		}
	}
	if v.said[path] {
		return
	}
	v.said[path] = true
	v.problems = append(v.problems, at.problem(path, format, args...))
}

func parent(path string) string {
	if strings.HasSuffix(path, `"]`) {
		if i := strings.LastIndex(path, `["`); i >= 0 {
			return path[:i]
		}
	}
	return path[:max(strings.LastIndexAny(path, ".["), 0)]
}

// choice names what is allowed: "one of a, b".
func choice(allowed []string) string {
	if len(allowed) == 1 {
		return allowed[0]
	}
	return "one of " + strings.Join(allowed, ", ")
}

func quote(s string) string { return strconv.Quote(clip(s)) }

// required reports an absent value and tells whether there is one to check.
func (v *validator) required(path, value, expected string) bool {
	if value == "" {
		v.report(path, "missing: expected %s", expected)
	}
	return value != ""
}

func (v *validator) match(path, value string, pattern *regexp.Regexp, expected string) {
	if v.required(path, value, expected) && !pattern.MatchString(value) {
		v.report(path, "found %s, expected %s", quote(value), expected)
	}
}

func (v *validator) oneOf(path, value string, allowed []string) {
	expected := choice(allowed)
	if !v.required(path, value, expected) || slices.Contains(allowed, value) {
		return
	}
	v.report(path, "found %s, expected %s%s", quote(value), expected, didYouMean(value, allowed))
}

func (v *validator) absolute(p, value, what string) {
	expected := "the absolute path of " + what
	if !v.required(p, value, expected) {
		return
	}
	if !path.IsAbs(value) || path.Clean(value) != value || value == "/" || strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		v.report(p, "found %s, expected %s, without ., .. or a slash at the end", quote(value), expected)
	}
}

// list checks each item, and that none is given twice.
func (v *validator) list(path string, items []string, check func(path, item string)) {
	seen := map[string]int{}
	for i, item := range items {
		at := fmt.Sprintf("%s[%d]", path, i)
		if item == "" { // refused while decoding
			continue
		}
		if first, twice := seen[item]; twice {
			v.report(at, "found %s twice: first as item %d", quote(item), first)
			continue
		}
		seen[item] = i
		check(at, item)
	}
}

func (v *validator) filled(path string, n int, what string) {
	if n == 0 {
		v.report(path, "found none, expected at least one %s", what)
	}
}

func (v *validator) patternList(path string, items []string, pattern *regexp.Regexp, expected string) {
	v.list(path, items, func(at, item string) { v.match(at, item, pattern, expected) })
}

func (v *validator) profile(p *Profile) {
	if p.Abstract {
		v.report("abstract", "this profile is only a base for others and cannot be built; name one that extends it")
		return
	}
	v.match("name", p.Name, profileName, "a name of lower-case letters, digits, dots and hyphens, at most 63")

	v.oneOf("os.distribution", p.OS.Distribution, []string{"debian", "ubuntu"})
	v.match("os.version", p.OS.Version, osVersion, `VERSION_ID of os-release, such as "13" or "24.04"`)
	v.match("os.codename", p.OS.Codename, codename, "a release's code name, such as trixie")
	v.oneOf("os.arch", p.OS.Arch, architecture)

	v.base(p)
	v.archive(p.Archive)
	v.packages(p.Packages)
	v.match("kernel.package", p.Kernel.Package, packageName, "the name of a kernel package")
	v.arch(p)
	v.list("kernel.commandLine", p.Kernel.CommandLine, v.kernelArgument)
	v.host(p.Host)
	v.runtime(p.Runtime)
	v.kubernetes(p)
	v.components(p)
	v.system(p)
	v.disk(p.Disk)
	v.list("standIns", p.StandIns, func(at, text string) { v.match(at, text, standIn, "a few words on one line") })
}

func (v *validator) archive(a Archive) {
	v.absolute("archive.keyring", a.Keyring, "a keyring file on the build host")
	v.filled("archive.sources", len(a.Sources), "source")
	for i, s := range a.Sources {
		at := fmt.Sprintf("archive.sources[%d]", i)
		v.uri(at+".uri", s.URI, "http", "https", "file")
		v.filled(at+".suites", len(s.Suites), "suite")
		v.patternList(at+".suites", s.Suites, suiteName, "the name of a suite, such as trixie-updates")
		v.filled(at+".components", len(s.Components), "archive component, such as main")
		v.patternList(at+".components", s.Components, areaName, "the name of an archive component, such as main")
		if s.Keyring != "" {
			v.absolute(at+".keyring", s.Keyring, "a keyring file on the build host")
		}
		if s.Signer != "" {
			v.match(at+".signer", s.Signer, keyFingerprint, fingerprintExpected)
		}
		v.snapshotURI(at, a.Snapshot, s.SnapshotURI)
	}
	if a.Snapshot != "" {
		v.match("archive.snapshot", a.Snapshot, snapshotTime, "a moment in UTC, such as 20261101T000000Z")
	}
}

// snapshotURI wants one where it is needed, with a place for the moment.
func (v *validator) snapshotURI(at, snapshot, uri string) {
	switch {
	case uri == "" && snapshot == "":
	case uri == "":
		v.report(at+".snapshotURI", "missing: expected where this source's past states are, since archive.snapshot asks for one")
	case strings.Count(uri, snapshotPlaceholder) != 1:
		v.report(at+".snapshotURI", "found %s, expected a URI with %s in it", quote(uri), snapshotPlaceholder)
	default:
		v.uri(at+".snapshotURI", strings.Replace(uri, snapshotPlaceholder, "20261101T000000Z", 1), "http", "https", "file")
	}
}

func (v *validator) uri(at, value string, schemes ...string) {
	expected := "a URI that starts with " + strings.Join(schemes, ":// or ") + "://"
	if !v.required(at, value, expected) {
		return
	}
	u, err := url.Parse(value)
	switch {
	case err != nil || strings.ContainsAny(value, " \t\n#"):
		v.report(at, "found %s, expected %s", quote(value), expected)
	case !slices.Contains(schemes, u.Scheme):
		v.report(at, "found %s, expected %s", quote(value), expected)
	case u.User != nil:
		v.report(at, "found a user or password in the URI: it would end up in the image; use apt's auth.conf or a proxy")
	case u.Scheme == "file" && (u.Host != "" || !path.IsAbs(u.Path)):
		v.report(at, "found %s, expected file:// and an absolute path", quote(value))
	case u.Scheme != "file" && u.Hostname() == "":
		v.report(at, "found %s, expected a host name", quote(value))
	}
}

func (v *validator) packages(p Packages) {
	v.oneOf("packages.variant", p.Variant, variants)
	v.filled("packages.include", len(p.Include), "group of packages")
	for _, group := range sortedKeys(p.Include) {
		at := join("packages.include", group)
		if !groupName.MatchString(group) {
			v.reportKey(at, "group name: expected lower-case letters, digits and hyphens")
		}
		v.patternList(at, p.Include[group], packageName, "the name of a package")
	}
}

func (v *validator) kernelArgument(at, arg string) {
	v.match(at, arg, kernelArg, "one argument without blanks, quotes, $ or \\")
	if strings.HasPrefix(arg, "root=") {
		v.report(at, "found %s: the builder names the root file system by itself", quote(arg))
	}
}

func (v *validator) disk(d Disk) {
	size := v.size("disk.size", d.Size, minDiskSize, "4GiB")
	esp := v.size("disk.espSize", d.ESPSize, minESPSize, "33MiB")
	if size > 0 && esp > size/4 {
		v.report("disk.espSize", "found %s, expected at most a quarter of disk.size (%s)", quote(d.ESPSize), d.Size)
	}
	v.filled("disk.formats", len(d.Formats), "format, such as qcow2")
	v.list("disk.formats", d.Formats, func(at, format string) { v.oneOf(at, format, []string{"ova", "qcow2", "raw", "vhd", "vmdk"}) })
	v.match("disk.rootLabel", d.RootLabel, rootLabel, "a label of letters, digits, dots, underscores and hyphens")
	if len(d.RootLabel) > maxRootLabel {
		v.report("disk.rootLabel", "found %d bytes, expected at most %d: ext4 keeps no more", len(d.RootLabel), maxRootLabel)
	}
}

// size returns the bytes, or 0 when they were refused.
func (v *validator) size(at, value string, least int64, leastText string) int64 {
	if !v.required(at, value, "a size such as 8GiB") {
		return 0
	}
	n, err := ParseSize(value)
	switch {
	case err != nil:
		v.report(at, "%v", err)
		return 0
	case n < least:
		v.report(at, "found %s, expected at least %s", quote(value), leastText)
		return 0
	case n%(1<<20) != 0:
		v.report(at, "found %s, expected a whole number of MiB: partitions are aligned to that", quote(value))
		return 0
	}
	return n
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
