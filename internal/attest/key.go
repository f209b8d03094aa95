package attest

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/secure-systems-lab/go-securesystemslib/dsse"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
)

// KeyKind is an algorithm to sign with.
type KeyKind string

// The kinds of keys. Cosign's own keys are ECDSA P-256.
const (
	ECDSA   KeyKind = "ecdsa-p256"
	Ed25519 KeyKind = "ed25519"
)

// maxKeyFile bounds a key file, in bytes.
const maxKeyFile = 64 << 10

// envPrefix marks a key that is in an environment variable, as in cosign.
const envPrefix = "env://"

// PublicKey verifies signatures.
type PublicKey struct {
	key crypto.PublicKey
	der []byte // SubjectPublicKeyInfo
}

// Fingerprint is the SHA-256 of the key's SubjectPublicKeyInfo, in
// hexadecimal, which is how a policy names the key:
//
//	openssl pkey -pubin -in key.pub -outform DER | sha256sum
func (k PublicKey) Fingerprint() string {
	sum := sha256.Sum256(k.der)
	return hex.EncodeToString(sum[:])
}

// Hint is how a sigstore bundle names the key: the fingerprint in base64, as
// cosign and sigstore-go compute it.
func (k PublicKey) Hint() string {
	sum := sha256.Sum256(k.der)
	return base64.StdEncoding.EncodeToString(sum[:])
}

// PEM renders the key.
func (k PublicKey) PEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: k.der})
}

// Verify implements dsse.Verifier.
func (k PublicKey) Verify(_ context.Context, data, sig []byte) error {
	ok := false
	switch key := k.key.(type) {
	case ed25519.PublicKey:
		ok = ed25519.Verify(key, data, sig)
	case *ecdsa.PublicKey:
		sum := sha256.Sum256(data)
		ok = ecdsa.VerifyASN1(key, sum[:], sig)
	}
	if !ok {
		return errors.New("the signature is not this key's")
	}
	return nil
}

// KeyID implements dsse.Verifier. Cosign leaves the IDs in envelopes empty:
// the bundle's hint names the key.
func (k PublicKey) KeyID() (string, error) { return "", nil }

// Public implements dsse.Verifier.
func (k PublicKey) Public() crypto.PublicKey { return k.key }

var _ dsse.Verifier = PublicKey{}

// PrivateKey signs.
type PrivateKey struct {
	signer crypto.Signer
	public PublicKey
}

var _ dsse.Signer = (*PrivateKey)(nil)

// Public returns the key that verifies what this one signs.
func (k *PrivateKey) Public() PublicKey { return k.public }

// Sign implements dsse.Signer.
func (k *PrivateKey) Sign(_ context.Context, data []byte) ([]byte, error) {
	if _, ok := k.signer.(ed25519.PrivateKey); ok {
		return k.signer.Sign(rand.Reader, data, crypto.Hash(0))
	}
	sum := sha256.Sum256(data)
	return k.signer.Sign(rand.Reader, sum[:], crypto.SHA256)
}

// KeyID implements dsse.Signer; see PublicKey.KeyID.
func (k *PrivateKey) KeyID() (string, error) { return "", nil }

// PEM renders the key as unencrypted PKCS#8.
func (k *PrivateKey) PEM() ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(k.signer)
	if err != nil {
		return nil, fmt.Errorf("rendering the key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// GenerateKey makes a new key.
func GenerateKey(kind KeyKind) (*PrivateKey, error) {
	switch kind {
	case Ed25519:
		_, key, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			return nil, fmt.Errorf("generating a key: %w", err)
		}
		return newPrivateKey(key)
	case ECDSA:
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return nil, fmt.Errorf("generating a key: %w", err)
		}
		return newPrivateKey(key)
	}
	return nil, exitcode.BadInput(fmt.Errorf("key type %q: expected %s or %s", kind, ECDSA, Ed25519))
}

func newPrivateKey(signer crypto.Signer) (*PrivateKey, error) {
	public, err := newPublicKey(signer.Public())
	if err != nil {
		return nil, err
	}
	return &PrivateKey{signer, public}, nil
}

func newPublicKey(key crypto.PublicKey) (PublicKey, error) {
	switch k := key.(type) {
	case ed25519.PublicKey:
	case *ecdsa.PublicKey:
		if k.Curve != elliptic.P256() {
			return PublicKey{}, fmt.Errorf("it is an ECDSA key on %s: expected P-256", k.Curve.Params().Name)
		}
	default:
		return PublicKey{}, fmt.Errorf("it is a %T: expected Ed25519 or ECDSA P-256", key)
	}
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return PublicKey{}, err
	}
	return PublicKey{key, der}, nil
}

