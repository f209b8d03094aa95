// Package signaturetest signs as upstreams do, with keys of its own: keyless
// certificates of Fulcio's shape, entered in a certificate-transparency log,
// and OpenPGP.
package signaturetest

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"encoding/pem"
	"errors"
	"math/big"
	"net/url"
	"strings"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/clearsign"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"
)

// Authority issues certificates as Fulcio does.
type Authority struct {
	root, intermediate *x509.Certificate
	key                *ecdsa.PrivateKey // the intermediate's
	log                *ecdsa.PrivateKey
	// At is when certificates are issued.
	At time.Time
}

// NewAuthority makes an authority with a certificate-transparency log.
func NewAuthority() (*Authority, error) {
	a := &Authority{At: time.Now().Add(-24 * time.Hour).Truncate(time.Second)}
	var keys [3]*ecdsa.PrivateKey
	for i := range keys {
		var err error
		if keys[i], err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
			return nil, err
		}
	}
	template := func(serial int64, name string) *x509.Certificate {
		return &x509.Certificate{
			SerialNumber: big.NewInt(serial), Subject: pkix.Name{Organization: []string{"sigstore.test"}, CommonName: name},
			NotBefore: a.At.AddDate(-1, 0, 0), NotAfter: a.At.AddDate(9, 0, 0), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
		}
	}
	var err error
	if a.root, err = issue(template(1, "sigstore"), nil, &keys[0].PublicKey, keys[0]); err != nil {
		return nil, err
	}
	middle := template(2, "sigstore-intermediate")
	middle.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning}
	if a.intermediate, err = issue(middle, a.root, &keys[1].PublicKey, keys[0]); err != nil {
		return nil, err
	}
	a.key, a.log = keys[1], keys[2]
	return a, nil
}

func issue(template, parent *x509.Certificate, public *ecdsa.PublicKey, key *ecdsa.PrivateKey) (*x509.Certificate, error) {
	if parent == nil {
		parent = template
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, key)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

// TrustedRoot is the authority's trusted_root.json.
func (a *Authority) TrustedRoot() ([]byte, error) {
	logKey, err := x509.MarshalPKIXPublicKey(&a.log.PublicKey)
	if err != nil {
		return nil, err
	}
	start := map[string]any{"start": a.At.AddDate(-1, 0, 0).UTC().Format(time.RFC3339)}
	certificate := func(c *x509.Certificate) map[string]any { return map[string]any{"rawBytes": c.Raw} }
	return json.Marshal(map[string]any{
		"mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
		"certificateAuthorities": []any{map[string]any{
			"uri": "https://fulcio.sigstore.test", "certChain": map[string]any{"certificates": []any{certificate(a.intermediate), certificate(a.root)}}, "validFor": start,
		}},
		"ctlogs": []any{map[string]any{
			"baseUrl": "https://ctfe.sigstore.test", "hashAlgorithm": "SHA2_256",
			"publicKey": map[string]any{"rawBytes": logKey, "keyDetails": "PKIX_ECDSA_P256_SHA_256", "validFor": start},
		}},
	})
}

// Options change what a signature is like.
type Options struct {
	Unlogged bool // no receipt of a log
	OtherLog bool // a receipt for another certificate
}

// Sign signs the file with the given sha256 as `cosign sign-blob` does: FILE.sig
// and FILE.cert. subject is a mail address or a URI.
func (a *Authority) Sign(sum [sha256.Size]byte, subject, issuer string, o Options) (signature, certificate []byte, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	issuerText, err := asn1.MarshalWithParams(issuer, "utf8")
	if err != nil {
		return nil, nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), NotBefore: a.At, NotAfter: a.At.Add(10 * time.Minute),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning},
		SubjectKeyId: []byte{1, 2, 3, 4},
		ExtraExtensions: []pkix.Extension{
			{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 1, 1}, Value: []byte(issuer)},
			{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 1, 8}, Value: issuerText},
		},
	}
	if strings.Contains(subject, "://") {
		u, err := url.Parse(subject)
		if err != nil {
			return nil, nil, err
		}
		template.URIs = []*url.URL{u}
	} else {
		template.EmailAddresses = []string{subject}
	}
	leaf, err := issue(template, a.intermediate, &key.PublicKey, a.key)
	if err != nil {
		return nil, nil, err
	}
	if !o.Unlogged {
		tbs := leaf.RawTBSCertificate
		if o.OtherLog {
			tbs = bytes.Replace(tbs, []byte(subject), bytes.Repeat([]byte("x"), len(subject)), 1)
		}
		receipts, err := a.receipts(tbs)
		if err != nil {
			return nil, nil, err
		}
		template.ExtraExtensions = append(template.ExtraExtensions, receipts)
		if leaf, err = issue(template, a.intermediate, &key.PublicKey, a.key); err != nil {
			return nil, nil, err
		}
	}
	raw, err := ecdsa.SignASN1(rand.Reader, key, sum[:])
	if err != nil {
		return nil, nil, err
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leaf.Raw})
	return []byte(base64.StdEncoding.EncodeToString(raw)), []byte(base64.StdEncoding.EncodeToString(text)), nil
}

