package profiles

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const (
	someSum     = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
	nobleDir    = "https://cloud-images.ubuntu.com/releases/noble/release-20251113"
	nobleImage  = nobleDir + "/ubuntu-24.04-server-cloudimg-amd64.img"
	trixieImage = "https://cloud.debian.org/images/cloud/trixie/20251117-2299/debian-13-genericcloud-amd64-20251117-2299.qcow2"
	ubuntuRing  = "/usr/share/keyrings/ubuntu-cloudimage-keyring.gpg"
)

// onImage is a profile that begins as a cloud image; sums is a mapping or empty.
func onImage(base, url, sum, sums string) string {
	text := "apiVersion: nodeimage.dev/v1alpha1\nkind: Profile\nname: x\nextends: " + base + "\nbase:\n  cloudImage:\n    url: " + url + "\n    sha256: \"" + sum + "\"\n"
	if sums != "" {
		text += "    sums: " + sums + "\n"
	}
	return text
}

func TestCloudImage(t *testing.T) {
	t.Parallel()
	signed := "{url: " + nobleDir + "/SHA256SUMS, keyring: " + ubuntuRing + "}"
	const another = " leads to another image after the next release; expected the address of a dated one, such as "
	const lookUp = ": look up what it leads to today, and name that"
	ubuntu, debian := another+nobleImage+lookUp, another+trixieImage+lookUp
	for name, tt := range map[string]struct {
		text string
		want []string // without the file's name
	}{
		"Ubuntu's":         {onImage("ubuntu-24.04", nobleImage, someSum, signed), nil},
		"Ubuntu's, signer": {onImage("ubuntu-24.04", nobleImage, someSum, strings.Replace(signed, "}", ", signer: D2EB44626FDDC30B513D5BB71A5D6C4C7DB87C81}", 1)), nil},
		"Ubuntu's daily":   {onImage("ubuntu-24.04", "https://cloud-images.ubuntu.com/noble/20251113/noble-server-cloudimg-amd64.img", someSum, signed), nil},
		"Debian's":         {onImage("debian-13", trixieImage, someSum, ""), nil},
		"a mirror's list":  {onImage("debian-13", trixieImage, someSum, "{url: https://mirror.example.org/20251117/SHA256SUMS, keyring: /etc/keys/images.gpg}"), nil},
		"current": {onImage("ubuntu-24.04", "https://cloud-images.ubuntu.com/noble/current/noble-server-cloudimg-amd64.img", someSum, signed), []string{
			`7:10: base.cloudImage.url: found "https://cloud-images.ubuntu.com/noble/current/noble-server-cloudimg-amd64.img", where /current/` + ubuntu}},
		"latest, with a date in the name": {onImage("debian-13", "https://cloud.debian.org/images/cloud/trixie/latest/debian-13-20251117.qcow2", someSum, ""), []string{
			`7:10: base.cloudImage.url: found "https://cloud.debian.org/images/cloud/trixie/latest/debian-13-20251117.qcow2", where /latest/` + debian}},
		"release without a date": {onImage("ubuntu-24.04", "https://cloud-images.ubuntu.com/releases/noble/release/u.img", someSum, signed), []string{
			`7:10: base.cloudImage.url: found "https://cloud-images.ubuntu.com/releases/noble/release/u.img", which has no date and so` + ubuntu}},
		"daily without a date": {onImage("debian-13", "https://cloud.debian.org/images/cloud/trixie/daily/d.raw", someSum, ""), []string{
			`7:10: base.cloudImage.url: found "https://cloud.debian.org/images/cloud/trixie/daily/d.raw", which has no date and so` + debian}},
		"a number that is no date": {onImage("debian-13", "https://example.org/20259917/d-12025111345.raw", someSum, ""), []string{
			`7:10: base.cloudImage.url: found "https://example.org/20259917/d-12025111345.raw", which has no date and so` + debian}},
		"all at once": {onImage("ubuntu-24.04", "ftp://example.org/current/u.img", "abc", "{url: https://example.org/current/SHA256SUMS, keyring: keys.gpg, signer: 7DB87C81}"), []string{
			`7:10: base.cloudImage.url: found "ftp://example.org/current/u.img", expected a URI that starts with http:// or https://`,
			`8:13: base.cloudImage.sha256: found "abc", expected the sha256 of the image in 64 lower-case hexadecimal digits`,
			`9:17: base.cloudImage.sums.url: found "https://example.org/current/SHA256SUMS", where /current/ leads to another image after the next release; expected the address of a dated one` + lookUp,
			`9:66: base.cloudImage.sums.keyring: found "keys.gpg", expected the absolute path of a keyring file on the build host, without ., .. or a slash at the end`,
			`9:84: base.cloudImage.sums.signer: found "7DB87C81", expected the fingerprint of an OpenPGP key in 40 or 64 upper-case hexadecimal digits, without blanks`,
		}},
		"Ubuntu's without its list": {onImage("ubuntu-24.04", nobleImage, someSum, ""), []string{
			`6:3: base.cloudImage.sums: missing: expected the SHA256SUMS beside the image, which Ubuntu signs, with its url and keyring (/usr/share/keyrings/ubuntu-cloudimage-keyring.gpg of the package ubuntu-keyring)`}},
		"Debian's unsigned list": {onImage("debian-13", trixieImage, someSum, "{url: https://cloud.debian.org/images/cloud/trixie/20251117-2299/SHA512SUMS, keyring: /etc/keys/d.gpg}"), []string{
			`9:17: base.cloudImage.sums.url: found "SHA512SUMS": expected a list of sha256 sums; Debian's SHA512SUMS of cloud images are not signed, and prove nothing: remove sums, and see to it that base.cloudImage.sha256 is right`}},
		"an archive of files": {onImage("debian-13", trixieImage, someSum, "") + "archive: {sources: [{uri: file:///srv/debian, suites: [trixie], components: [main]}]}\n", []string{
			`9:27: archive.sources[0].uri: found "file:///srv/debian", which cannot be reached from within the cloud image: expected a URI that starts with http:// or https://`}},
		"nothing in it": {"apiVersion: nodeimage.dev/v1alpha1\nkind: Profile\nname: x\nextends: debian-13\nbase: {}\n", []string{
			`5:1: base.cloudImage: missing: expected the image with its url and sha256; remove base to bootstrap from the archive`}},
		"no url, no sum": {"apiVersion: nodeimage.dev/v1alpha1\nkind: Profile\nname: x\nextends: debian-13\nbase: {cloudImage: {}}\n", []string{
			`5:8: base.cloudImage.sha256: missing: expected the sha256 of the image in 64 lower-case hexadecimal digits`,
			`5:8: base.cloudImage.url: missing: expected a URI that starts with http:// or https://`}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(tt.want, refused(t, tt.text)); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
		})
	}
}

// A profile without a base has the hash that it had before there were any, and
// one with another image another.
func TestTheBaseCountsInTheHash(t *testing.T) {
	t.Parallel()
	plain, err := child(t, "debian-13", "")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(plain.canonical()), "cloudImage") {
		t.Error("a profile that is bootstrapped has a base in its canonical form")
	}
	image, err := child(t, "debian-13", "base: {cloudImage: {url: "+trixieImage+", sha256: "+someSum+"}}\n")
	if err != nil {
		t.Fatal(err)
	}
	if image.Hash() == plain.Hash() || !image.FromCloudImage() || plain.FromCloudImage() {
		t.Error("the base makes no difference")
	}
	if got := image.Base.CloudImage.Name(); got != "debian-13-genericcloud-amd64-20251117-2299.qcow2" {
		t.Errorf("the file is called %q", got)
	}
}
