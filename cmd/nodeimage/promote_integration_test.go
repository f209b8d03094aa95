//go:build integration

package main

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nodeimage/packer-plugin-nodeimage/e2e"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/attest"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/gate"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/registry"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/registry/registrytest"
)

// elsewhere gets a candidate to where releases are made, as a job does that has
// nothing but the registry, the policy and the public key: the builder pushes
// it without a judgement, and it is pulled into an empty folder.
func elsewhere(t *testing.T, c candidate, reference string) (image string) {
	t.Helper()
	if _, err := runVerb(t, newAttest(), c.image, "--validate", c.checks, "--e2e", c.specs, "--key", c.key); err != nil {
		t.Fatal(err)
	}
	if _, err := runVerb(t, newPush(), c.image, reference, "--arch", "amd64", "--report", c.checks); err != nil {
		t.Fatal(err)
	}
	out, err := runVerb(t, newPull(), reference, "-o", t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(out)
}

// bundles are the signed files of a folder, by name.
func bundles(t *testing.T, dir string) map[string]string {
	t.Helper()
	found := map[string]string{}
	files, err := filepath.Glob(filepath.Join(dir, "*"+attest.BundleSuffix))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		found[filepath.Base(file)] = string(data)
	}
	return found
}

// An image goes from one repository to another only through the gate, with what
// the verdict rests on, and passes again for whoever takes it from there.
func TestPromoteBetweenRepositories(t *testing.T) {
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	t.Setenv("NODEIMAGE_CACHE", t.TempDir())
	at := registrytest.Start(t)
	c := newCandidate(t, nil)
	image := elsewhere(t, c, at+"/team/candidates:run-7")
	signed := bundles(t, filepath.Join(filepath.Dir(image), attestations))
	if len(signed) < 3 {
		t.Fatalf("pulled %d bundles", len(signed))
	}
	// Another image's, which the verdict does not rest on.
	data, err := os.ReadFile(c.image)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := runVerb(t, newAttest(), c.write(t, "other.qcow2", append(data, 0)), "--key", c.key, "-o", filepath.Join(filepath.Dir(image), attestations)); err != nil {
		t.Fatal(err)
	}

	release := at + "/team/releases:stable"
	var first string
	for range 2 { // the second time all is there, and its verdict is another one
		time.Sleep(time.Second) // the time in a verdict has no smaller unit
		out, err := runVerb(t, newPromote(), image, "--policy", c.policy, "--key", c.public, "--arch", "amd64", "--registry", release, "--format", "json")
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		var p gate.Promotion
		if err := json.Unmarshal([]byte(out), &p); err != nil {
			t.Fatal(err)
		}
		if !p.Passed || p.SHA256 != c.sha256 || first != "" && p.Path != first {
			t.Fatalf("promoted %+v, want the image sha256:%s as before: %s", p, c.sha256, first)
		}
		first = p.Path
	}

	// As a client sees it that is not ours.
	name, digest, _ := strings.Cut(first, "@")
	m, dir := registrytest.Fetch(t, release)
	disk, err := os.ReadFile(filepath.Join(dir, m.Layers[0].Digest.Encoded()))
	if err != nil {
		t.Fatal(err)
	}
	if want, err := os.ReadFile(c.image); err != nil || string(disk) != string(want) || m.Layers[0].Digest.Encoded() != c.sha256 {
		t.Errorf("the tag leads to another disk, %s", m.Layers[0].Digest)
	}
	var verdict gate.Verdict
	promoted := map[string]string{}
	types := map[string]int{}
	for _, d := range registrytest.Referrers(t, name, digest) {
		types[d.ArtifactType]++
		r, dir := registrytest.Fetch(t, name+"@"+d.Digest.String())
		if r.Subject == nil || r.Subject.Digest.String() != digest {
			t.Errorf("%s refers to %v, want %s", d.Digest, r.Subject, digest)
		}
		data, err := os.ReadFile(filepath.Join(dir, r.Layers[0].Digest.Encoded()))
		if err != nil {
			t.Fatal(err)
		}
		switch d.ArtifactType {
		case registry.TypeBundle:
			promoted[r.Layers[0].Annotations["org.opencontainers.image.title"]] = string(data)
		case registry.TypeVerdict:
			if err := json.Unmarshal(data, &verdict); err != nil {
				t.Fatal(err)
			}
		}
	}
	if diff := cmp.Diff(signed, promoted); diff != "" {
		t.Errorf("bundles (-signed +promoted):\n%s", diff)
	}
	if !verdict.Passed || verdict.SHA256 != c.sha256 || verdict.Image != "disk.qcow2" || types[registry.TypeVerdict] != 2 || types[registry.TypeSBOM] != 1 {
		t.Errorf("%v refer to it, and the verdict is %+v", types, verdict)
	}

	// By digest, on a machine that knows nothing of the first two.
	out, err := runVerb(t, newPull(), first, "-o", t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if out, err := runVerb(t, newGate(), strings.TrimSpace(out), "--policy", c.policy, "--key", c.public); err != nil {
		t.Errorf("what was released does not pass: %v\n%s", err, out)
	}

	// The next one is refused, and the tag stays where it is.
	changed(t, image)
	out, err = runVerb(t, newPromote(), image, "--policy", c.policy, "--key", c.public, "--arch", "amd64", "--registry", release)
	if exitcode.Of(err) != exitcode.Failed || !strings.Contains(out, "result-missing") {
		t.Errorf("a changed image: %v\n%s", err, out)
	}
	if m, _ := registrytest.Fetch(t, release); m.Layers[0].Digest.Encoded() != c.sha256 {
		t.Errorf("the tag leads to %s, which was refused", m.Layers[0].Digest)
	}
}

// What is refused leaves nothing in the registry: no tag, no blob, no name.
func TestPromoteRefusesBetweenRepositories(t *testing.T) {
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	t.Setenv("NODEIMAGE_CACHE", t.TempDir())
	at := registrytest.Start(t)
	for _, tt := range []struct {
		name   string
		result func(*e2e.Result)
		change func(t *testing.T, c *candidate, image string)
		want   string
	}{
		{"red", func(r *e2e.Result) {
			r.Verdict, r.Counts = e2e.Failed, e2e.Counts{Failed: 1}
			r.Specs[0].State = "failed"
		}, nil, "test-failed"},
		{"watched too short", func(r *e2e.Result) { r.Soak = "1m0s" }, nil, "soak-too-short"},
		{"with stand-ins", func(r *e2e.Result) { r.StandIns = []string{"cluster"} }, nil, "stand-in"},
		{"another image", nil, func(t *testing.T, _ *candidate, image string) { changed(t, image) }, "result-missing"},
		{"another key", nil, func(t *testing.T, c *candidate, _ string) {
			prefix, _ := keys(t)
			c.public = prefix + ".pub"
		}, "key-not-in-policy"},
		{"a statement that was edited", nil, func(t *testing.T, _ *candidate, image string) {
			file := filepath.Join(filepath.Dir(image), attestations, "disk.e2e"+attest.BundleSuffix)
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			edit(t, file, text)
		}, "signature-invalid"},
		{"no SBOM", nil, func(t *testing.T, _ *candidate, image string) {
			if err := os.Remove(filepath.Join(filepath.Dir(image), attestations, "disk.sbom"+attest.BundleSuffix)); err != nil {
				t.Fatal(err)
			}
		}, "statement-missing"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newCandidate(t, tt.result)
			repository := "team/" + strings.ToLower(strings.ReplaceAll(tt.name, " ", "-"))
			image := elsewhere(t, c, at+"/candidates/"+repository+":1")
			if tt.change != nil {
				tt.change(t, &c, image)
			}
			out, err := runVerb(t, newPromote(), image, "--policy", c.policy, "--key", c.public, "--arch", "amd64", "--registry", at+"/releases/"+repository+":stable")
			if exitcode.Of(err) != exitcode.Failed || !strings.Contains(out, tt.want) {
				t.Errorf("got %v, want a refusal for %s:\n%s", err, tt.want, out)
			}
			if names := repositories(t, at); slices.Contains(names, "releases/"+repository) || !slices.Contains(names, "candidates/"+repository) {
				t.Errorf("the registry has %v, and nothing was to be released", names)
			}
		})
	}
}

