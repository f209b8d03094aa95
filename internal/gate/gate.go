package gate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/attest"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/imagefile"
)

// Options says which image is judged, by what and when.
type Options struct {
	Image        string
	Policy       *Policy
	Keys         []attest.PublicKey
	Attestations string // folder of bundles
	Now          time.Time
}

// VerdictSchema is the version of the Verdict document.
const VerdictSchema = "nodeimage.dev/gate-verdict/v1"

// Verdict is the gate's answer.
type Verdict struct {
	Schema       string     `json:"schema"`
	Image        string     `json:"image"`
	SHA256       string     `json:"sha256"`
	Policy       string     `json:"policy"`
	PolicySHA256 string     `json:"policySHA256"` // of the policy's file
	Time         time.Time  `json:"time"`
	Passed       bool       `json:"passed"`
	Reasons      []Reason   `json:"reasons"`  // why not; empty if it passed
	Evidence     []Evidence `json:"evidence"` // what the verdict rests on
	Waived       []string   `json:"waived"`   // tests that passed by a waiver only
}

// Reason is one thing that stands against the image.
type Reason struct {
	ID   string `json:"id"` // stable, kebab-case
	File string `json:"file,omitempty"`
	Text string `json:"text"`
}

// Evidence is a statement whose signature was verified.
type Evidence struct {
	File     string    `json:"file"`
	SHA256   string    `json:"sha256"`
	Type     string    `json:"type"`
	Suite    string    `json:"suite,omitempty"`
	Key      string    `json:"key"` // as the policy calls it
	Attested time.Time `json:"attested"`

	data []byte
}

// Err is nil if the image passed; else it carries exit code 1.
func (v Verdict) Err() error {
	if v.Passed {
		return nil
	}
	return exitcode.With(exitcode.Failed, fmt.Errorf("%s must not be released: %d reasons", v.Image, len(v.Reasons)))
}

// WriteText writes the verdict for people.
func (v Verdict) WriteText(w io.Writer) error {
	var b strings.Builder
	for _, r := range v.Reasons {
		fmt.Fprintf(&b, "REFUSED  %s  %s\n", r.ID, r.Text)
		if r.File != "" {
			fmt.Fprintf(&b, "         in %s\n", r.File)
		}
	}
	for _, t := range v.Waived {
		fmt.Fprintf(&b, "waived   %s\n", t)
	}
	for _, e := range v.Evidence {
		kind := e.Type
		if e.Suite != "" {
			kind = e.Suite
		}
		fmt.Fprintf(&b, "evidence %s, signed by %s on %s (%s)\n", kind, e.Key, e.Attested.Format(time.RFC3339), e.File)
	}
	word := "PASS"
	if !v.Passed {
		word = "REFUSE"
	}
	fmt.Fprintf(&b, "%s  %s sha256:%s, policy %s\n", word, v.Image, v.SHA256, v.Policy)
	_, err := io.WriteString(w, b.String())
	return err
}

// Judge says whether an image passes. An error means that there is no verdict;
// it is bad input or the machine's.
func Judge(ctx context.Context, o Options) (Verdict, error) {
	img, err := imagefile.Open(ctx, o.Image)
	if err != nil {
		return Verdict{}, err
	}
	defer img.Close()
	return judge(ctx, o, img)
}

// maxTotal bounds the bundles about one image that are kept, in bytes.
const maxTotal = 512 << 20

// judgement is a verdict in the making.
type judgement struct {
	Options
	Verdict
	keys    []attest.PublicKey // given and in the policy
	total   int                // bytes kept of bundles
	results []statedResult
	types   map[string]bool // of the statements that count
}

// statedResult is a test result with what is known of its statement.
type statedResult struct {
	attest.TestResult
	file  string
	fresh bool
}

func judge(ctx context.Context, o Options, img *imagefile.Image) (Verdict, error) {
	j := &judgement{Options: o, types: map[string]bool{}, Verdict: Verdict{
		Schema: VerdictSchema, Image: img.Path, SHA256: img.SHA256, Policy: o.Policy.Name, PolicySHA256: o.Policy.sha256,
		Time: o.Now.UTC().Truncate(time.Second), Reasons: []Reason{}, Evidence: []Evidence{}, Waived: []string{},
	}}
	if len(o.Keys) == 0 {
		return Verdict{}, exitcode.BadInput(errors.New("no public key was given"))
	}
	for _, k := range o.Keys {
		if _, ok := o.Policy.keyName(k.Fingerprint()); ok {
			j.keys = append(j.keys, k)
			continue
		}
		j.refuse("key-not-in-policy", "", "key %s is not one of the policy's", k.Fingerprint())
	}
	j.clock()
	for i, w := range o.Policy.Waivers {
		if !o.Now.Before(o.Policy.expires[i]) {
			j.refuse("waiver-expired", "", "the waiver of %s for %s %q ended on %s: mend it, or decide anew", w.Owner, w.Suite, w.Test, string(w.Expires))
		}
	}
	if err := attest.EachBundle(ctx, o.Attestations, func(b attest.Stored) error { return j.take(ctx, b) }); err != nil {
		return Verdict{}, err
	}
	j.contradictions()
	j.suite(attest.SuiteValidate, o.Policy.Require.Validate.Checks)
	j.suite(attest.SuiteE2E, o.Policy.Require.E2E.Specs)
	for _, name := range o.Policy.Require.Statements {
		if !j.types[predicateTypes[name]] {
			j.refuse("statement-missing", "", "there is no valid, fresh %s of this image (%s)", name, predicateTypes[name])
		}
	}
	j.Passed = len(j.Reasons) == 0
	return j.Verdict, nil
}

