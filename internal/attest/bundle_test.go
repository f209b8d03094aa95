package attest

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

var at = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func sumOf(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

func result() TestResult {
	return TestResult{
		Suite: SuiteE2E, Result: Failed, Passed: []string{"a", "b"}, Failed: []string{"c"}, NotRun: []string{"d"},
		ReportSHA256: sumOf("report"), Finished: at.Add(-time.Hour), Tool: "0.1.0-dev", Profile: "debian-13", ProfileSHA256: sumOf("profile"),
		Soak: 90 * time.Second, Accelerators: []string{"kvm", "tcg"}, StandIns: []string{"machine"}, Filter: "smoke", Unchanged: true,
		Node: Node{OS: "debian-13", Kernel: "6.12.48+deb13-amd64", Arch: "amd64", Pins: map[string]string{"containerd": "2.3.7", "runc": "1.5.2"}},
	}
}

func TestTestResultThereAndBack(t *testing.T) {
	t.Parallel()
	for _, kind := range []KeyKind{ECDSA, Ed25519} {
		key := newKey(t, kind)
		s, err := result().Statement(Subject{"dir/node.qcow2", sumOf("image")}, at)
		must(t, err)
		data, err := Seal(t.Context(), s, key)
		must(t, err)
		b, err := Parse(data)
		must(t, err)
		who, err := b.Verify(t.Context(), []PublicKey{newKey(t, ECDSA).Public(), key.Public()})
		if err != nil || who.Fingerprint() != key.Public().Fingerprint() {
			t.Errorf("%s: signed by %s, %v", kind, who.Fingerprint(), err)
		}
		got, err := ReadTestResult(b.Statement())
		must(t, err)
		if diff := cmp.Diff(result(), got, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s: result (-want +got):\n%s", kind, diff)
		}
		want := Claim{Type: TypeTestResult, Subjects: []Subject{{"node.qcow2", sumOf("image")}}, Attested: at}
		claim := ReadClaim(b.Statement())
		if diff := cmp.Diff(want, claim); diff != "" {
			t.Errorf("%s: claim (-want +got):\n%s", kind, diff)
		}
		if !claim.About(sumOf("image")) || claim.About(sumOf("another")) {
			t.Errorf("%s: about the wrong image", kind)
		}
		if _, err := b.Verify(t.Context(), []PublicKey{newKey(t, kind).Public()}); !errors.Is(err, ErrUnknownKey) {
			t.Errorf("%s: another key: %v, want ErrUnknownKey", kind, err)
		}
	}
}

// What cosign and sigstore-go look for, by name.
func TestBundleJSON(t *testing.T) {
	t.Parallel()
	key := newKey(t, ECDSA)
	s, err := result().Statement(Subject{"node.qcow2", sumOf("image")}, at)
	must(t, err)
	data, err := Seal(t.Context(), s, key)
	must(t, err)
	var bundle struct {
		MediaType            string
		VerificationMaterial struct{ PublicKey struct{ Hint string } }
		DsseEnvelope         struct {
			PayloadType string
			Payload     []byte
			Signatures  []map[string]string
		}
	}
	must(t, json.Unmarshal(data, &bundle))
	if bundle.MediaType != "application/vnd.dev.sigstore.bundle.v0.3+json" || bundle.VerificationMaterial.PublicKey.Hint != key.Public().Hint() ||
		bundle.DsseEnvelope.PayloadType != "application/vnd.in-toto+json" {
		t.Errorf("bundle: %s", data)
	}
	// With a key ID of our own, sigstore-go would compare it with its own.
	if s := bundle.DsseEnvelope.Signatures; len(s) != 1 || s[0]["sig"] == "" || s[0]["keyid"] != "" {
		t.Errorf("signatures: %v", s)
	}
	// The signature is over DSSE's pre-authentication encoding, spelled out here.
	signed := []byte("DSSEv1 28 application/vnd.in-toto+json " + itoa(len(bundle.DsseEnvelope.Payload)) + " " + string(bundle.DsseEnvelope.Payload))
	sig, err := base64.StdEncoding.DecodeString(bundle.DsseEnvelope.Signatures[0]["sig"])
	must(t, err)
	must(t, key.Public().Verify(t.Context(), signed, sig))

	var statement struct {
		Type          string `json:"_type"`
		PredicateType string
		Subject       []struct {
			Name   string
			Digest map[string]string
		}
		Predicate struct {
			Result                   string
			PassedTests, FailedTests []string
			Configuration            []struct{ Name string }
		}
	}
	must(t, json.Unmarshal(bundle.DsseEnvelope.Payload, &statement))
	if statement.Type != "https://in-toto.io/Statement/v1" || statement.PredicateType != "https://in-toto.io/attestation/test-result/v0.1" ||
		statement.Subject[0].Digest["sha256"] != sumOf("image") || statement.Predicate.Result != "FAILED" ||
		len(statement.Predicate.PassedTests) != 2 || statement.Predicate.Configuration[0].Name != "report" {
		t.Errorf("statement: %s", bundle.DsseEnvelope.Payload)
	}
	again, err := marshal(s)
	must(t, err)
	if !bytes.Equal(again, bundle.DsseEnvelope.Payload) {
		t.Error("the same statement gives other bytes")
	}
}

func itoa(n int) string { b, _ := json.Marshal(n); return string(b) }

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	s, err := result().Statement(Subject{"node.qcow2", sumOf("image")}, at)
	must(t, err)
	good, err := Seal(t.Context(), s, newKey(t, ECDSA))
	must(t, err)
	change := func(old, with string) []byte {
		if !bytes.Contains(good, []byte(old)) {
			t.Fatalf("the bundle has no %s", old)
		}
		return bytes.Replace(good, []byte(old), []byte(with), 1)
	}
	for name, test := range map[string]struct {
		data []byte
		want string
	}{
		"empty":                {nil, "no sigstore bundle"},
		"truncated":            {good[:len(good)/2], "no sigstore bundle"},
		"two documents":        {append(bytes.Clone(good), good...), "no sigstore bundle"},
		"another version":      {change("v0.3+json", "v0.2+json"), "media type"},
		"a certificate":        {change(`"publicKey":{"hint"`, `"certificate":{"rawBytes"`), "not signed with a key"},
		"no envelope":          {[]byte(`{"mediaType":"` + BundleMediaType + `","verificationMaterial":{"publicKey":{"hint":"x"}}}`), "no DSSE envelope"},
		"another payload type": {change("application/vnd.in-toto+json", "text/plain"), "payload type"},
		"no statement":         {change(`"payload":"`, `"payload":"bm8g","x":"`), "no sigstore bundle"},
		"huge":                 {make([]byte, MaxBundle+1), "more than 32 MiB"},
	} {
		if _, err := Parse(test.data); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want %q", name, err, test.want)
		}
	}
	s.Type = "https://in-toto.io/Statement/v0.1"
	old, err := Seal(t.Context(), s, newKey(t, ECDSA))
	must(t, err)
	if _, err := Parse(old); err == nil || !strings.Contains(err.Error(), "expected https://in-toto.io/Statement/v1") {
		t.Errorf("an old statement: %v", err)
	}
}

func FuzzParse(f *testing.F) {
	key, err := GenerateKey(Ed25519)
	if err != nil {
		f.Fatal(err)
	}
	s, err := result().Statement(Subject{"node.qcow2", sumOf("image")}, at)
	if err != nil {
		f.Fatal(err)
	}
	data, err := Seal(f.Context(), s, key)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add([]byte(`{}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		b, err := Parse(data)
		if err != nil {
			return
		}
		// Whatever it says, reading it must end.
		ReadClaim(b.Statement())
		_, _ = ReadTestResult(b.Statement())
		if _, err := b.Verify(t.Context(), []PublicKey{key.Public()}); err == nil {
			payload, err := marshal(s)
			if err != nil || !bytes.Equal(b.envelope.GetPayload(), payload) {
				t.Errorf("a payload that was never signed verifies: %s", b.envelope.GetPayload())
			}
		}
	})
}