// A registry that is away is no refusal: the image may pass the next time.
func TestPromoteToARegistryThatIsAway(t *testing.T) {
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	t.Setenv("NODEIMAGE_CACHE", t.TempDir())
	c := newCandidate(t, nil)
	if _, err := runVerb(t, newAttest(), c.image, "--validate", c.checks, "--e2e", c.specs, "--key", c.key); err != nil {
		t.Fatal(err)
	}
	out, err := runVerb(t, newPromote(), c.image, "--policy", c.policy, "--key", c.public, "--arch", "amd64", "--registry", "127.0.0.1:1/team/releases:stable")
	if exitcode.Of(err) != exitcode.Infrastructure {
		t.Errorf("got %v, want an infrastructure failure\n%s", err, out)
	}
}

// edit changes the result in a bundle's payload and leaves the signature.
func edit(t *testing.T, file string, text []byte) {
	t.Helper()
	var bundle struct {
		MediaType    string          `json:"mediaType"`
		Verification json.RawMessage `json:"verificationMaterial"`
		Envelope     struct {
			Payload     []byte          `json:"payload"`
			PayloadType string          `json:"payloadType"`
			Signatures  json.RawMessage `json:"signatures"`
		} `json:"dsseEnvelope"`
	}
	if err := json.Unmarshal(text, &bundle); err != nil {
		t.Fatal(err)
	}
	before := string(bundle.Envelope.Payload)
	after := strings.Replace(before, `"5m0s"`, `"9m0s"`, 1)
	if after == before {
		t.Fatalf("nothing to edit in %s", before)
	}
	bundle.Envelope.Payload = []byte(after)
	edited, err := json.Marshal(bundle)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, edited, 0o644); err != nil {
		t.Fatal(err)
	}
}

// repositories are those that a registry has.
func repositories(t *testing.T, at string) []string {
	t.Helper()
	response, err := http.Get("http://" + at + "/v2/_catalog?n=1000")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }() // only read
	var catalog struct{ Repositories []string }
	if err := json.NewDecoder(response.Body).Decode(&catalog); err != nil {
		t.Fatal(err)
	}
	return catalog.Repositories
}
