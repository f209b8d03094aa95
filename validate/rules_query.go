package validate

import "strings"

// Answer is what the rules know of a release, or of a whole branch, and a list
// of the first releases with a fix.
type Answer struct {
	Fixed bool
	// From is the branch's first release with the fix, "" if it never got one
	// or always had it.
	From string
}

// FixedIn tells whether a version has the fix that came with these releases.
// A version of two numbers stands for its whole branch: it is Fixed only if
// all releases of the branch are.
func FixedIn(fixed []string, version string) Answer {
	a := Answer{Fixed: has(fixed, version)}
	for _, f := range fixed {
		if branchOf(f) == branchOf(version) {
			a.From = f
			if strings.Count(version, ".") < 2 {
				a.Fixed = compare(f, branchOf(version)) <= 0
			}
		}
	}
	return a
}

// Affects tells whether a release, or a part of a branch, has the hole.
func (v Vulnerability) Affects(version string) bool {
	return !FixedIn(v.Fixed, version).Fixed && (v.Introduced == "" || compare(branchOf(version), branchOf(v.Introduced)) >= 0)
}

// Covers tells whether a kernel release lies in the range.
func (k KernelRange) Covers(release string) bool { return k.covers(release) }

// AtLeast tells whether a version is a lowest one or higher.
func (f Floor) AtLeast(version string) bool { return compare(version, f.Version) >= 0 }
