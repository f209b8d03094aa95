package whynot

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/attest"
)

// mostFailed is how many failed tests an answer names.
const mostFailed = 3

// evidence tells what runs over images of this combination came to. With keys,
// bundles that none of them signed are left out and counted.
func (a *asker) evidence(ctx context.Context, o Options) error {
	told, left := 0, 0
	err := attest.EachBundle(ctx, o.Dir, func(b attest.Stored) error {
		if b.Err != nil {
			left++
			return nil
		}
		if b.Claim.Type != attest.TypeTestResult {
			return nil
		}
		signer := "unverified, since no key was given"
		if len(o.Keys) > 0 {
			key, err := b.Bundle.Verify(ctx, o.Keys)
			if err != nil {
				left++
				return nil
			}
			signer = "signed by " + key.Fingerprint()[:12]
		}
		t, err := attest.ReadTestResult(b.Bundle.Statement())
		if err = errors.Join(err, problems(b.Claim)); err != nil {
			left++
			return nil
		}
		if !a.q.fits(t.Node) {
			return nil
		}
		told++
		a.answers = append(a.answers, stated(b, t, signer))
		return nil
	})
	if err != nil {
		return err
	}
	if told == 0 {
		a.answers = append(a.answers, Answer{Weight: Unknown, Basis: Evidence, ID: o.Dir, Text: "no run over an image of this combination is in the folder"})
	}
	if left > 0 {
		a.answers = append(a.answers, Answer{Weight: Unknown, Basis: Evidence, ID: o.Dir, Text: fmt.Sprintf("%d bundles were left out: damaged, unclear, or signed by no key that was given", left)})
	}
	return nil
}

func problems(c attest.Claim) error {
	if len(c.Problems) == 0 {
		return nil
	}
	return errors.New(strings.Join(c.Problems, "; "))
}

// stated turns a test result into an answer.
func stated(b attest.Stored, t attest.TestResult, signer string) Answer {
	answer := Answer{Basis: Evidence, ID: b.File, Read: t.Finished.UTC().Format(time.DateOnly)}
	image := b.Claim.Subjects[0]
	text := fmt.Sprintf("%s %s on %s, image %s sha256:%.12s, %s", t.Suite, t.Result, answer.Read, image.Name, image.SHA256, signer)
	var pins []string
	for _, name := range []string{"kubernetes", "containerd", "runc"} {
		if v := t.Node.Pins[name]; v != "" {
			pins = append(pins, name+" "+v)
		}
	}
	if pins = append(pins, t.Node.OS, "kernel "+t.Node.Kernel); len(pins) > 0 {
		text += " (" + strings.Join(pins, ", ") + ")"
	}
	switch {
	case len(t.StandIns) > 0:
		answer.Weight, text = Unknown, text+"; not on the real thing: "+strings.Join(t.StandIns, ", ")
	case t.Result == attest.Failed:
		answer.Weight = No
		failed := t.Failed
		if len(failed) > mostFailed {
			failed = append(slices.Clone(failed[:mostFailed]), fmt.Sprintf("%d more", len(t.Failed)-mostFailed))
		}
		text += "; failed: " + strings.Join(failed, ", ")
	case t.Suite == attest.SuiteE2E:
		answer.Weight = Fine
		text += fmt.Sprintf("; %d specs passed, %d did not run, soak %s", len(t.Passed), len(t.NotRun), t.Soak)
	default:
		// Nothing was run: the offline checks can only speak against it.
		answer.Weight = Fine
		text += fmt.Sprintf("; %d checks passed, %d warned", len(t.Passed), len(t.Warned))
	}
	answer.Text = text
	return answer
}

// fits tells whether a node is of the combination. What the node does not say
// does not fit a question about it.
func (q Question) fits(n attest.Node) bool {
	for _, pair := range [][2]string{
		{q.Kubernetes, n.Pins["kubernetes"]}, {q.Containerd, n.Pins["containerd"]}, {q.Runc, n.Pins["runc"]}, {q.Kernel, n.Kernel},
	} {
		if pair[0] != "" && !under(pair[0], pair[1]) {
			return false
		}
	}
	return q.OS == "" || q.OS == n.OS
}

// under tells whether a version is the asked one or below its branch.
func under(asked, version string) bool {
	rest, ok := strings.CutPrefix(version, asked)
	return ok && (rest == "" || strings.ContainsAny(rest[:1], ".-+~"))
}
