package signature_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/signature"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/signature/signaturetest"
)

const (
	releaser = "krel-staging@k8s-releng-prod.iam.gserviceaccount.com"
	google   = "https://accounts.google.com"
)

func authority(t *testing.T) (*signaturetest.Authority, *signature.Root) {
	t.Helper()
	a, err := signaturetest.NewAuthority()
	if err != nil {
		t.Fatal(err)
	}
	text, err := a.TrustedRoot()
	if err != nil {
		t.Fatal(err)
	}
	root, err := signature.ReadRoot(text)
	if err != nil {
		t.Fatal(err)
	}
	return a, root
}

func TestVerifyBlob(t *testing.T) {
	t.Parallel()
	a, root := authority(t)
	sum := sha256.Sum256([]byte("kubelet"))
	sig, cert, err := a.Sign(sum, releaser, google, signaturetest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	want := signature.Signer{Subject: releaser, Issuer: google}
	found, err := root.VerifyBlob(sum[:], sig, cert, want)
	if err != nil {
		t.Fatal(err)
	}
	if found.Kind != signature.Cosign || found.Subject != releaser || found.Issuer != google || len(found.Key) != 64 || !found.At.Equal(a.At) {
		t.Errorf("found %+v", found)
	}
	// The certificate as plain PEM, with a line at its end.
	plain, err := base64.StdEncoding.DecodeString(string(cert))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := root.VerifyBlob(sum[:], append(sig, '\n'), append(plain, '\n'), want); err != nil {
		t.Error(err)
	}
}

func TestVerifyBlobRefuses(t *testing.T) {
	t.Parallel()
	a, root := authority(t)
	other, _ := authority(t)
	sum := sha256.Sum256([]byte("kubelet"))
	sign := func(by *signaturetest.Authority, subject, issuer string, o signaturetest.Options) (sig, cert []byte) {
		sig, cert, err := by.Sign(sum, subject, issuer, o)
		if err != nil {
			t.Fatal(err)
		}
		return sig, cert
	}
	sig, cert := sign(a, releaser, google, signaturetest.Options{})
	otherSig, otherCert := sign(a, releaser, google, signaturetest.Options{})
	foreignSig, foreignCert := sign(other, releaser, google, signaturetest.Options{})
	stranger, strangerCert := sign(a, "mallory@example.org", google, signaturetest.Options{})
	elsewhere, elsewhereCert := sign(a, releaser, "https://login.example.org", signaturetest.Options{})
	unlogged, unloggedCert := sign(a, releaser, google, signaturetest.Options{Unlogged: true})
	mislogged, misloggedCert := sign(a, releaser, google, signaturetest.Options{OtherLog: true})
	changed := sha256.Sum256([]byte("kubelet with a back door"))
	const not = "the signature is not to be trusted: "
	for name, tt := range map[string]struct {
		sum       [32]byte
		sig, cert []byte
		want      string
	}{
		"another file":              {changed, sig, cert, not + "the file with sha256 " + hex.EncodeToString(changed[:]) + " is not the one that " + releaser + " signed, or the signature was made with another key than the certificate's"},
		"another key":               {sum, otherSig, cert, not + "the file with sha256 " + hex.EncodeToString(sum[:]) + " is not the one that " + releaser + " signed, or the signature was made with another key than the certificate's"},
		"another key's certificate": {sum, sig, otherCert, not + "the file with sha256 " + hex.EncodeToString(sum[:]) + " is not the one that " + releaser + " signed, or the signature was made with another key than the certificate's"},
		"another authority":         {sum, foreignSig, foreignCert, not + "the certificate was not issued by an authority of the trusted root: x509: certificate signed by unknown authority"},
		"another signer":            {sum, stranger, strangerCert, not + "signed by mallory@example.org, vouched for by https://accounts.google.com: expected " + releaser + ", vouched for by https://accounts.google.com"},
		"another issuer":            {sum, elsewhere, elsewhereCert, not + "signed by " + releaser + ", vouched for by https://login.example.org: expected " + releaser + ", vouched for by https://accounts.google.com"},
		"not logged":                {sum, unlogged, unloggedCert, not + "found 0 receipts and none of a certificate-transparency log in the trusted root: give a newer trusted root"},
		"another's receipt":         {sum, mislogged, misloggedCert, not + "the receipt of the certificate-transparency log https://ctfe.sigstore.test is not for this certificate"},
		"no certificate":            {sum, sig, []byte("<html>"), not + "the certificate cannot be read: expected a certificate in PEM"},
		"no signature":              {sum, []byte("<html>"), cert, not + "the signature cannot be read: illegal base64 data at input byte 0"},
		"too large":                 {sum, sig, bytes.Repeat([]byte("A"), 100<<10), not + "the certificate cannot be read: it has 102400 bytes, expected at most 65536"},
	} {
		_, err := root.VerifyBlob(tt.sum[:], tt.sig, tt.cert, signature.Signer{Subject: releaser, Issuer: google})
		if err == nil || !strings.HasPrefix(err.Error(), tt.want) || !errors.Is(err, signature.ErrUntrusted) {
			t.Errorf("%s: found\n%v\nexpected\n%s", name, err, tt.want)
		}
	}
}

// The real thing: a signature that a project made with sigstore's public
// instance (sigstore-js 1.3.0's provenance, from the examples of sigstore-go),
// against the root that comes with this program.
func TestPublicInstance(t *testing.T) {
	t.Parallel()
	root, err := signature.PublicRoot()
	if err != nil {
		t.Fatal(err)
	}
	cert, certErr := os.ReadFile("testdata/sigstore-js.pem")
	sig, sigErr := os.ReadFile("testdata/sigstore-js.sig")
	// sha256 of the statement as DSSE signs it.
	sum, sumErr := hex.DecodeString("fe1adb40cb1971feb9af5c4907b9ac55a6878c8fc56ff8c519dd400a05e9a21b")
	if err := errors.Join(certErr, sigErr, sumErr); err != nil {
		t.Fatal(err)
	}
	want := signature.Signer{Subject: "https://github.com/sigstore/sigstore-js/.github/workflows/release.yml@refs/heads/main", Issuer: "https://token.actions.githubusercontent.com"}
	found, err := root.VerifyBlob(sum, sig, cert, want)
	if err != nil {
		t.Fatal(err)
	}
	if !found.At.Equal(time.Date(2023, 4, 18, 17, 45, 11, 0, time.UTC)) {
		t.Errorf("signed at %s", found.At)
	}
	sum[0] ^= 1
	if _, err := root.VerifyBlob(sum, sig, cert, want); !errors.Is(err, signature.ErrUntrusted) {
		t.Errorf("another sum: %v", err)
	}
	// Our own authority's certificates are nothing to it.
	a, _ := authority(t)
	blob := sha256.Sum256(nil)
	sig, cert, err = a.Sign(blob, releaser, google, signaturetest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := root.VerifyBlob(blob[:], sig, cert, signature.Signer{Subject: releaser, Issuer: google}); !errors.Is(err, signature.ErrUntrusted) {
		t.Errorf("a test's certificate: %v", err)
	}
}

func TestReadRootRefuses(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":                                "reading the trusted root: ",
		"{}":                              "reading the trusted root: expected at least one certificate authority",
		`{"certificateAuthorities":[{}]}`: "reading the trusted root: certificate authority 0 has no certificates",
		`{"certificateAuthorities":[{"certChain":{"certificates":[{"rawBytes":"AAAA"}]}}]}`: "reading the trusted root: certificate 0 of authority 0: ",
		`{"ctlogs":[{"publicKey":{"rawBytes":"AAAA"}}]}`:                                    "reading the trusted root: certificate-transparency log 0 has no ECDSA key: ",
	} {
		if _, err := signature.ReadRoot([]byte(text)); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: found %v, expected %s", text, err, want)
		}
	}
}

// FuzzCertificate: no certificate makes the check crash, or passes it.
func FuzzCertificate(f *testing.F) {
	a, err := signaturetest.NewAuthority()
	if err != nil {
		f.Fatal(err)
	}
	text, err := a.TrustedRoot()
	if err != nil {
		f.Fatal(err)
	}
	root, err := signature.ReadRoot(text)
	if err != nil {
		f.Fatal(err)
	}
	sum := sha256.Sum256([]byte("kubelet"))
	sig, cert, err := a.Sign(sum, "somebody@example.org", google, signaturetest.Options{})
	if err != nil {
		f.Fatal(err)
	}
	plain, err := base64.StdEncoding.DecodeString(string(cert))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(cert, sig)
	f.Add(plain, sig)
	f.Fuzz(func(t *testing.T, cert, sig []byte) {
		if _, err := root.VerifyBlob(sum[:], sig, cert, signature.Signer{Subject: releaser, Issuer: google}); !errors.Is(err, signature.ErrUntrusted) {
			t.Errorf("found %v", err)
		}
	})
}
