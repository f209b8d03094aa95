// Package signature checks who signed what an upstream released: keyless
// cosign signatures of files, and OpenPGP signatures of lists of sums. It
// works offline, from trust that is given or comes with this program.
package signature

import (
	"errors"
	"fmt"
	"time"
)

// The kinds of signatures.
const (
	Cosign  = "cosign"
	OpenPGP = "openpgp"
)

// Identity is who signed something, as a lock records it.
type Identity struct {
	Kind string `json:"kind" yaml:"kind"` // cosign, openpgp
	// Subject is the mail address or URI that a certificate names, or the user
	// ID of an OpenPGP key.
	Subject string `json:"subject" yaml:"subject"`
	// Issuer is the OpenID provider that vouched for Subject; cosign only.
	Issuer string `json:"issuer,omitempty" yaml:"issuer,omitempty"`
	// Key is the fingerprint of the OpenPGP key, or the sha256 of the public
	// key that a certificate is for, in hexadecimal.
	Key string `json:"key" yaml:"key"`
	// At is when it was signed. Of a cosign signature it is when the
	// certificate was issued, some seconds before.
	At time.Time `json:"at" yaml:"at"`
}

func (i Identity) String() string {
	if i.Issuer != "" {
		return fmt.Sprintf("%s (vouched for by %s)", i.Subject, i.Issuer)
	}
	return fmt.Sprintf("%s (key %s)", i.Subject, i.Key)
}

// ErrUntrusted says that something is signed, but not by whom it should be, or
// not with what it says, or not so that it could be told.
var ErrUntrusted = errors.New("the signature is not to be trusted")

func untrusted(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrUntrusted, fmt.Errorf(format, args...))
}