// LoadPrivateKey reads a PKCS#8 key in PEM from a file, or with env://NAME
// from an environment variable. A file that others than its owner can read is
// refused. Errors are bad input.
func LoadPrivateKey(ref string) (*PrivateKey, error) {
	data, err := readKey(ref, true)
	if err != nil {
		return nil, exitcode.BadInput(fmt.Errorf("reading the private key: %w", err))
	}
	key, err := parsePrivateKey(data)
	if err != nil {
		return nil, exitcode.BadInput(fmt.Errorf("reading the private key %s: %w", ref, err))
	}
	return key, nil
}

// LoadPublicKey reads a public key in PEM from a file, or with env://NAME from
// an environment variable. Errors are bad input.
func LoadPublicKey(ref string) (PublicKey, error) {
	data, err := readKey(ref, false)
	if err != nil {
		return PublicKey{}, exitcode.BadInput(fmt.Errorf("reading the public key: %w", err))
	}
	key, err := parsePublicKey(data)
	if err != nil {
		return PublicKey{}, exitcode.BadInput(fmt.Errorf("reading the public key %s: %w", ref, err))
	}
	return key, nil
}

func readKey(ref string, secret bool) ([]byte, error) {
	if name, ok := strings.CutPrefix(ref, envPrefix); ok {
		text, set := os.LookupEnv(name)
		if !set || text == "" {
			return nil, fmt.Errorf("the environment variable %q is empty: expected a key in PEM", name)
		}
		return []byte(text), nil
	}
	// Before opening it: opening a pipe waits for its other end.
	if info, err := os.Stat(ref); err != nil {
		return nil, err
	} else if !info.Mode().IsRegular() {
		return nil, &fs.PathError{Op: "read", Path: ref, Err: errors.New("not a regular file")}
	}
	f, err := os.Open(ref)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // only read
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if mode := info.Mode().Perm(); secret && mode&0o077 != 0 {
		return nil, fmt.Errorf("%s has mode %04o, so others than its owner can use it: run 'chmod 600 %s', and replace the key if others may have seen it", ref, mode, ref)
	}
	data, err := io.ReadAll(io.LimitReader(f, maxKeyFile+1))
	if err == nil && len(data) > maxKeyFile {
		err = fmt.Errorf("%s has more than %d KiB: expected one key in PEM", ref, maxKeyFile>>10)
	}
	return data, err
}

// block returns the only PEM block of data.
func block(data []byte) (*pem.Block, error) {
	b, rest := pem.Decode(data)
	if b == nil {
		return nil, errors.New("it is not PEM")
	}
	if more, _ := pem.Decode(rest); more != nil {
		return nil, errors.New("it holds several keys: expected one")
	}
	return b, nil
}

func parsePrivateKey(data []byte) (*PrivateKey, error) {
	b, err := block(data)
	if err != nil {
		return nil, err
	}
	switch b.Type {
	case "PRIVATE KEY":
	case "EC PRIVATE KEY":
		return nil, errors.New("it is a SEC1 key: convert it with 'openssl pkcs8 -topk8 -nocrypt'")
	case "ENCRYPTED PRIVATE KEY", "ENCRYPTED SIGSTORE PRIVATE KEY", "ENCRYPTED COSIGN PRIVATE KEY":
		return nil, errors.New("it is encrypted: expected unencrypted PKCS#8, in a file that only its owner can read or in the environment")
	default:
		return nil, fmt.Errorf("it is a %q: expected a PKCS#8 PRIVATE KEY", b.Type)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(b.Bytes)
	if err != nil {
		return nil, err
	}
	signer, ok := parsed.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("it is a %T: expected Ed25519 or ECDSA P-256", parsed)
	}
	return newPrivateKey(signer)
}

func parsePublicKey(data []byte) (PublicKey, error) {
	b, err := block(data)
	if err != nil {
		return PublicKey{}, err
	}
	if b.Type != "PUBLIC KEY" {
		return PublicKey{}, fmt.Errorf("it is a %q: expected a PUBLIC KEY", b.Type)
	}
	parsed, err := x509.ParsePKIXPublicKey(b.Bytes)
	if err != nil {
		return PublicKey{}, err
	}
	return newPublicKey(parsed)
}
