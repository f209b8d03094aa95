package signature

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"embed"
	"encoding/asn1"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	trustroot "github.com/sigstore/protobuf-specs/gen/pb-go/trustroot/v1"
	"google.golang.org/protobuf/encoding/protojson"
)

//go:embed trust
var trustFiles embed.FS

// Root is what cosign signatures are checked against.
type Root struct {
	authorities []authority
	logs        []transparencyLog
}

// authority is one certificate authority, for as long as it was in use.
type authority struct {
	root          *x509.Certificate
	intermediates []*x509.Certificate
	start, end    time.Time // end is zero for one that is in use
}

// PublicRoot is the root of sigstore's public instance, which Kubernetes signs
// with.
func PublicRoot() (*Root, error) {
	text, err := trustFiles.ReadFile("trust/sigstore.json")
	if err != nil {
		return nil, err
	}
	return ReadRoot(text)
}

// ReadRoot reads a trusted_root.json as sigstore distributes it and `cosign
// trusted-root create` writes it.
func ReadRoot(text []byte) (*Root, error) {
	var spec trustroot.TrustedRoot
	if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(text, &spec); err != nil {
		return nil, fmt.Errorf("reading the trusted root: %w", err)
	}
	root := &Root{}
	for i, ca := range spec.GetCertificateAuthorities() {
		chain := ca.GetCertChain().GetCertificates()
		if len(chain) == 0 {
			return nil, fmt.Errorf("reading the trusted root: certificate authority %d has no certificates", i)
		}
		a := authority{start: ca.GetValidFor().GetStart().AsTime()}
		if end := ca.GetValidFor().GetEnd(); end != nil {
			a.end = end.AsTime()
		}
		for j, c := range chain {
			certificate, err := x509.ParseCertificate(c.GetRawBytes())
			if err != nil {
				return nil, fmt.Errorf("reading the trusted root: certificate %d of authority %d: %w", j, i, err)
			}
			if j == len(chain)-1 {
				a.root = certificate
			} else {
				a.intermediates = append(a.intermediates, certificate)
			}
		}
		root.authorities = append(root.authorities, a)
	}
	for i, log := range spec.GetCtlogs() {
		key, err := x509.ParsePKIXPublicKey(log.GetPublicKey().GetRawBytes())
		public, ok := key.(*ecdsa.PublicKey)
		if err != nil || !ok {
			return nil, fmt.Errorf("reading the trusted root: certificate-transparency log %d has no ECDSA key: %w", i, err)
		}
		root.logs = append(root.logs, transparencyLog{id: sha256.Sum256(log.GetPublicKey().GetRawBytes()), key: public, url: log.GetBaseUrl()})
	}
	if len(root.authorities) == 0 {
		return nil, errors.New("reading the trusted root: expected at least one certificate authority")
	}
	return root, nil
}

// Signer is who must have signed.
type Signer struct {
	Subject string // mail address or URI, exactly
	Issuer  string // URL of the OpenID provider, exactly
}

// VerifyBlob checks a keyless cosign signature of a file with the given
// sha256: what `cosign sign-blob --output-signature --output-certificate`
// writes. signature is base64; certificate is PEM, plain or as base64.
//
// What is checked: the certificate was issued by one of the root's authorities
// and entered in one of its certificate-transparency logs, it names the signer
// and who vouched for them, and its key signed the file. That the signing
// itself was entered in sigstore's log of signatures (Rekor) is not: its proof
// is not beside the file. So nothing but the ten minutes that the key was to
// live for stands between a key that leaked later and a signature.
//
// Errors wrap ErrUntrusted.
func (r *Root) VerifyBlob(sha256Sum, signature, certificate []byte, want Signer) (Identity, error) {
	leaf, err := readCertificate(certificate)
	if err != nil {
		return Identity{}, untrusted("the certificate cannot be read: %w", err)
	}
	issuer, err := r.issuerOf(leaf)
	if err != nil {
		return Identity{}, err
	}
	if err := r.checkLogged(leaf, issuer); err != nil {
		return Identity{}, err
	}
	found := Identity{Kind: Cosign, Issuer: oidcIssuer(leaf), At: leaf.NotBefore.UTC()}
	subjects := slices.Clone(leaf.EmailAddresses)
	for _, u := range leaf.URIs {
		subjects = append(subjects, u.String())
	}
	if len(subjects) != 1 || found.Issuer == "" {
		return Identity{}, untrusted("the certificate names %d signers and %d who vouches for them: expected one of each", len(subjects), min(len(found.Issuer), 1))
	}
	found.Subject = subjects[0]
	if found.Subject != want.Subject || found.Issuer != want.Issuer {
		return Identity{}, untrusted("signed by %s, vouched for by %s: expected %s, vouched for by %s", found.Subject, found.Issuer, want.Subject, want.Issuer)
	}
	key, ok := leaf.PublicKey.(*ecdsa.PublicKey)
	if !ok {
		return Identity{}, untrusted("the certificate is for a key of type %T: expected ECDSA", leaf.PublicKey)
	}
	raw, err := base64.StdEncoding.DecodeString(string(bytes.TrimSpace(signature)))
	if err != nil {
		return Identity{}, untrusted("the signature cannot be read: %w", err)
	}
	if !ecdsa.VerifyASN1(key, sha256Sum, raw) {
		return Identity{}, untrusted("the file with sha256 %x is not the one that %s signed, or the signature was made with another key than the certificate's", sha256Sum, found.Subject)
	}
	sum := sha256.Sum256(leaf.RawSubjectPublicKeyInfo)
	found.Key = hex.EncodeToString(sum[:])
	return found, nil
}

