package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nodeimage/packer-plugin-nodeimage/e2e"
	"github.com/nodeimage/packer-plugin-nodeimage/e2e/machine"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/validate"
)

func keys(t *testing.T) (prefix, fingerprint string) {
	t.Helper()
	prefix = filepath.Join(t.TempDir(), "ci")
	out, err := runVerb(t, newKeygen(), "-o", prefix)
	if err != nil {
		t.Fatal(err)
	}
	_, fingerprint, _ = strings.Cut(strings.TrimSpace(out), "sha256: ")
	return prefix, fingerprint
}

func TestKeygen(t *testing.T) {
	t.Parallel()
	prefix, fingerprint := keys(t)
	if len(fingerprint) != 64 {
		t.Errorf("fingerprint %q", fingerprint)
	}
	info, err := os.Stat(prefix + ".key")
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the private key's mode is %v, %v", info.Mode(), err)
	}
	if _, err := runVerb(t, newKeygen(), "-o", prefix); exitcode.Of(err) != exitcode.Usage {
		t.Errorf("keys were overwritten: %v", err)
	}
	if err := os.Remove(prefix + ".key"); err != nil {
		t.Fatal(err)
	}
	if _, err := runVerb(t, newKeygen(), "-o", prefix); exitcode.Of(err) != exitcode.Usage {
		t.Errorf("a public key was overwritten: %v", err)
	}
	if _, err := os.Stat(prefix + ".key"); err == nil {
		t.Error("half of a pair was left")
	}
}

// candidate is an image with the suites' reports about it, by the programs' own
// types, keys, and a policy for them.
type candidate struct {
	dir, image, sha256, checks, specs, policy, key, public string
}

