// Package cloudimage gets an image that a distribution made, and opens it so that
// its system can be taken out, changed and put back: its own partitions, boot
// loader and shim stay what they are.
package cloudimage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/fetch"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/signature"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/store"
	"github.com/nodeimage/packer-plugin-nodeimage/profiles"
)

const (
	// maxImage bounds an image's file, in bytes: the largest cloud images have
	// a tenth of it.
	maxImage = 16 << 30
	// maxSums bounds the list of sums and its signature, in bytes.
	maxSums = 1 << 20
)

// Signer has the list of sums beside an image verified, and returns the
// fingerprint of the key that signed it. The list must name the sum that the
// profile has. It is "" for an image without a signed list.
//
// Errors: a list that says otherwise, or is not signed as it should be, is bad
// input; one that cannot be had is an infrastructure failure.
func Signer(ctx context.Context, client *fetch.Client, c profiles.CloudImage) (string, error) {
	s := c.Sums
	if s.URL == "" {
		return "", nil
	}
	keys, err := os.ReadFile(s.Keyring)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", exitcode.BadInput(fmt.Errorf("base.cloudImage.sums.keyring %s is not on this host: install the package that has it (Ubuntu's is in ubuntu-keyring), or name another file", s.Keyring))
	case err != nil:
		return "", exitcode.BadInput(fmt.Errorf("base.cloudImage.sums.keyring: %w", err))
	}
	trusted, err := signature.ReadKeyring(s.Keyring, keys)
	if err != nil {
		return "", exitcode.BadInput(fmt.Errorf("base.cloudImage.sums.keyring: %w", err))
	}
	list, err := client.Read(ctx, "the sums of the cloud image", s.URL, maxSums)
	if err != nil {
		return "", err
	}
	detached, err := client.Read(ctx, "the signature of the sums of the cloud image", s.SignatureURL(), maxSums)
	if err != nil {
		return "", err
	}
	signed, err := trusted.VerifyDetached(bytes.NewReader(list), detached)
	if err != nil {
		return "", exitcode.BadInput(fmt.Errorf("%s, as %s has it: %w: check base.cloudImage.sums.keyring of the profile, and whether the mirror can be trusted", s.URL, s.SignatureURL(), err))
	}
	if s.Signer != "" && s.Signer != signed.Key {
		return "", exitcode.BadInput(fmt.Errorf("%s is signed by %s, expected the key %s, which base.cloudImage.sums.signer names", s.URL, signed, s.Signer))
	}
	sum, err := sumOf(list, c.Name())
	if err != nil {
		return "", exitcode.BadInput(fmt.Errorf("%s, signed by %s: %w: name the list that lies beside the image", s.URL, signed, err))
	}
	if sum != c.SHA256 {
		return "", exitcode.BadInput(fmt.Errorf("%s, signed by %s, says that %s has sha256 %s, and base.cloudImage.sha256 of the profile is %s: take the one that is signed, if it is this image that you want",
			s.URL, signed, c.Name(), sum, c.SHA256))
	}
	return signed.Key, nil
}

// Get returns the path of the image in the store. One that is not there is
// downloaded: verified while it comes, and never kept unless it is what was
// pinned. A nil client is for a host without a network: then that is bad input.
func Get(ctx context.Context, client *fetch.Client, s *store.Store, c profiles.CloudImage) (file string, err error) {
	if file, ok := s.Blob(c.SHA256); ok {
		return file, nil
	}
	if client == nil {
		return "", exitcode.BadInput(fmt.Errorf("the cloud image %s (sha256 %s) is not in the store and nothing is fetched offline: build once with a network and the same store", c.URL, c.SHA256))
	}
	scratch, release, err := s.Scratch("cloudimage")
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, release()) }()
	target := filepath.Join(scratch, "image")
	if err := client.Get(ctx, fetch.File{What: "the cloud image", URL: c.URL, SHA256: c.SHA256, Max: maxImage}, target); err != nil {
		return "", err
	}
	if err := s.AddBlobs(ctx, map[string]string{c.SHA256: target}); err != nil {
		return "", err
	}
	file, ok := s.Blob(c.SHA256)
	if !ok {
		return "", exitcode.Transient(fmt.Errorf("the cloud image is no longer whole in the store %s: run the build again", s.Dir()))
	}
	return file, nil
}
