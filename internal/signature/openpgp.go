package signature

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/clearsign"
	pgperrors "github.com/ProtonMail/go-crypto/openpgp/errors"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"
)

// Keyring holds the keys that may sign something.
type Keyring struct {
	keys openpgp.EntityList
	name string
}

// maxKeyring bounds a keyring, in bytes. Ubuntu's have 10 KiB.
const maxKeyring = 4 << 20

// ReadKeyring reads OpenPGP keys: binary, as in /usr/share/keyrings, or any
// number of armored blocks with text between them. name says in errors which
// keyring it is.
func ReadKeyring(name string, data []byte) (*Keyring, error) {
	fail := func(err error) (*Keyring, error) { return nil, fmt.Errorf("reading the keyring %s: %w", name, err) }
	if len(data) > maxKeyring {
		return fail(fmt.Errorf("it has %d bytes, expected at most %d", len(data), maxKeyring))
	}
	k := &Keyring{name: name}
	const begin = "-----BEGIN PGP PUBLIC KEY BLOCK-----"
	if !bytes.Contains(data, []byte(begin)) {
		keys, err := openpgp.ReadKeyRing(bytes.NewReader(data))
		if err != nil {
			return fail(err)
		}
		k.keys = keys
	}
	for i, text := range strings.Split(string(data), begin) {
		if i == 0 {
			continue // what stands before the first
		}
		block, err := armor.Decode(strings.NewReader(begin + text))
		if err != nil {
			return fail(fmt.Errorf("block %d: %w", i, err))
		}
		keys, err := openpgp.ReadKeyRing(block.Body)
		if err != nil {
			return fail(fmt.Errorf("block %d: %w", i, err))
		}
		k.keys = append(k.keys, keys...)
	}
	if len(k.keys) == 0 {
		return fail(errors.New("expected at least one key"))
	}
	return k, nil
}

// BuiltinKeyring returns a keyring that comes with this program, such as runc.
func BuiltinKeyring(name string) (*Keyring, error) {
	data, err := trustFiles.ReadFile("trust/" + name + ".keyring")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("no keyring %q comes with nodeimage", name)
	}
	if err != nil {
		return nil, err
	}
	return ReadKeyring(name, data)
}

// Fingerprints of the keys, sorted.
func (k *Keyring) Fingerprints() []string {
	var list []string
	for _, key := range k.keys {
		list = append(list, fingerprint(key))
	}
	slices.Sort(list)
	return list
}

func fingerprint(key *openpgp.Entity) string {
	return strings.ToUpper(hex.EncodeToString(key.PrimaryKey.Fingerprint))
}

// VerifyDetached checks a signature, armored or not, of what content reads,
// and returns who made it. The key counts as of when it signed: one that
// expired since is good, one that was revoked is not. Errors wrap ErrUntrusted.
func (k *Keyring) VerifyDetached(content io.Reader, signature []byte) (Identity, error) {
	var in io.Reader = bytes.NewReader(signature)
	if bytes.HasPrefix(bytes.TrimSpace(signature), []byte("-----BEGIN PGP")) {
		block, err := armor.Decode(in)
		if err != nil {
			return Identity{}, untrusted("the signature cannot be read: %w", err)
		}
		in = block.Body
	}
	return k.verify(content, in)
}

// VerifyClearsigned checks a clear-signed text and returns the text, without
// anything that stands around it. Errors wrap ErrUntrusted.
func (k *Keyring) VerifyClearsigned(message []byte) ([]byte, Identity, error) {
	block, rest := clearsign.Decode(message)
	if block == nil {
		return nil, Identity{}, untrusted("found no clear-signed text: expected -----BEGIN PGP SIGNED MESSAGE-----")
	}
	if len(bytes.TrimSpace(rest)) > 0 {
		return nil, Identity{}, untrusted("found more after the signature: expected one clear-signed text")
	}
	identity, err := k.verify(bytes.NewReader(block.Bytes), block.ArmoredSignature.Body)
	if err != nil {
		return nil, Identity{}, err
	}
	return block.Plaintext, identity, nil
}

func (k *Keyring) verify(content, signature io.Reader) (Identity, error) {
	made, key, err := openpgp.VerifyDetachedSignature(k.keys, content, signature, &packet.Config{Time: time.Now})
	switch {
	case errors.Is(err, pgperrors.ErrUnknownIssuer):
		return Identity{}, untrusted("it was made with a key that is not in the keyring %s: expected one of %s", k.name, strings.Join(k.Fingerprints(), ", "))
	case err != nil:
		return Identity{}, untrusted("%w (keyring %s)", err, k.name)
	case made == nil || key == nil:
		return Identity{}, untrusted("there is none")
	}
	identity := Identity{Kind: OpenPGP, Key: fingerprint(key), At: made.CreationTime.UTC()}
	if _, user := key.PrimaryIdentity(made.CreationTime, nil); user != nil {
		identity.Subject = user.Name
	}
	return identity, nil
}