func (j *judgement) refuse(id, file, format string, args ...any) {
	r := Reason{id, file, fmt.Sprintf(format, args...)}
	if !slices.Contains(j.Reasons, r) {
		j.Reasons = append(j.Reasons, r)
	}
}

// clock refuses a clock that the policy knows to be wrong.
func (j *judgement) clock() {
	if j.Now.Before(j.Options.Policy.notBefore) {
		j.refuse("clock-set-back", "", "this machine's clock says %s, and %s has begun by the policy (notBefore)", j.Now.UTC().Format(time.RFC3339), string(j.Options.Policy.NotBefore))
	}
}

// take looks at one bundle of the folder.
func (j *judgement) take(ctx context.Context, b attest.Stored) error {
	if b.Err != nil {
		// It may have been the failed run's; it must not vanish by being broken.
		j.refuse("bundle-unreadable", b.File, "%v", b.Err)
		return nil
	}
	about := b.Claim.About(j.SHA256)
	key, err := b.Bundle.Verify(ctx, j.keys)
	if err == nil && b.Claim.Attested.After(j.Now.Add(j.Options.Policy.skew)) {
		// Whatever it is about: a statement by a trusted key from the future
		// means that this clock is behind, and that nothing here is known to
		// be fresh.
		j.refuse("clock-set-back", b.File, "it was signed at %s, and this machine's clock says %s: one of the two is wrong", b.Claim.Attested.Format(time.RFC3339), j.Now.UTC().Format(time.RFC3339))
		return nil
	}
	if !about {
		// Other images' bundles are none of this verdict's business, if they
		// say clearly that they are others'.
		if err == nil && len(b.Claim.Problems) > 0 {
			j.refuse("statement-unclear", b.File, "%s", strings.Join(b.Claim.Problems, "; "))
		}
		return nil
	}
	switch {
	case errors.Is(err, attest.ErrUnknownKey):
		if b.Claim.Type == attest.TypeTestResult || j.requires(b.Claim.Type) {
			j.refuse("key-not-allowed", b.File, "it is about this image and signed by a key that was not given or is not in the policy")
		}
		return nil
	case err != nil:
		j.refuse("signature-invalid", b.File, "%v: it was changed after it was signed, or never was", err)
		return nil
	}
	if len(b.Claim.Problems) > 0 {
		j.refuse("statement-unclear", b.File, "%s", strings.Join(b.Claim.Problems, "; "))
		return nil
	}
	if j.total += len(b.Data); j.total > maxTotal {
		return exitcode.BadInput(fmt.Errorf("folder of attestations: more than %d MiB are about this image", maxTotal>>20))
	}
	name, _ := j.Options.Policy.keyName(key.Fingerprint())
	e := Evidence{File: b.File, SHA256: b.SHA256, Type: b.Claim.Type, Key: name, Attested: b.Claim.Attested, data: b.Data}
	oldest := b.Claim.Attested
	if b.Claim.Type == attest.TypeTestResult {
		t, err := attest.ReadTestResult(b.Bundle.Statement())
		if err != nil {
			j.refuse("result-contradicts-itself", b.File, "%s", oneLine(err))
			return nil
		}
		if t.Finished.After(b.Claim.Attested.Add(j.Options.Policy.skew)) {
			j.refuse("result-from-the-future", b.File, "the suite ended at %s, after the statement was signed at %s", t.Finished.Format(time.RFC3339), b.Claim.Attested.Format(time.RFC3339))
		}
		// Signing an old result again does not make it new.
		if t.Finished.Before(oldest) {
			oldest = t.Finished
		}
		e.Suite = t.Suite
		j.results = append(j.results, statedResult{t, b.File, j.fresh(oldest)})
	}
	j.Evidence = append(j.Evidence, e)
	if j.fresh(oldest) {
		j.types[b.Claim.Type] = true
	}
	return nil
}

func (j *judgement) requires(predicateType string) bool {
	for _, name := range j.Options.Policy.Require.Statements {
		if predicateTypes[name] == predicateType {
			return true
		}
	}
	return false
}

func (j *judgement) fresh(t time.Time) bool {
	return !t.Before(j.Now.Add(-j.Options.Policy.maxAge)) && !t.After(j.Now.Add(j.Options.Policy.skew))
}

func oneLine(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }
