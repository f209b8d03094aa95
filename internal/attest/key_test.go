package attest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func newKey(t *testing.T, kind KeyKind) *PrivateKey {
	t.Helper()
	key, err := GenerateKey(kind)
	must(t, err)
	return key
}

func save(t *testing.T, name string, data []byte, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	must(t, os.WriteFile(path, data, mode))
	must(t, os.Chmod(path, mode))
	return path
}

func TestKeysThereAndBack(t *testing.T) {
	for _, kind := range []KeyKind{ECDSA, Ed25519} {
		key := newKey(t, kind)
		text, err := key.PEM()
		must(t, err)
		read, err := LoadPrivateKey(save(t, "key", text, 0o600))
		must(t, err)
		t.Setenv("NODEIMAGE_TEST_KEY", string(text))
		fromEnv, err := LoadPrivateKey("env://NODEIMAGE_TEST_KEY")
		must(t, err)
		public, err := LoadPublicKey(save(t, "pub", key.Public().PEM(), 0o644))
		must(t, err)
		for _, k := range []PublicKey{read.Public(), fromEnv.Public(), public} {
			if k.Fingerprint() != key.Public().Fingerprint() || k.Hint() != key.Public().Hint() {
				t.Errorf("%s: another key came back", kind)
			}
		}
		raw, err := hex.DecodeString(public.Fingerprint())
		must(t, err)
		if public.Hint() != base64.StdEncoding.EncodeToString(raw) {
			t.Errorf("%s: hint %s is not the fingerprint %s", kind, public.Hint(), public.Fingerprint())
		}
		sig, err := read.Sign(t.Context(), []byte("text"))
		must(t, err)
		if err := public.Verify(t.Context(), []byte("text"), sig); err != nil {
			t.Errorf("%s: %v", kind, err)
		}
		for name, bad := range map[string]error{
			"another text":       public.Verify(t.Context(), []byte("Text"), sig),
			"a cut signature":    public.Verify(t.Context(), []byte("text"), sig[:len(sig)-1]),
			"an empty signature": public.Verify(t.Context(), []byte("text"), nil),
			"another key":        newKey(t, kind).Public().Verify(t.Context(), []byte("text"), sig),
		} {
			if bad == nil {
				t.Errorf("%s: %s verifies", kind, name)
			}
		}
	}
}

func TestKeysRefused(t *testing.T) {
	t.Parallel()
	good, err := newKey(t, ECDSA).PEM()
	must(t, err)
	pkcs8 := func(key any) []byte {
		der, err := x509.MarshalPKCS8PrivateKey(key)
		must(t, err)
		return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	must(t, err)
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	must(t, err)
	sec1, err := x509.MarshalECPrivateKey(p384)
	must(t, err)
	for name, test := range map[string]struct {
		ref, want string
	}{
		"world-readable": {save(t, "k", good, 0o644), "has mode 0644, so others than its owner can use it: run 'chmod 600"},
		"group-readable": {save(t, "k", good, 0o640), "mode 0640"},
		"no file":        {"/nonexistent/key", "no such file"},
		"a directory":    {t.TempDir(), "not a regular file"},
		"no variable":    {"env://NODEIMAGE_NO_SUCH_KEY", "is empty"},
		"no PEM":         {save(t, "k", []byte("text"), 0o600), "not PEM"},
		"two keys":       {save(t, "k", append(good, good...), 0o600), "several keys"},
		"P-384":          {save(t, "k", pkcs8(p384), 0o600), "expected P-256"},
		"RSA":            {save(t, "k", pkcs8(rsaKey), 0o600), "expected Ed25519 or ECDSA P-256"},
		"SEC1":           {save(t, "k", pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: sec1}), 0o600), "openssl pkcs8 -topk8"},
		"encrypted":      {save(t, "k", pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED SIGSTORE PRIVATE KEY", Bytes: []byte("x")}), 0o600), "is encrypted"},
		"public":         {save(t, "k", newKey(t, ECDSA).Public().PEM(), 0o600), "expected a PKCS#8 PRIVATE KEY"},
		"damaged":        {save(t, "k", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("x")}), 0o600), "asn1"},
		"huge":           {save(t, "k", make([]byte, maxKeyFile+1), 0o600), "more than 64 KiB"},
	} {
		if _, err := LoadPrivateKey(test.ref); exitcode.Of(err) != exitcode.Usage || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want %q", name, err, test.want)
		}
	}
	if _, err := LoadPublicKey(save(t, "k", good, 0o600)); exitcode.Of(err) != exitcode.Usage {
		t.Errorf("a private key as a public one: %v", err)
	}
	if _, err := GenerateKey("rsa"); exitcode.Of(err) != exitcode.Usage {
		t.Errorf("an unknown type: %v", err)
	}
}
