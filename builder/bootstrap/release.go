package bootstrap

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/profiles"
)

// maxInRelease bounds what is read of a Release file; Debian's have 150 kB.
const maxInRelease = 16 << 20

// Release identifies the state of one suite: the digest of its signed Release
// file, which leads to every package by digests.
type Release struct {
	URI    string
	Suite  string
	SHA256 string
}

// InRelease is the address of the signed Release file.
func (r Release) InRelease() string {
	return strings.TrimRight(r.URI, "/") + "/dists/" + r.Suite + "/InRelease"
}

// FetchReleases asks the archive for the present state of each of its suites.
// Nothing is verified here: the answer decides only whether a bootstrap made
// from verified files can be used again. All failures are reported at once.
func FetchReleases(ctx context.Context, archive profiles.Archive) ([]Release, error) {
	client := &http.Client{Timeout: time.Minute}
	defer client.CloseIdleConnections()
	var releases []Release
	var errs []error
	for _, source := range archive.Effective() {
		for _, suite := range source.Suites {
			r := Release{URI: source.URI, Suite: suite}
			sum, err := digest(ctx, client, r)
			if err != nil {
				errs = append(errs, err)
				continue
			}
			r.SHA256 = sum
			releases = append(releases, r)
		}
	}
	return releases, errors.Join(errs...)
}

func digest(ctx context.Context, client *http.Client, r Release) (string, error) {
	body, err := open(ctx, client, r)
	if err != nil {
		return "", err
	}
	defer body.Close()
	hash := sha256.New()
	n, err := io.Copy(hash, io.LimitReader(body, maxInRelease+1))
	if err == nil && n > maxInRelease {
		err = fmt.Errorf("it is larger than %d MiB", maxInRelease>>20)
	}
	if err != nil {
		return "", unreachable(r, err)
	}
	return hex.EncodeToString(hash.Sum(nil)), nil
}

func open(ctx context.Context, client *http.Client, r Release) (io.ReadCloser, error) {
	address, err := url.Parse(r.InRelease())
	if err != nil {
		return nil, exitcode.BadInput(fmt.Errorf("archive source %q: %w", r.URI, err))
	}
	if address.Scheme == "file" {
		f, err := os.Open(filepath.FromSlash(address.Path))
		if err != nil {
			return nil, exitcode.BadInput(fmt.Errorf("archive source %s has no suite %s: %w", r.URI, r.Suite, err))
		}
		return f, nil
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address.String(), nil)
	if err != nil {
		return nil, exitcode.BadInput(fmt.Errorf("archive source %q: %w", r.URI, err))
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, unreachable(r, err)
	}
	switch {
	case resp.StatusCode == http.StatusOK:
		return resp.Body, nil
	case resp.StatusCode == http.StatusNotFound, resp.StatusCode == http.StatusGone:
		err = exitcode.BadInput(fmt.Errorf("mirror %s has no suite %s (%s for %s): check archive.sources of the profile",
			r.URI, r.Suite, resp.Status, address))
	default:
		err = unreachable(r, fmt.Errorf("it answered %s", resp.Status))
	}
	return nil, errors.Join(err, resp.Body.Close())
}

func unreachable(r Release, err error) error {
	return network(fmt.Errorf("mirror %s cannot be read (suite %s): %w: try again later, or name another mirror in archive.sources of the profile",
		r.URI, r.Suite, err))
}
