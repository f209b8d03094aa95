package gate

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	intoto "github.com/in-toto/attestation/go/v1"
	"github.com/secure-systems-lab/go-securesystemslib/dsse"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/attest"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
)

var now = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

const profileSum = "a2e8f14c5b7d40c5a3cc2bf11986cf3b8dbbecb6bfc3750a227ce3ccd33cfeea"

// release is an image with everything that lets it pass. Tests break it.
type release struct {
	t    *testing.T
	dir  string
	key  *attest.PrivateKey
	opts Options
	sum  string
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func sumOf(data string) string {
	sum := sha256.Sum256([]byte(data))
	return hex.EncodeToString(sum[:])
}

func newKey(t *testing.T) *attest.PrivateKey {
	t.Helper()
	key, err := attest.GenerateKey(attest.ECDSA)
	must(t, err)
	return key
}

func policyText(key *attest.PrivateKey) string {
	return `apiVersion: nodeimage.dev/v1alpha1
kind: GatePolicy
name: release
keys:
  - {name: ci, sha256: ` + key.Public().Fingerprint() + `}
maxAge: 168h
clockSkew: 5m
notBefore: 2026-11-01
require:
  validate:
    checks: [cgroup-driver-mismatch, swap-enabled]
  e2e:
    specs: ["kube-proxy stays up*", pod terminates]
    soak: 5m
  statements: [sbom]
`
}

const imageText = "the image's bytes"

func newRelease(t *testing.T) *release {
	t.Helper()
	r := &release{t: t, dir: t.TempDir(), key: newKey(t), sum: sumOf(imageText)}
	r.opts = Options{Image: filepath.Join(r.dir, "node.qcow2"), Attestations: filepath.Join(r.dir, "attestations"), Now: now, Keys: []attest.PublicKey{r.key.Public()}}
	must(t, os.Mkdir(r.opts.Attestations, 0o755))
	r.write(r.opts.Image, imageText)
	r.policy(policyText(r.key))
	r.state("validate", goodValidate(), r.sum)
	r.state("e2e", goodE2E(), r.sum)
	r.bill("sbom", r.sum)
	return r
}

func goodValidate() attest.TestResult {
	return attest.TestResult{
		Suite: attest.SuiteValidate, Result: attest.Warned, Finished: now.Add(-2 * time.Hour), Tool: "0.1.0", ReportSHA256: sumOf("report"),
		Passed: []string{"cgroup-driver-mismatch", "swap-enabled"}, Warned: []string{"logs-present"}, NotRun: []string{"swap-in-use"},
		Profile: "debian-13", ProfileSHA256: profileSum,
	}
}

func goodE2E() attest.TestResult {
	return attest.TestResult{
		Suite: attest.SuiteE2E, Result: attest.Passed, Finished: now.Add(-time.Hour), Tool: "0.1.0", ReportSHA256: sumOf("summary"),
		Passed: []string{"kube-proxy stays up over 5m0s", "pod terminates", "left the image as it was"},
		Soak:   5 * time.Minute, Accelerators: []string{"kvm"}, Unchanged: true, Profile: "debian-13", ProfileSHA256: profileSum,
	}
}

func (r *release) write(path, text string) {
	r.t.Helper()
	must(r.t, os.WriteFile(path, []byte(text), 0o644))
}

func (r *release) policy(text string) {
	r.t.Helper()
	path := filepath.Join(r.dir, "policy.yaml")
	r.write(path, text)
	p, err := LoadPolicy(path)
	must(r.t, err)
	r.opts.Policy = p
}

func (r *release) file(name string) string {
	return filepath.Join(r.opts.Attestations, name+attest.BundleSuffix)
}

// seal signs a statement now, or rather half an hour ago.
func (r *release) seal(name string, s *intoto.Statement, key *attest.PrivateKey) {
	r.t.Helper()
	data, err := attest.Seal(r.t.Context(), s, key)
	must(r.t, err)
	must(r.t, os.WriteFile(r.file(name), data, 0o644))
}

var signed = now.Add(-30 * time.Minute)

func (r *release) statement(result attest.TestResult, sum string) *intoto.Statement {
	r.t.Helper()
	s, err := result.Statement(attest.Subject{Name: "node.qcow2", SHA256: sum}, signed)
	must(r.t, err)
	return s
}

func (r *release) state(name string, result attest.TestResult, sum string) {
	r.t.Helper()
	r.seal(name, r.statement(result, sum), r.key)
}

func (r *release) bill(name, sum string) {
	r.t.Helper()
	s, err := attest.NewStatement(attest.Subject{Name: "node.qcow2", SHA256: sum}, attest.TypeSBOM, []byte(`{"bomFormat":"CycloneDX"}`), signed)
	must(r.t, err)
	r.seal(name, s, r.key)
}

// envelope changes the JSON of a bundle.
func (r *release) envelope(name string, change func(bundle, envelope map[string]any)) {
	r.t.Helper()
	data, err := os.ReadFile(r.file(name))
	must(r.t, err)
	var b map[string]any
	must(r.t, json.Unmarshal(data, &b))
	change(b, b["dsseEnvelope"].(map[string]any))
	data, err = json.Marshal(b)
	must(r.t, err)
	must(r.t, os.WriteFile(r.file(name), data, 0o644))
}

// payload replaces text in the payload and keeps the signature.
func (r *release) payload(name, old, with string) {
	r.t.Helper()
	r.envelope(name, func(_, e map[string]any) {
		text, err := base64.StdEncoding.DecodeString(e["payload"].(string))
		must(r.t, err)
		if !bytes.Contains(text, []byte(old)) {
			r.t.Fatalf("the payload of %s has no %q: %s", name, old, text)
		}
		e["payload"] = base64.StdEncoding.EncodeToString(bytes.ReplaceAll(text, []byte(old), []byte(with)))
	})
}

func ids(v Verdict) []string {
	var out []string
	for _, r := range v.Reasons {
		out = append(out, r.ID)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func TestPasses(t *testing.T) {
	t.Parallel()
	r := newRelease(t)
	// A folder may hold other images' bundles, and other files.
	r.state("other.e2e", goodE2E(), sumOf("another image"))
	r.write(filepath.Join(r.opts.Attestations, "notes.txt"), "text")
	v, err := Judge(t.Context(), r.opts)
	if err != nil || !v.Passed || v.Err() != nil || v.SHA256 != r.sum {
		t.Fatalf("refused: %+v, %v", v, err)
	}
	var kinds []string
	for _, e := range v.Evidence {
		kinds = append(kinds, e.Suite+" "+e.Key)
	}
	if diff := cmp.Diff([]string{"e2e ci", " ci", "validate ci"}, kinds); diff != "" {
		t.Errorf("evidence (-want +got):\n%s", diff)
	}
	var text strings.Builder
	must(t, v.WriteText(&text))
	if !strings.Contains(text.String(), "PASS") || !strings.Contains(text.String(), "evidence e2e, signed by ci") {
		t.Errorf("text:\n%s", text.String())
	}
}

// Each way around the gate, and the reason it must give.
func TestRefuses(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		around func(r *release)
		want   []string
	}{
		"another image": {func(r *release) { r.write(r.opts.Image, "another image") },
			[]string{"result-missing", "statement-missing"}},
		"image changed after attestation": {func(r *release) { r.write(r.opts.Image, imageText+"!") },
			[]string{"result-missing", "statement-missing"}},
		"no attestation": {func(r *release) { must(r.t, os.Remove(r.file("e2e"))) }, []string{"result-missing"}},
		"no SBOM":        {func(r *release) { must(r.t, os.Remove(r.file("sbom"))) }, []string{"statement-missing"}},
		"replayed attestation of an older image": {func(r *release) { r.state("e2e", goodE2E(), sumOf("the older image")) },
			[]string{"result-missing"}},
		"edited result": {func(r *release) {
			e := goodE2E()
			e.Result, e.Failed, e.Passed = attest.Failed, []string{"pod terminates"}, e.Passed[:1]
			r.state("e2e", e, r.sum)
			r.payload("e2e", `"FAILED"`, `"PASSED"`)
		}, []string{"result-missing", "signature-invalid"}},
		"subject edited to this image": {func(r *release) {
			r.state("e2e", goodE2E(), sumOf("another"))
			r.payload("e2e", sumOf("another"), r.sum)
		}, []string{"result-missing", "signature-invalid"}},
		"truncated bundle": {func(r *release) {
			data, err := os.ReadFile(r.file("e2e"))
			must(r.t, err)
			must(r.t, os.WriteFile(r.file("e2e"), data[:len(data)/2], 0o644))
		}, []string{"bundle-unreadable", "result-missing"}},
		"swapped key": {func(r *release) {
			other := newKey(r.t)
			r.seal("e2e", r.statement(goodE2E(), r.sum), other)
		}, []string{"key-not-allowed", "result-missing"}},
		"swapped key under the right key's name": {func(r *release) {
			other := newKey(r.t)
			r.seal("e2e", r.statement(goodE2E(), r.sum), other)
			r.envelope("e2e", func(b, _ map[string]any) {
				b["verificationMaterial"] = map[string]any{"publicKey": map[string]any{"hint": r.key.Public().Hint()}}
			})
		}, []string{"result-missing", "signature-invalid"}},
		"one's own key": {func(r *release) {
			other := newKey(r.t)
			r.seal("e2e", r.statement(goodE2E(), r.sum), other)
			r.opts.Keys = append(r.opts.Keys, other.Public())
		}, []string{"key-not-allowed", "key-not-in-policy", "result-missing"}},
		"only one's own key": {func(r *release) {
			r.key = newKey(r.t)
			r.state("e2e", goodE2E(), r.sum)
			r.state("validate", goodValidate(), r.sum)
			r.bill("sbom", r.sum)
			r.opts.Keys = []attest.PublicKey{r.key.Public()}
		}, []string{"key-not-allowed", "key-not-in-policy", "result-missing", "statement-missing"}},
		"clock set back behind the signatures": {func(r *release) { r.opts.Now = signed.Add(-time.Hour) },
			[]string{"clock-set-back", "result-missing", "statement-missing"}},
		"clock set back behind the policy": {func(r *release) { r.opts.Now = time.Date(2026, 10, 1, 0, 0, 0, 0, time.UTC) },
			[]string{"clock-set-back", "result-missing", "statement-missing"}},
		"clock set back, shown by another image's bundle": {func(r *release) {
			s, err := goodE2E().Statement(attest.Subject{Name: "newer", SHA256: sumOf("newer")}, now.Add(24*time.Hour))
			must(r.t, err)
			r.seal("newer", s, r.key)
		}, []string{"clock-set-back"}},
		"stale": {func(r *release) { r.opts.Now = now.Add(30 * 24 * time.Hour) },
			[]string{"result-missing", "result-stale", "statement-missing"}},
		"an old result signed anew": {func(r *release) {
			e := goodE2E()
			e.Finished = now.Add(-60 * 24 * time.Hour)
			r.state("e2e", e, r.sum)
		}, []string{"result-missing", "result-stale"}},
		"a result from after its signature": {func(r *release) {
			e := goodE2E()
			e.Finished = now.Add(time.Hour)
			r.state("e2e", e, r.sum)
		}, []string{"result-from-the-future"}},
		"empty spec list": {func(r *release) {
			e := goodE2E()
			e.Passed = nil
			r.state("e2e", e, r.sum)
		}, []string{"result-contradicts-itself", "result-missing"}},
		"passed with a failure": {func(r *release) {
			e := goodE2E()
			e.Failed = []string{"another"}
			r.state("e2e", e, r.sum)
		}, []string{"result-contradicts-itself", "result-missing"}},
		"one test passed and failed": {func(r *release) {
			e := goodE2E()
			e.Result, e.Failed = attest.Failed, []string{"pod terminates"}
			r.state("e2e", e, r.sum)
		}, []string{"result-contradicts-itself", "result-missing"}},
		"failed without saying what": {func(r *release) {
			e := goodE2E()
			e.Result = attest.Failed
			r.state("e2e", e, r.sum)
		}, []string{"test-failed"}},
		"duplicate subjects": {func(r *release) {
			s := r.statement(goodE2E(), r.sum)
			s.Subject = append(s.Subject, s.GetSubject()[0])
			r.seal("e2e", s, r.key)
		}, []string{"result-missing", "statement-unclear"}},
		"a second subject": {func(r *release) {
			s := r.statement(goodE2E(), r.sum)
			s.Subject = append(s.Subject, r.statement(goodE2E(), sumOf("another")).GetSubject()[0])
			s.Subject[1].Name = "another"
			r.seal("e2e", s, r.key)
		}, []string{"result-missing", "statement-unclear"}},
		"subject by name only": {func(r *release) {
			s := r.statement(goodE2E(), r.sum)
			s.Subject[0].Digest = map[string]string{"sha512": strings.Repeat("ab", 64)}
			r.seal("e2e", s, r.key)
		}, []string{"result-missing", "statement-unclear"}},
		"subject's digest in capitals": {func(r *release) { r.state("e2e", goodE2E(), strings.ToUpper(r.sum)) },
			[]string{"result-missing", "statement-unclear"}},
		"no time of signing": {func(r *release) {
			s := r.statement(goodE2E(), r.sum)
			s.Subject[0].Annotations = nil
			r.seal("e2e", s, r.key)
		}, []string{"result-missing", "statement-unclear"}},
		"two statements that contradict": {func(r *release) {
			e := goodE2E()
			e.Result, e.Failed, e.Passed = attest.Failed, []string{"pod terminates"}, e.Passed[:1]
			r.state("e2e-again", e, r.sum)
		}, []string{"statements-contradict", "test-failed"}},
		"a stale failure": {func(r *release) {
			e := goodE2E()
			e.Result, e.Failed, e.Passed, e.Finished = attest.Failed, []string{"pod terminates"}, e.Passed[:1], now.Add(-60*24*time.Hour)
			r.state("e2e-again", e, r.sum)
		}, []string{"result-stale", "statements-contradict", "test-failed"}},
		"suites with different profiles": {func(r *release) {
			e := goodE2E()
			e.ProfileSHA256 = sumOf("another profile")
			r.state("e2e", e, r.sum)
		}, []string{"statements-contradict"}},
		"required spec skipped": {func(r *release) {
			e := goodE2E()
			e.Passed, e.NotRun = e.Passed[:1], []string{"pod terminates"}
			r.state("e2e", e, r.sum)
		}, []string{"test-missing", "test-not-passed"}},
		"required spec not selected": {func(r *release) {
			e := goodE2E()
			e.Passed = e.Passed[:1]
			r.state("e2e", e, r.sum)
		}, []string{"test-missing"}},
		"required check warned": {func(r *release) {
			v := goodValidate()
			v.Passed, v.Warned = v.Passed[:1], []string{"swap-enabled"}
			r.state("validate", v, r.sum)
		}, []string{"test-missing", "test-not-passed"}},
		"a test failed that nobody requires": {func(r *release) {
			e := goodE2E()
			e.Result, e.Failed = attest.Failed, []string{"another"}
			r.state("e2e", e, r.sum)
		}, []string{"test-failed"}},
		"soak too short": {func(r *release) {
			e := goodE2E()
			e.Soak = time.Minute
			r.state("e2e", e, r.sum)
		}, []string{"soak-too-short"}},
		"stand-in": {func(r *release) {
			e := goodE2E()
			e.StandIns = []string{"machine"}
			r.state("e2e", e, r.sum)
		}, []string{"stand-in"}},
		"digest not compared at the end": {func(r *release) {
			e := goodE2E()
			e.Unchanged = false
			r.state("e2e", e, r.sum)
		}, []string{"image-not-compared"}},
		"filtered run under a wildcard": {func(r *release) {
			e := goodE2E()
			e.Filter = "smoke"
			r.state("e2e", e, r.sum)
		}, []string{"run-filtered"}},
		"accelerator": {func(r *release) {
			r.policy(strings.Replace(policyText(r.key), "soak: 5m", "accelerators: [tcg]", 1))
		}, []string{"accelerator-not-allowed"}},
		"profile": {func(r *release) {
			r.policy(policyText(r.key) + "  profileSHA256: " + sumOf("another") + "\n")
		}, []string{"profile-differs"}},
		"expired waiver": {func(r *release) {
			r.policy(policyText(r.key) + waiver("another", "2026-11-22"))
		}, []string{"waiver-expired"}},
		"expired waiver does not waive": {func(r *release) {
			r.policy(policyText(r.key) + waiver("another", "2026-11-22"))
			e := goodE2E()
			e.Result, e.Failed = attest.Failed, []string{"another"}
			r.state("e2e", e, r.sum)
		}, []string{"test-failed", "waiver-expired"}},
		"signature over another payload type": {func(r *release) {
			r.envelope("e2e", func(_, e map[string]any) {
				text, err := base64.StdEncoding.DecodeString(e["payload"].(string))
				must(r.t, err)
				sig, err := r.key.Sign(context.Background(), dsse.PAE("text/plain", text))
				must(r.t, err)
				e["signatures"] = []any{map[string]any{"sig": base64.StdEncoding.EncodeToString(sig)}}
			})
		}, []string{"result-missing", "signature-invalid"}},
		"another payload type": {func(r *release) {
			r.envelope("e2e", func(_, e map[string]any) { e["payloadType"] = "text/plain" })
		}, []string{"bundle-unreadable", "result-missing"}},
		"extra signatures": {func(r *release) {
			r.envelope("e2e", func(_, e map[string]any) {
				s := e["signatures"].([]any)
				e["signatures"] = append(s, s[0])
			})
		}, []string{"bundle-unreadable", "result-missing"}},
		"no signature": {func(r *release) {
			r.envelope("e2e", func(_, e map[string]any) { e["signatures"] = []any{} })
		}, []string{"bundle-unreadable", "result-missing"}},
		"an empty signature": {func(r *release) {
			r.envelope("e2e", func(_, e map[string]any) { e["signatures"] = []any{map[string]any{"sig": ""}} })
		}, []string{"result-missing", "signature-invalid"}},
		"payload twice": {func(r *release) {
			data, err := os.ReadFile(r.file("e2e"))
			must(r.t, err)
			must(r.t, os.WriteFile(r.file("e2e"), bytes.Replace(data, []byte(`"payload":`), []byte(`"payload":"e30=","payload":`), 1), 0o644))
		}, []string{"bundle-unreadable", "result-missing"}},
		"unknown field in the bundle": {func(r *release) {
			r.envelope("e2e", func(b, _ map[string]any) { b["trustMe"] = true })
		}, []string{"bundle-unreadable", "result-missing"}},
		"huge bundle": {func(r *release) { must(r.t, os.Truncate(r.file("e2e"), attest.MaxBundle+1)) },
			[]string{"bundle-unreadable", "result-missing"}},
		"bundle is a link out of the folder": {func(r *release) {
			moved := filepath.Join(r.dir, "elsewhere")
			must(r.t, os.Rename(r.file("e2e"), moved))
			must(r.t, os.Symlink(moved, r.file("e2e")))
		}, []string{"bundle-unreadable", "result-missing"}},
		"everything at once": {func(r *release) {
			e := goodE2E()
			e.Soak, e.StandIns, e.Unchanged = time.Second, []string{"machine"}, false
			e.Result, e.Failed, e.Passed = attest.Failed, []string{"pod terminates"}, []string{"kube-proxy stays up over 1s"}
			r.state("e2e", e, r.sum)
			must(r.t, os.Remove(r.file("sbom")))
		}, []string{"image-not-compared", "soak-too-short", "stand-in", "statement-missing", "test-failed", "test-missing"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRelease(t)
			test.around(r)
			v, err := Judge(t.Context(), r.opts)
			if err != nil {
				t.Fatal(err)
			}
			if v.Passed || exitcode.Of(v.Err()) != exitcode.Failed {
				t.Errorf("passed, or exit code %d", exitcode.Of(v.Err()))
			}
			if diff := cmp.Diff(test.want, ids(v)); diff != "" {
				t.Errorf("reasons (-want +got):\n%s\n%+v", diff, v.Reasons)
			}
			p, err := Promote(t.Context(), r.opts, Target{Dir: filepath.Join(r.dir, "released")})
			if err != nil || p.Path != "" {
				t.Errorf("promoted to %q, %v", p.Path, err)
			}
			if _, err := os.Stat(filepath.Join(r.dir, "released")); err == nil {
				t.Error("a refused image left something in the folder for releases")
			}
		})
	}
}

func waiver(test, day string) string {
	return fmt.Sprintf("waivers:\n  - {suite: e2e, test: %q, reason: ticket 4711, owner: ann, expires: %s}\n", test, day)
}

func TestWaiver(t *testing.T) {
	t.Parallel()
	r := newRelease(t)
	r.policy(policyText(r.key) + waiver("pod terminates", "2026-11-23"))
	e := goodE2E()
	e.Result, e.Failed, e.Passed = attest.Failed, []string{"pod terminates"}, e.Passed[:1]
	r.state("e2e", e, r.sum)
	v, err := Judge(t.Context(), r.opts)
	if err != nil || !v.Passed {
		t.Fatalf("refused on the waiver's last day: %+v, %v", v.Reasons, err)
	}
	if diff := cmp.Diff([]string{"e2e pod terminates, by ann until 2026-11-23: ticket 4711"}, v.Waived); diff != "" {
		t.Errorf("waived (-want +got):\n%s", diff)
	}
	r.opts.Now = time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC)
	if v, err = Judge(t.Context(), r.opts); err != nil || v.Passed {
		t.Errorf("passed on the day after: %v", err)
	}
}

func TestBadInput(t *testing.T) {
	t.Parallel()
	for name, around := range map[string]func(r *release){
		"no image":      func(r *release) { must(r.t, os.Remove(r.opts.Image)) },
		"a directory":   func(r *release) { r.opts.Image = r.dir },
		"no folder":     func(r *release) { r.opts.Attestations = filepath.Join(r.dir, "none") },
		"no public key": func(r *release) { r.opts.Keys = nil },
		"an image with a backing file": func(r *release) {
			head := make([]byte, 512)
			copy(head, "QFI\xfb\x00\x00\x00\x03")
			head[15] = 1
			r.write(r.opts.Image, string(head))
		},
		"an image with an external data file": func(r *release) {
			head := make([]byte, 512)
			copy(head, "QFI\xfb\x00\x00\x00\x03")
			head[79] = 4
			r.write(r.opts.Image, string(head))
		},
	} {
		r := newRelease(t)
		around(r)
		if _, err := Judge(t.Context(), r.opts); exitcode.Of(err) != exitcode.Usage {
			t.Errorf("%s: %v, want bad input", name, err)
		}
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Judge(cancelled, newRelease(t).opts); exitcode.Of(err) != exitcode.Infrastructure {
		t.Errorf("cancelled: %v, want no verdict", err)
	}
}
