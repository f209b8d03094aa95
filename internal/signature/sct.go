package signature

import (
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// transparencyLog is a log that certificates are entered in before they are
// issued.
type transparencyLog struct {
	id  [sha256.Size]byte // sha256 of the key
	key *ecdsa.PublicKey
	url string
}

// oidSCTs is the extension with the logs' receipts (RFC 6962, 3.3).
var oidSCTs = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 11129, 2, 4, 2}

// receipt is a signed certificate timestamp.
type receipt struct {
	log        [sha256.Size]byte
	timestamp  uint64 // milliseconds
	extensions []byte
	signature  []byte
}

// checkLogged makes sure that one of the root's logs has the certificate: an
// authority that was made to issue one for somebody else cannot do so unseen.
// A root without logs asks for none.
func (r *Root) checkLogged(leaf, issuer *x509.Certificate) error {
	if len(r.logs) == 0 {
		return nil
	}
	receipts, err := receiptsOf(leaf)
	if err != nil {
		return untrusted("the certificate's receipts from certificate-transparency logs cannot be read: %w", err)
	}
	tbs, err := withoutReceipts(leaf.RawTBSCertificate)
	if err != nil {
		return untrusted("the certificate cannot be read: %w", err)
	}
	for _, receipt := range receipts {
		for _, log := range r.logs {
			if log.id != receipt.log {
				continue
			}
			if at := time.UnixMilli(int64(receipt.timestamp)); at.Before(leaf.NotBefore.Add(-time.Minute)) || at.After(leaf.NotAfter) {
				return untrusted("the receipt of the certificate-transparency log %s is of another time than the certificate", log.url)
			}
			digest := sha256.Sum256(receipt.signed(issuer, tbs))
			if !ecdsa.VerifyASN1(log.key, digest[:], receipt.signature) {
				return untrusted("the receipt of the certificate-transparency log %s is not for this certificate", log.url)
			}
			return nil
		}
	}
	return untrusted("found %d receipts and none of a certificate-transparency log in the trusted root: give a newer trusted root", len(receipts))
}

// receiptsOf reads the extension: a list of receipts, each with its length.
func receiptsOf(leaf *x509.Certificate) ([]receipt, error) {
	for _, e := range leaf.Extensions {
		if !e.Id.Equal(oidSCTs) {
			continue
		}
		var octets []byte
		if rest, err := asn1.Unmarshal(e.Value, &octets); err != nil || len(rest) > 0 {
			return nil, errors.New("the extension is no octet string")
		}
		var list cryptobyte.String
		in := cryptobyte.String(octets)
		if !in.ReadUint16LengthPrefixed(&list) || !in.Empty() {
			return nil, errors.New("the extension is no list")
		}
		var receipts []receipt
		for !list.Empty() {
			var one cryptobyte.String
			if !list.ReadUint16LengthPrefixed(&one) {
				return nil, errors.New("a receipt is cut short")
			}
			r, err := readReceipt(one)
			if err != nil {
				return nil, err
			}
			receipts = append(receipts, r)
		}
		return receipts, nil
	}
	return nil, nil
}

func readReceipt(in cryptobyte.String) (receipt, error) {
	var r receipt
	var version, hashAlgorithm, signatureAlgorithm uint8
	var id []byte
	var extensions, signature cryptobyte.String
	if !in.ReadUint8(&version) || !in.ReadBytes(&id, len(r.log)) || !in.ReadUint64(&r.timestamp) ||
		!in.ReadUint16LengthPrefixed(&extensions) || !in.ReadUint8(&hashAlgorithm) || !in.ReadUint8(&signatureAlgorithm) ||
		!in.ReadUint16LengthPrefixed(&signature) || !in.Empty() {
		return r, errors.New("a receipt is cut short")
	}
	const v1, withSHA256, byECDSA = 0, 4, 3
	if version != v1 || hashAlgorithm != withSHA256 || signatureAlgorithm != byECDSA {
		return r, fmt.Errorf("a receipt of version %d with hash %d and signature %d: expected version 0, SHA-256 and ECDSA", version, hashAlgorithm, signatureAlgorithm)
	}
	copy(r.log[:], id)
	r.extensions, r.signature = extensions, signature
	return r, nil
}

// signed is what a log signs for a certificate that is yet to be issued
// (RFC 6962, 3.2).
func (r receipt) signed(issuer *x509.Certificate, tbs []byte) []byte {
	const v1, certificateTimestamp, precertificate = 0, 0, 1
	key := sha256.Sum256(issuer.RawSubjectPublicKeyInfo)
	out := []byte{v1, certificateTimestamp}
	out = binary.BigEndian.AppendUint64(out, r.timestamp)
	out = binary.BigEndian.AppendUint16(out, precertificate)
	out = append(out, key[:]...)
	out = append(out, byte(len(tbs)>>16), byte(len(tbs)>>8), byte(len(tbs)))
	out = append(out, tbs...)
	out = binary.BigEndian.AppendUint16(out, uint16(len(r.extensions)))
	return append(out, r.extensions...)
}

// withoutReceipts is the part of a certificate that is signed, as it was
// before the receipts were put in.
func withoutReceipts(tbs []byte) ([]byte, error) {
	in := cryptobyte.String(tbs)
	var fields cryptobyte.String
	if !in.ReadASN1(&fields, cbasn1.SEQUENCE) || !in.Empty() {
		return nil, errors.New("it is no sequence")
	}
	var before [][]byte
	extensionsTag := cbasn1.Tag(3).ContextSpecific().Constructed()
	for !fields.Empty() && !fields.PeekASN1Tag(extensionsTag) {
		var field cryptobyte.String
		var tag cbasn1.Tag
		if !fields.ReadAnyASN1Element(&field, &tag) {
			return nil, errors.New("a field is cut short")
		}
		before = append(before, field)
	}
	var outer, extensions cryptobyte.String
	if !fields.ReadASN1(&outer, extensionsTag) || !fields.Empty() || !outer.ReadASN1(&extensions, cbasn1.SEQUENCE) || !outer.Empty() {
		return nil, errors.New("it has no extensions")
	}
	var kept [][]byte
	for !extensions.Empty() {
		var element cryptobyte.String
		if !extensions.ReadASN1Element(&element, cbasn1.SEQUENCE) {
			return nil, errors.New("an extension is cut short")
		}
		inner := element
		var extension cryptobyte.String
		var id asn1.ObjectIdentifier
		if !inner.ReadASN1(&extension, cbasn1.SEQUENCE) || !extension.ReadASN1ObjectIdentifier(&id) {
			return nil, errors.New("an extension has no name")
		}
		if !id.Equal(oidSCTs) {
			kept = append(kept, element)
		}
	}
	var out cryptobyte.Builder
	out.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		for _, field := range before {
			b.AddBytes(field)
		}
		b.AddASN1(extensionsTag, func(b *cryptobyte.Builder) {
			b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
				for _, element := range kept {
					b.AddBytes(element)
				}
			})
		})
	})
	return out.Bytes()
}