// receipts is the extension that says that the log has a certificate, which
// was the same but for this extension (RFC 6962, 3.2 and 3.3).
func (a *Authority) receipts(tbs []byte) (pkix.Extension, error) {
	logKey, err := x509.MarshalPKIXPublicKey(&a.log.PublicKey)
	if err != nil {
		return pkix.Extension{}, err
	}
	id, issuer := sha256.Sum256(logKey), sha256.Sum256(a.intermediate.RawSubjectPublicKeyInfo)
	at := binary.BigEndian.AppendUint64(nil, uint64(a.At.UnixMilli()))
	signed := append([]byte{0, 0}, at...)
	signed = append(append(signed, 0, 1), issuer[:]...)
	signed = append(signed, byte(len(tbs)>>16), byte(len(tbs)>>8), byte(len(tbs)))
	signed = append(append(signed, tbs...), 0, 0)
	digest := sha256.Sum256(signed)
	raw, err := ecdsa.SignASN1(rand.Reader, a.log, digest[:])
	if err != nil {
		return pkix.Extension{}, err
	}
	one := append(append([]byte{0}, id[:]...), at...)
	one = append(one, 0, 0, 4, 3)
	one = append(binary.BigEndian.AppendUint16(one, uint16(len(raw))), raw...)
	list := append(binary.BigEndian.AppendUint16(nil, uint16(len(one))), one...)
	list = append(binary.BigEndian.AppendUint16(nil, uint16(len(list))), list...)
	value, err := asn1.Marshal(list)
	return pkix.Extension{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 11129, 2, 4, 2}, Value: value}, err
}

// Key is an OpenPGP key.
type Key struct{ entity *openpgp.Entity }

// NewKey makes a key that was made on a day and lives for a while; 0 is for ever.
func NewKey(name, mail string, made time.Time, life time.Duration) (*Key, error) {
	entity, err := openpgp.NewEntity(name, "", mail, &packet.Config{
		Algorithm: packet.PubKeyAlgoEdDSA, Time: func() time.Time { return made }, KeyLifetimeSecs: uint32(life / time.Second),
	})
	return &Key{entity}, err
}

// Keyring is the public key: binary, or an armored block.
func (k *Key) Keyring(armored bool) ([]byte, error) {
	var b bytes.Buffer
	if !armored {
		err := k.entity.Serialize(&b)
		return b.Bytes(), err
	}
	w, err := armor.Encode(&b, "PGP PUBLIC KEY BLOCK", nil)
	if err != nil {
		return nil, err
	}
	err = errors.Join(k.entity.Serialize(w), w.Close())
	return append(b.Bytes(), '\n'), err
}

// Clearsign signs a text, as runc's list of sums is signed.
func (k *Key) Clearsign(text []byte, at time.Time) ([]byte, error) {
	var b bytes.Buffer
	w, err := clearsign.Encode(&b, k.entity.PrivateKey, &packet.Config{Time: func() time.Time { return at }})
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(text); err != nil {
		return nil, err
	}
	err = w.Close()
	return append(b.Bytes(), '\n'), err
}

// Detach signs content beside it, as SHA256SUMS.gpg is.
func (k *Key) Detach(content []byte, at time.Time, armored bool) ([]byte, error) {
	var b bytes.Buffer
	params := &openpgp.SignParams{Config: &packet.Config{Time: func() time.Time { return at }}}
	sign := openpgp.DetachSignWithParams
	if armored {
		sign = openpgp.ArmoredDetachSign
	}
	err := sign(&b, []*openpgp.Entity{k.entity}, bytes.NewReader(content), params)
	return b.Bytes(), err
}
