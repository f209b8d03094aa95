package machine

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"fmt"
	"strings"

	"golang.org/x/crypto/ssh"
)

// keyPair is an ed25519 key for one machine and one run. It lives in memory;
// only the host's half goes to the guest, through the seed.
type keyPair struct {
	signer  ssh.Signer
	public  string // one authorized_keys line, without a newline
	private string // OpenSSH PEM
}

func newKeyPair(comment string) (keyPair, error) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return keyPair{}, fmt.Errorf("making an SSH key: %w", err)
	}
	signer, err := ssh.NewSignerFromSigner(private)
	if err != nil {
		return keyPair{}, fmt.Errorf("making an SSH key: %w", err)
	}
	block, err := ssh.MarshalPrivateKey(private, comment)
	if err != nil {
		return keyPair{}, fmt.Errorf("encoding an SSH key: %w", err)
	}
	public := strings.TrimSpace(string(ssh.MarshalAuthorizedKey(signer.PublicKey())))
	return keyPair{signer: signer, public: public + " " + comment, private: string(pem.EncodeToMemory(block))}, nil
}