// maxCertificate bounds a certificate, in bytes; one of Fulcio's has 1 KiB.
const maxCertificate = 64 << 10

// readCertificate reads PEM, or base64 of PEM, which is what cosign writes.
func readCertificate(text []byte) (*x509.Certificate, error) {
	if len(text) > maxCertificate {
		return nil, fmt.Errorf("it has %d bytes, expected at most %d", len(text), maxCertificate)
	}
	text = bytes.TrimSpace(text)
	if decoded, err := base64.StdEncoding.DecodeString(string(text)); err == nil {
		text = decoded
	}
	block, _ := pem.Decode(text)
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, errors.New("expected a certificate in PEM")
	}
	return x509.ParseCertificate(block.Bytes)
}

// issuerOf returns the certificate that leaf was signed with, one of an
// authority's that was in use when leaf was issued.
func (r *Root) issuerOf(leaf *x509.Certificate) (*x509.Certificate, error) {
	// SAN is the only name; a library that knows no more would not do.
	leaf.UnhandledCriticalExtensions = slices.DeleteFunc(leaf.UnhandledCriticalExtensions, func(id asn1.ObjectIdentifier) bool {
		return id.Equal(asn1.ObjectIdentifier{2, 5, 29, 17})
	})
	var problems []error
	for _, a := range r.authorities {
		if leaf.NotBefore.Before(a.start) || !a.end.IsZero() && leaf.NotBefore.After(a.end) {
			continue
		}
		roots, intermediates := x509.NewCertPool(), x509.NewCertPool()
		roots.AddCert(a.root)
		for _, c := range a.intermediates {
			intermediates.AddCert(c)
		}
		// It lived ten minutes, long ago: it counts as of when it was issued.
		chains, err := leaf.Verify(x509.VerifyOptions{
			Roots: roots, Intermediates: intermediates, CurrentTime: leaf.NotBefore, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning},
		})
		if err != nil {
			problems = append(problems, err)
			continue
		}
		return chains[0][1], nil
	}
	if len(problems) == 0 {
		return nil, untrusted("no authority of the trusted root was in use on %s, when the certificate was issued: give a newer trusted root", leaf.NotBefore.UTC().Format(time.DateOnly))
	}
	return nil, untrusted("the certificate was not issued by an authority of the trusted root: %w", errors.Join(problems...))
}

// Fulcio's extensions that name who vouched for the signer
// (https://github.com/sigstore/fulcio/blob/main/docs/oid-info.md).
var (
	oidIssuerRaw = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 1, 1}
	oidIssuer    = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 1, 8}
)

func oidcIssuer(leaf *x509.Certificate) string {
	raw := ""
	for _, e := range leaf.Extensions {
		switch {
		case e.Id.Equal(oidIssuer):
			var text string
			if rest, err := asn1.UnmarshalWithParams(e.Value, &text, "utf8"); err == nil && len(rest) == 0 {
				return text
			}
		case e.Id.Equal(oidIssuerRaw):
			raw = strings.ToValidUTF8(string(e.Value), "?")
		}
	}
	return raw
}
