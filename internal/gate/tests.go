package gate

import (
	"slices"
	"strings"
	"time"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/attest"
)

// suite judges what the statements say about one suite. Results that are not
// fresh count against an image and never for it.
func (j *judgement) suite(name string, required []string) {
	var all, fresh []statedResult
	for _, r := range j.results {
		if r.Suite != name {
			continue
		}
		all = append(all, r)
		if r.fresh {
			fresh = append(fresh, r)
		} else if len(required) > 0 {
			j.refuse("result-stale", r.file, "the suite %s ended at %s, longer than %s ago", name, r.Finished.Format(time.RFC3339), j.Options.Policy.MaxAge)
		}
	}
	for _, r := range all {
		if r.Result == attest.Failed && len(r.Failed) == 0 {
			j.refuse("test-failed", r.file, "%s failed, and does not say what did", name)
		}
		for _, test := range r.Failed {
			if !j.waived(name, test) {
				j.refuse("test-failed", r.file, "%s: %q failed", name, test)
			}
		}
	}
	if len(required) == 0 {
		return
	}
	if len(fresh) == 0 {
		j.refuse("result-missing", "", "there is no valid, fresh result of %s for this image, signed by an allowed key", name)
		return
	}
	for _, r := range fresh {
		j.conditions(r)
		if r.Filter != "" && slices.ContainsFunc(required, wild) {
			j.refuse("run-filtered", r.file, "only specs with the labels %q were to run, so \"*\" does not stand for all", r.Filter)
		}
	}
	for _, pattern := range required {
		j.require(name, pattern, fresh)
	}
}

// conditions refuses runs that were not of the required kind.
func (j *judgement) conditions(r statedResult) {
	require := j.Options.Policy.Require
	if len(r.StandIns) > 0 {
		j.refuse("stand-in", r.file, "%s did not run on the real thing: stand-ins for %s", r.Suite, strings.Join(r.StandIns, ", "))
	}
	if require.ProfileSHA256 != "" && r.ProfileSHA256 != require.ProfileSHA256 {
		j.refuse("profile-differs", r.file, "%s judged against the profile %q (sha256 %q): expected %s", r.Suite, r.Profile, r.ProfileSHA256, require.ProfileSHA256)
	}
	if r.Suite != attest.SuiteE2E {
		return
	}
	if !r.Unchanged {
		j.refuse("image-not-compared", r.file, "the run did not compare the image's digest at its end, so it may have been another one")
	}
	if r.Soak < j.Options.Policy.soak {
		j.refuse("soak-too-short", r.file, "the cluster was watched for %s: expected %s or longer", r.Soak, j.Options.Policy.soak)
	}
	for _, a := range r.Accelerators {
		if len(require.E2E.Accelerators) > 0 && !slices.Contains(require.E2E.Accelerators, a) {
			j.refuse("accelerator-not-allowed", r.file, "a machine ran under %s: expected %s", a, strings.Join(require.E2E.Accelerators, " or "))
		}
	}
	if len(r.Accelerators) == 0 {
		j.refuse("accelerator-not-allowed", r.file, "no machine ran")
	}
}

// require wants at least one test that fits the pattern, and all that fit to
// have passed in some fresh run: skipped, pending and blocked ones did not.
func (j *judgement) require(suite, pattern string, fresh []statedResult) {
	ended := map[string]string{}
	var order []string
	note := func(tests []string, how string) {
		for _, t := range tests {
			if !matches(pattern, t) {
				continue
			}
			if _, known := ended[t]; !known {
				order = append(order, t)
			}
			if ended[t] != "passed" {
				ended[t] = how
			}
		}
	}
	for _, r := range fresh {
		note(r.NotRun, "did not run")
		note(r.Warned, "warned")
		note(r.Failed, "failed")
		note(r.Passed, "passed")
	}
	if len(order) == 0 {
		if !j.waived(suite, pattern) {
			j.refuse("test-missing", "", "%s: no test %q ran", suite, pattern)
		}
		return
	}
	passed := false
	for _, t := range order {
		switch {
		case ended[t] == "passed":
			passed = true
		case ended[t] == "failed": // reported by suite, or waived there
			passed = passed || j.waived(suite, t)
		case j.waived(suite, t):
			passed = true
		case wild(pattern) && ended[t] == "did not run" && suite == attest.SuiteValidate:
			// A check that does not apply to the image says so by not running.
		default:
			j.refuse("test-not-passed", "", "%s: %q %s", suite, t, ended[t])
		}
	}
	if !passed {
		j.refuse("test-missing", "", "%s: no test that fits %q passed", suite, pattern)
	}
}

// waived tells whether a waiver that still counts accepts a test.
func (j *judgement) waived(suite, test string) bool {
	for i, w := range j.Options.Policy.Waivers {
		if w.Suite != suite || w.Test != test || !j.Now.Before(j.Options.Policy.expires[i]) {
			continue
		}
		text := suite + " " + test + ", by " + w.Owner + " until " + string(w.Expires) + ": " + w.Reason
		if !slices.Contains(j.Waived, text) {
			j.Waived = append(j.Waived, text)
		}
		return true
	}
	return false
}

// contradictions refuses statements about the same bytes that cannot all be
// true: one run passed and another did not, or they were against different
// profiles. Which of them is right, a person has to find out.
func (j *judgement) contradictions() {
	for i, a := range j.results {
		for _, b := range j.results[:i] {
			if a.Suite == b.Suite && j.fails(a) != j.fails(b) {
				j.refuse("statements-contradict", a.file, "%s %s, and %s in %s", a.Suite, a.Result, b.Result, b.file)
			}
			if a.ProfileSHA256 != "" && b.ProfileSHA256 != "" && a.ProfileSHA256 != b.ProfileSHA256 {
				j.refuse("statements-contradict", a.file, "%s is against the profile %q (sha256 %s), and %s in %s against %q (sha256 %s)",
					a.Suite, a.Profile, a.ProfileSHA256, b.Suite, b.file, b.Profile, b.ProfileSHA256)
			}
		}
	}
}

// fails tells whether a result says that the image is bad, waivers considered.
func (j *judgement) fails(r statedResult) bool {
	return r.Result == attest.Failed &&
		(len(r.Failed) == 0 || slices.ContainsFunc(r.Failed, func(test string) bool { return !j.waived(r.Suite, test) }))
}

func wild(pattern string) bool { return strings.Contains(pattern, "*") }
