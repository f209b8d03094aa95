package signature_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/signature"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/signature/signaturetest"
)

func newKey(t *testing.T, name string, made time.Time, life time.Duration) *signaturetest.Key {
	t.Helper()
	k, err := signaturetest.NewKey(name, strings.ToLower(name)+"@example.org", made, life)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func ring(t *testing.T, armored bool, keys ...*signaturetest.Key) *signature.Keyring {
	t.Helper()
	var all []byte
	for _, k := range keys {
		one, err := k.Keyring(armored)
		if err != nil {
			t.Fatal(err)
		}
		if armored {
			// As in runc.keyring, with words about each key.
			all = append(all, "pub ed25519\nuid somebody\n\n"...)
		}
		all = append(all, one...)
	}
	k, err := signature.ReadKeyring("test", all)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

var (
	longAgo = time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)
	then    = time.Date(2024, 6, 1, 12, 0, 0, 0, time.UTC)
)

const list = "f6ae8efc0fa40079e1475e97cbe9d1bd3f106a28d6af78a11d9f1bd565515e60  runc.amd64\n- a line that begins with a dash\n"

func TestVerifyClearsigned(t *testing.T) {
	t.Parallel()
	alice, bob := newKey(t, "Alice", longAgo, 0), newKey(t, "Bob", longAgo, 0)
	message, err := bob.Clearsign([]byte(list), then)
	if err != nil {
		t.Fatal(err)
	}
	for _, armored := range []bool{true, false} {
		k := ring(t, armored, alice, bob)
		text, found, err := k.VerifyClearsigned(message)
		if err != nil {
			t.Fatal(err)
		}
		if strings.TrimSpace(string(text)) != strings.TrimSpace(list) {
			t.Errorf("text %q", text)
		}
		if found.Kind != signature.OpenPGP || found.Subject != "Bob <bob@example.org>" || !found.At.Equal(then) || !contains(k.Fingerprints(), found.Key) {
			t.Errorf("found %+v", found)
		}
	}
}

func contains(list []string, s string) bool {
	for _, x := range list {
		if x == s {
			return true
		}
	}
	return false
}

func TestVerifyDetached(t *testing.T) {
	t.Parallel()
	alice := newKey(t, "Alice", longAgo, 0)
	k := ring(t, false, alice)
	for _, armored := range []bool{true, false} {
		sig, err := alice.Detach([]byte(list), then, armored)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := k.VerifyDetached(strings.NewReader(list), sig); err != nil {
			t.Error(err)
		}
		if _, err := k.VerifyDetached(strings.NewReader(list+"x"), sig); !errors.Is(err, signature.ErrUntrusted) {
			t.Errorf("another content: %v", err)
		}
	}
}

func TestOpenPGPRefuses(t *testing.T) {
	t.Parallel()
	alice, mallory := newKey(t, "Alice", longAgo, 0), newKey(t, "Mallory", longAgo, 0)
	shortLived := newKey(t, "Shortlived", longAgo, 365*24*time.Hour)
	k := ring(t, true, alice, shortLived)
	sign := func(by *signaturetest.Key, at time.Time) []byte {
		message, err := by.Clearsign([]byte(list), at)
		if err != nil {
			t.Fatal(err)
		}
		return message
	}
	good := sign(alice, then)
	const not = "the signature is not to be trusted: "
	for name, tt := range map[string]struct {
		message []byte
		want    string
	}{
		"another key":         {sign(mallory, then), not + "it was made with a key that is not in the keyring test: expected one of " + strings.Join(k.Fingerprints(), ", ")},
		"changed text":        {bytes.Replace(good, []byte("f6ae"), []byte("0000"), 1), not + "openpgp: "},
		"signed after expiry": {sign(shortLived, then), not + "openpgp: "},
		"not signed":          {[]byte(list), not + "found no clear-signed text: expected -----BEGIN PGP SIGNED MESSAGE-----"},
		"more after it":       {append(bytes.Clone(good), "0000  runc.arm64\n"...), not + "found more after the signature: expected one clear-signed text"},
		"signature cut out":   {good[:bytes.Index(good, []byte("-----BEGIN PGP SIGNATURE"))], not + "found no clear-signed text: expected -----BEGIN PGP SIGNED MESSAGE-----"},
	} {
		_, found, err := k.VerifyClearsigned(tt.message)
		if err == nil || !strings.HasPrefix(err.Error(), tt.want) || !errors.Is(err, signature.ErrUntrusted) {
			t.Errorf("%s: found %+v,\n%v\nexpected\n%s", name, found, err, tt.want)
		}
	}
	// A key that expired since was good when it signed.
	if _, _, err := k.VerifyClearsigned(sign(shortLived, longAgo.AddDate(0, 6, 0))); err != nil {
		t.Errorf("signed before the key expired: %v", err)
	}
}

// What stands before the signed text is not in what comes out.
func TestTextAroundIsDropped(t *testing.T) {
	t.Parallel()
	alice := newKey(t, "Alice", longAgo, 0)
	message, err := alice.Clearsign([]byte("signed\n"), then)
	if err != nil {
		t.Fatal(err)
	}
	text, _, err := ring(t, true, alice).VerifyClearsigned(append([]byte("not signed\n\n"), message...))
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(text), "not signed") {
		t.Errorf("text %q", text)
	}
}

func TestBuiltinKeyring(t *testing.T) {
	t.Parallel()
	k, err := signature.BuiltinKeyring("runc")
	if err != nil {
		t.Fatal(err)
	}
	if n := len(k.Fingerprints()); n != 3 {
		t.Errorf("%d keys, expected 3: %v", n, k.Fingerprints())
	}
	if _, err := signature.BuiltinKeyring("crun"); err == nil || err.Error() != `no keyring "crun" comes with nodeimage` {
		t.Errorf("found %v", err)
	}
	for name, text := range map[string]string{"": "reading the keyring x: expected at least one key", "text": "reading the keyring x: "} {
		if _, err := signature.ReadKeyring("x", []byte(name)); err == nil || !strings.HasPrefix(err.Error(), text) {
			t.Errorf("%q: found %v", name, err)
		}
	}
}

func TestParseSums(t *testing.T) {
	t.Parallel()
	a, b := strings.Repeat("a", 64), strings.Repeat("b", 64)
	for text, want := range map[string]map[string]string{
		a + "  runc.amd64\n" + b + " *runc.arm64\r\n\n": {"runc.amd64": a, "runc.arm64": b},
		a: {"": a},
	} {
		got, err := signature.ParseSums([]byte(text))
		if err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("sums (-want +got):\n%s", diff)
		}
	}
	for text, want := range map[string]string{
		"":                          "the list of sums is empty",
		"<html>":                    `line 1 of the list of sums: found "<html>", expected 64 lower-case hexadecimal digits and a file's name`,
		a + "  x\n" + b + "  x\n":   `line 2 of the list of sums: found a second sum of "x"`,
		a + "  ../../etc/passwd\n":  `line 1 of the list of sums: found "` + a + `  ../../etc/passwd", expected 64 lower-case hexadecimal digits and a file's name`,
		strings.ToUpper(a) + "  x ": `line 1 of the list of sums: found "` + strings.ToUpper(a) + `  x", expected 64 lower-case hexadecimal digits and a file's name`,
	} {
		if _, err := signature.ParseSums([]byte(text)); err == nil || err.Error() != want {
			t.Errorf("%q: found %v, expected %s", text, err, want)
		}
	}
}
