package upstreamtest

import (
	"path"
	"strings"
	"time"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/signature/signaturetest"
)

// AddCloudImage serves the file as a distribution's cloud image: beside it are
// SHA256SUMS and, signed by a key of its own, SHA256SUMS.gpg. It returns the
// image's sha256 and the keyring with that key.
func (s *Server) AddCloudImage(address, file string) (sum string, keyring []byte, err error) {
	if sum, err = s.AddFile(address, file); err != nil {
		return "", nil, err
	}
	key, err := signaturetest.NewKey("Stand-in for an image builder", "stand-in@example.org", time.Now().Add(-time.Hour), 0)
	if err != nil {
		return "", nil, err
	}
	list := []byte(sum + " *" + path.Base(address) + "\n")
	signature, err := key.Detach(list, time.Now().Add(-time.Minute), false)
	if err != nil {
		return "", nil, err
	}
	sums := strings.TrimSuffix(address, path.Base(address)) + "SHA256SUMS"
	for at, content := range map[string][]byte{sums: list, sums + ".gpg": signature} {
		if _, err := s.Add(at, content); err != nil {
			return "", nil, err
		}
	}
	keyring, err = key.Keyring(false)
	return sum, keyring, err
}