func (c candidate) write(t *testing.T, name string, content []byte) string {
	t.Helper()
	path := filepath.Join(c.dir, name)
	if err := os.WriteFile(path, content, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// newCandidate makes a candidate that passes, unless change makes the booted
// suite's result another one.
func newCandidate(t *testing.T, change func(*e2e.Result)) candidate {
	t.Helper()
	prefix, fingerprint := keys(t)
	c := candidate{dir: t.TempDir(), key: prefix + ".key", public: prefix + ".pub"}
	data, err := os.ReadFile("../../validate/target/testdata/disk.qcow2")
	if err != nil {
		t.Fatal(err)
	}
	c.image = c.write(t, "disk.qcow2", data)
	// The disk is none that a node boots from; only the report's shape counts.
	text, _ := runVerb(t, newValidate(), "--format", "json", c.image)
	var report validate.Report
	if err := json.Unmarshal([]byte(text), &report); err != nil {
		t.Fatal(err)
	}
	if len(report.SHA256) != 64 || report.Tool == "" || report.Started.IsZero() {
		t.Fatalf("the report does not say what it is about: %.300s", text)
	}
	c.sha256 = report.SHA256
	report.Verdict, report.Findings = validate.Passed, []validate.Finding{{ID: "swap-enabled", Outcome: validate.Pass}}
	checks, err := json.Marshal(report)
	if err != nil {
		t.Fatal(err)
	}
	result := e2e.Result{
		Schema: e2e.SummarySchema, Verdict: e2e.Passed, SHA256: report.SHA256, SHA256After: report.SHA256, Tool: "test", StandIns: []string{},
		Soak: "5m0s", Started: time.Now().Add(-time.Hour), Seconds: 60, Counts: e2e.Counts{Passed: 1},
		Specs:    []e2e.Spec{{Name: "node image kube-proxy stays up", Labels: []string{"soak"}, State: "passed"}},
		Machines: []machine.Report{{Accel: machine.AccelTCG}},
	}
	if change != nil {
		change(&result)
	}
	summary, err := json.Marshal(result)
	if err != nil {
		t.Fatal(err)
	}
	c.checks, c.specs = c.write(t, "validate.json", checks), c.write(t, "summary.json", summary)
	c.policy = c.write(t, "policy.yaml", []byte(`apiVersion: nodeimage.dev/v1alpha1
kind: GatePolicy
name: release
keys: [{name: ci, sha256: "`+fingerprint+`"}]
maxAge: 24h
clockSkew: 5m
require:
  validate: {checks: [swap-enabled]}
  e2e: {specs: [kube-proxy stays up], soak: 5m}
  statements: [sbom]
`))
	return c
}

// The reports that the suites write are those that attest reads, and what it
// writes is what gate reads: all by the programs' own types.
func TestFromReportsToRelease(t *testing.T) {
	t.Parallel()
	c := newCandidate(t, nil)
	image, checks, specs, policy := c.image, c.checks, c.specs, c.policy
	if _, err := runVerb(t, newAttest(), image, "--validate", checks, "--e2e", specs); exitcode.Of(err) != exitcode.Usage {
		t.Errorf("no key: %v", err)
	}
	if _, err := runVerb(t, newAttest(), image, "--validate", specs, "--e2e", checks, "--key", c.key); exitcode.Of(err) != exitcode.Usage {
		t.Errorf("reports exchanged: %v", err)
	}
	out, err := runVerb(t, newAttest(), image, "--validate", checks, "--e2e", specs, "--key", c.key)
	if err != nil || !strings.Contains(out, "disk.e2e.sigstore.json") {
		t.Fatalf("attest: %v\n%s", err, out)
	}
	out, err = runVerb(t, newGate(), image, "--policy", policy, "--key", c.public)
	if err != nil || !strings.Contains(out, "PASS") {
		t.Fatalf("gate: %v\n%s", err, out)
	}
	out, err = runVerb(t, newPromote(), image, "--policy", policy, "--key", c.public, "--to", filepath.Join(c.dir, "releases"))
	if err != nil || !strings.Contains(out, "releases/disk-"+c.sha256[:12]) {
		t.Errorf("promote: %v\n%s", err, out)
	}
	changed(t, image)
	out, err = runVerb(t, newGate(), image, "--policy", policy, "--key", c.public, "--format", "json")
	if exitcode.Of(err) != exitcode.Failed || !strings.Contains(out, `"id":"result-missing"`) {
		t.Errorf("a changed image: %v\n%s", err, out)
	}
	if out, err = runVerb(t, newPromote(), image, "--policy", policy, "--key", c.public, "--tag", "stable"); exitcode.Of(err) != exitcode.Failed {
		t.Errorf("a changed image was tagged: %v\n%s", err, out)
	}
	for name, args := range map[string][]string{
		"no policy":      {image, "--key", c.public},
		"no key":         {image, "--policy", policy},
		"no policy file": {image, "--policy", "/nonexistent/policy.yaml", "--key", c.public},
		"no image":       {"--policy", policy, "--key", c.public},
	} {
		if _, err := runVerb(t, newGate(), args...); exitcode.Of(err) != exitcode.Usage {
			t.Errorf("%s: %v, want bad input", name, err)
		}
	}
}

// changed adds a byte to an image.
func changed(t *testing.T, image string) {
	t.Helper()
	data, err := os.ReadFile(image)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(image, append(data, 0), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestWhyNot(t *testing.T) {
	t.Parallel()
	out, err := runVerb(t, newWhyNot(), "--kubernetes", "1.37", "--containerd", "1.7", "--os", "ubuntu-24.04")
	if err != nil || !strings.Contains(out, "CAREFUL  rule      kubelet-containerd-incompatible") {
		t.Errorf("%v\n%s", err, out)
	}
	if _, err := runVerb(t, newWhyNot(), "--kubernetes", "1.37", "--containerd", "1.6"); exitcode.Of(err) != exitcode.Failed {
		t.Errorf("an unknown pair: %v", err)
	}
	if _, err := runVerb(t, newWhyNot()); exitcode.Of(err) != exitcode.Usage {
		t.Errorf("no question: %v", err)
	}
}
