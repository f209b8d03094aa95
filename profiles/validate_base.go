package profiles

import (
	"fmt"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"
)

var (
	// imageDate is a day, as publishers of images write it into their addresses.
	imageDate = regexp.MustCompile(`(^|[^0-9])20[0-9]{2}(0[1-9]|1[0-2])(0[1-9]|[12][0-9]|3[01])([^0-9]|$)`)
	// keyFingerprint is that of an OpenPGP key, version 4 or 6.
	keyFingerprint = regexp.MustCompile(`^([0-9A-F]{40}|[0-9A-F]{64})$`)
)

const fingerprintExpected = "the fingerprint of an OpenPGP key in 40 or 64 upper-case hexadecimal digits, without blanks"

// rolling are the names of directories that always hold the newest image, also
// where its file has a date in its name.
var rolling = []string{"current", "latest"}

// datedExamples are addresses of images that stay what they are.
var datedExamples = map[string]string{
	"ubuntu": "https://cloud-images.ubuntu.com/releases/noble/release-20251113/ubuntu-24.04-server-cloudimg-amd64.img",
	"debian": "https://cloud.debian.org/images/cloud/trixie/20251117-2299/debian-13-genericcloud-amd64-20251117-2299.qcow2",
}

// FromCloudImage tells whether the image begins as an image of the distribution.
func (p *Profile) FromCloudImage() bool { return p.Base.CloudImage.URL != "" }

// Name is the file's, as the list of sums has it.
func (c CloudImage) Name() string { return lastElement(c.URL) }

// SignatureURL is where the signature of the list is.
func (s SignedSums) SignatureURL() string { return s.URL + ".gpg" }

func lastElement(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	return path.Base(u.Path)
}

// base checks what a profile begins with.
func (v *validator) base(p *Profile) {
	const at = "base.cloudImage"
	if _, given := v.at["base"]; !given {
		return
	}
	if _, given := v.at[at]; !given {
		v.report(at, "missing: expected the image with its url and sha256; remove base to bootstrap from the archive")
		return
	}
	c := p.Base.CloudImage
	v.dated(at+".url", c.URL, p.OS.Distribution)
	v.match(at+".sha256", c.SHA256, sha256Hex, "the sha256 of the image in 64 lower-case hexadecimal digits")
	v.signedSums(at+".sums", p)
	// Packages are installed from within the image.
	for i, s := range p.Archive.Sources {
		for key, uri := range map[string]string{"uri": s.URI, "snapshotURI": s.SnapshotURI} {
			if strings.HasPrefix(uri, "file:") {
				v.report(fmt.Sprintf("archive.sources[%d].%s", i, key), "found %s, which cannot be reached from within the cloud image: expected a URI that starts with http:// or https://", quote(uri))
			}
		}
	}
}

// dated wants the address of a file that stays what it is.
func (v *validator) dated(at, address, distribution string) {
	v.uri(at, address, "http", "https")
	u, err := url.Parse(address)
	if err != nil || address == "" {
		return
	}
	expected := "expected the address of a dated one"
	if example := datedExamples[distribution]; example != "" {
		expected += ", such as " + example
	}
	const remedy = ": look up what it leads to today, and name that"
	elements := strings.Split(u.Path, "/")
	for _, word := range rolling {
		if slices.Contains(elements, word) {
			v.report(at, "found %s, where /%s/ leads to another image after the next release; %s%s", quote(address), word, expected, remedy)
			return
		}
	}
	if !slices.ContainsFunc(elements, imageDate.MatchString) {
		v.report(at, "found %s, which has no date and so leads to another image after the next release; %s%s", quote(address), expected, remedy)
	}
}

// signedSums wants the list that Ubuntu signs, and none where nobody signs one.
func (v *validator) signedSums(at string, p *Profile) {
	s := p.Base.CloudImage.Sums
	if _, given := v.at[at]; !given {
		if p.OS.Distribution == "ubuntu" {
			v.report(at, "missing: expected the SHA256SUMS beside the image, which Ubuntu signs, with its url and keyring (/usr/share/keyrings/ubuntu-cloudimage-keyring.gpg of the package ubuntu-keyring)")
		}
		return
	}
	if name := lastElement(s.URL); s.URL != "" && strings.Contains(name, "SHA512") {
		v.report(at+".url", "found %s: expected a list of sha256 sums; Debian's SHA512SUMS of cloud images are not signed, and prove nothing: remove sums, and see to it that base.cloudImage.sha256 is right", quote(name))
	}
	v.dated(at+".url", s.URL, "")
	v.absolute(at+".keyring", s.Keyring, "a keyring file on the build host")
	if s.Signer != "" {
		v.match(at+".signer", s.Signer, keyFingerprint, fingerprintExpected)
	}
}
