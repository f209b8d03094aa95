package component

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/fetch"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/signature"
	"github.com/nodeimage/packer-plugin-nodeimage/profiles"
)

// Signed is a pinned file and who signed it.
type Signed struct {
	Component string             `json:"component"`
	URL       string             `json:"url"`
	SHA256    string             `json:"sha256"`
	By        signature.Identity `json:"by"`
}

// Trust is what signatures are checked against. The zero value is what comes
// with this program.
type Trust struct {
	// Root checks cosign signatures; nil is sigstore's public instance.
	Root *signature.Root
	// Keyrings replace those that come with this program, by name.
	Keyrings map[string]*signature.Keyring
}

// What a signature and a list of sums may have, in bytes.
const (
	maxSignature = 64 << 10
	maxSumList   = 1 << 20
)

// Signers checks the signatures of all files of p's release components whose
// upstream signs them, for p's architecture, and returns who signed, sorted by
// component and address. It is called when a lock is made; what is signed are
// the sums, so the files themselves are not needed.
//
// A component whose upstream does not sign, or that does not come from where
// upstream publishes it, is left out: nobody is known who should have signed.
// A signature that is not to be trusted is bad input; all are reported at once.
func Signers(ctx context.Context, p *profiles.Profile, client *fetch.Client, trust Trust) ([]Signed, error) {
	releases, err := profiles.LoadReleases()
	if err != nil {
		return nil, err
	}
	if trust.Root == nil {
		if trust.Root, err = signature.PublicRoot(); err != nil {
			return nil, err
		}
	}
	var jobs []Signed
	for _, name := range slices.Sorted(maps.Keys(p.Components)) {
		c, release := p.Components[name], releases.Components[name]
		if c.Source != profiles.SourceRelease || release.Signature.Kind == "" {
			continue
		}
		for i, f := range c.Fetches(p.OS.Arch) {
			if slices.ContainsFunc(release.Files, func(known profiles.Pinned) bool { return path.Dir(known.URL) == path.Dir(c.Files[i].URL) }) {
				jobs = append(jobs, Signed{Component: name, URL: f.URL, SHA256: f.SHA256})
			}
		}
	}
	errs := make([]error, len(jobs))
	var group errgroup.Group
	for i := range jobs {
		group.Go(func() error {
			job := &jobs[i]
			s, version := releases.Components[job.Component].Signature, p.Components[job.Component].Version
			switch s.Kind {
			case profiles.SignatureCosign:
				job.By, errs[i] = verifyCosign(ctx, client, trust, *job, s)
			case profiles.SignatureOpenPGP:
				job.By, errs[i] = verifySumList(ctx, client, trust, *job, s, profiles.Expand(s.Checksums, version, p.OS.Arch))
			}
			if errs[i] != nil {
				errs[i] = judge(fmt.Errorf("component %s: %s: %w", job.Component, job.URL, errs[i]))
			}
			return nil
		})
	}
	_ = group.Wait() // all of errs are reported
	if err := errors.Join(errs...); err != nil {
		return nil, worst(err, errs)
	}
	return jobs, nil
}

// judge tells a signature that is wrong from one that could not be fetched.
func judge(err error) error {
	if errors.Is(err, signature.ErrUntrusted) {
		return exitcode.BadInput(err)
	}
	return err
}

// worst is the code of what a retry cannot mend, if there is such a thing.
func worst(err error, errs []error) error {
	for _, one := range errs {
		if exitcode.Of(one) == exitcode.Usage {
			return exitcode.BadInput(err)
		}
	}
	return exitcode.Transient(err)
}

func verifyCosign(ctx context.Context, client *fetch.Client, trust Trust, file Signed, by profiles.Signature) (signature.Identity, error) {
	sum, err := hex.DecodeString(file.SHA256)
	if err != nil {
		return signature.Identity{}, exitcode.BadInput(fmt.Errorf("sha256 %q: %w", file.SHA256, err))
	}
	what := path.Base(file.URL)
	sig, err := client.Read(ctx, "the signature of "+what, file.URL+".sig", maxSignature)
	if err != nil {
		return signature.Identity{}, err
	}
	certificate, err := client.Read(ctx, "the certificate of "+what+"'s signature", file.URL+".cert", maxSignature)
	if err != nil {
		return signature.Identity{}, err
	}
	return trust.Root.VerifyBlob(sum, sig, certificate, signature.Signer{Subject: by.Subject, Issuer: by.Issuer})
}

func verifySumList(ctx context.Context, client *fetch.Client, trust Trust, file Signed, by profiles.Signature, list string) (signature.Identity, error) {
	keyring := trust.Keyrings[by.Keyring]
	if keyring == nil {
		var err error
		if keyring, err = signature.BuiltinKeyring(by.Keyring); err != nil {
			return signature.Identity{}, err
		}
	}
	message, err := client.Read(ctx, "the signed sums of "+file.Component, list, maxSumList)
	if err != nil {
		return signature.Identity{}, err
	}
	text, identity, err := keyring.VerifyClearsigned(message)
	if err != nil {
		return signature.Identity{}, err
	}
	sums, err := signature.ParseSums(text)
	if err != nil {
		return signature.Identity{}, fmt.Errorf("%w: %w", signature.ErrUntrusted, err)
	}
	switch found := sums[path.Base(file.URL)]; found {
	case file.SHA256:
		return identity, nil
	case "":
		return signature.Identity{}, fmt.Errorf("%w: %s, signed by %s, has no sum of %s", signature.ErrUntrusted, list, identity, path.Base(file.URL))
	default:
		return signature.Identity{}, fmt.Errorf("%w: %s, signed by %s, has the sum %s, and the profile pins %s", signature.ErrUntrusted, list, identity, found, file.SHA256)
	}
}
