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
	"github.com/nodeimage/packer-plugin-nodeimage/internal/fetch"
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
	// Date is when the archive made it.
	Date time.Time
}

// newest is the date of the last of the releases.
func newest(releases []Release) (last time.Time) {
	for _, r := range releases {
		if r.Date.After(last) {
			last = r.Date
		}
	}
	return last
}

// InRelease is the address of the signed Release file.
func (r Release) InRelease() string {
	return strings.TrimRight(r.URI, "/") + "/dists/" + r.Suite + "/InRelease"
}

// FetchReleases asks the archive for the present state of each of its suites.
// Nothing is verified here: the answer decides only whether a bootstrap made
// from verified files can be used again. All failures are reported at once. A
// mirror is asked in the place of its host; the releases have the archive's own
// address all the same.
func FetchReleases(ctx context.Context, archive profiles.Archive, mirrors fetch.Mirrors) ([]Release, error) {
	client := &http.Client{Timeout: time.Minute}
	defer client.CloseIdleConnections()
	var releases []Release
	var errs []error
	for _, source := range archive.Effective() {
		for _, suite := range source.Suites {
			r := Release{URI: source.URI, Suite: suite}
			if err := r.read(ctx, client, mirrors); err != nil {
				errs = append(errs, err)
				continue
			}
			releases = append(releases, r)
		}
	}
	return releases, errors.Join(errs...)
}

// read fills in the digest and the date.
func (r *Release) read(ctx context.Context, client *http.Client, mirrors fetch.Mirrors) error {
	body, err := open(ctx, client, *r, mirrors)
	if err != nil {
		return err
	}
	defer body.Close()
	text, err := io.ReadAll(io.LimitReader(body, maxInRelease+1))
	if err == nil && len(text) > maxInRelease {
		err = fmt.Errorf("it is larger than %d MiB", maxInRelease>>20)
	}
	if err == nil {
		r.Date, err = dateOf(text)
	}
	if err != nil {
		return unreachable(*r, mirrors, err)
	}
	sum := sha256.Sum256(text)
	r.SHA256 = hex.EncodeToString(sum[:])
	return nil
}

// dateOf finds the field Date of a Release file. What has none is something
// else, such as a page that asks to log in to the network.
func dateOf(release []byte) (time.Time, error) {
	for line := range strings.Lines(string(release)) {
		value, ok := strings.CutPrefix(line, "Date:")
		if !ok {
			continue
		}
		// Debian writes UTC, Ubuntu the same; apt takes no other zone either.
		date, err := time.Parse("Mon, _2 Jan 2006 15:04:05 UTC", strings.TrimSpace(value))
		if err != nil {
			return time.Time{}, fmt.Errorf("its Release file has the date %q: expected one such as Sat, 15 Nov 2025 10:00:00 UTC", strings.TrimSpace(value))
		}
		return date, nil
	}
	return time.Time{}, errors.New("what it sent is no Release file: there is no Date in it")
}

func open(ctx context.Context, client *http.Client, r Release, mirrors fetch.Mirrors) (io.ReadCloser, error) {
	address, err := url.Parse(mirrors.At(r.InRelease()))
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
		return nil, unreachable(r, mirrors, err)
	}
	switch {
	case resp.StatusCode == http.StatusOK:
		return resp.Body, nil
	case resp.StatusCode == http.StatusNotFound, resp.StatusCode == http.StatusGone:
		err = exitcode.BadInput(fmt.Errorf("mirror %s has no suite %s (%s for %s): check archive.sources of the profile",
			askedAt(r.URI, mirrors), r.Suite, resp.Status, address))
	default:
		err = unreachable(r, mirrors, fmt.Errorf("it answered %s", resp.Status))
	}
	return nil, errors.Join(err, resp.Body.Close())
}

// askedAt names an archive in an error, with the mirror that stands for it.
func askedAt(uri string, mirrors fetch.Mirrors) string {
	if at := mirrors.At(uri); at != uri {
		return fmt.Sprintf("%s (for %s, by %s or --mirror)", at, uri, fetch.EnvMirrors)
	}
	return uri
}

func unreachable(r Release, mirrors fetch.Mirrors, err error) error {
	return network(fmt.Errorf("mirror %s cannot be read (suite %s): %w: try again later, or name another mirror, by NODEIMAGE_MIRRORS for this build or in archive.sources of the profile for the image as well",
		askedAt(r.URI, mirrors), r.Suite, err))
}
