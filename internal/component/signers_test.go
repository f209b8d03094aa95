package component

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/fetch"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/signature"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/signature/signaturetest"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/upstreamtest"
	"github.com/nodeimage/packer-plugin-nodeimage/profiles"
)

const (
	releaser = "krel-staging@k8s-releng-prod.iam.gserviceaccount.com"
	google   = "https://accounts.google.com"
	runcSums = "https://github.com/opencontainers/runc/releases/download/v1.4.3/runc.sha256sum"
)

// signing is a stand-in whose releases are signed as upstream's are.
type signing struct {
	*upstream
	authority *signaturetest.Authority
	key       *signaturetest.Key
	trust     Trust
}

func newSigning(t *testing.T) *signing {
	t.Helper()
	s := &signing{upstream: newUpstream(t)}
	s.profile.Components = map[string]profiles.Component{}
	s.release("kubernetes", "1.36.4", "kubeadm", "kubelet", "kubectl")
	s.release("runc", "1.4.3", "runc")
	s.release("cni-plugins", "1.9.1", "bridge", "host-local", "loopback", "portmap")
	var err error
	if s.authority, err = signaturetest.NewAuthority(); err != nil {
		t.Fatal(err)
	}
	root, err := s.authority.TrustedRoot()
	if err != nil {
		t.Fatal(err)
	}
	if s.trust.Root, err = signature.ReadRoot(root); err != nil {
		t.Fatal(err)
	}
	if s.key, err = signaturetest.NewKey("Aleksa", "aleksa@example.org", time.Now().AddDate(-1, 0, 0), 0); err != nil {
		t.Fatal(err)
	}
	public, err := s.key.Keyring(true)
	if err != nil {
		t.Fatal(err)
	}
	keyring, err := signature.ReadKeyring("runc", public)
	if err != nil {
		t.Fatal(err)
	}
	s.trust.Keyrings = map[string]*signature.Keyring{"runc": keyring}
	for _, f := range s.profile.Components["kubernetes"].Fetches("amd64") {
		s.cosign(s.authority, f, releaser)
	}
	s.clearsign(s.key, s.profile.Components["runc"].Files[0].SHA256["amd64"]+"  runc.amd64\n")
	return s
}

func (s *signing) cosign(by *signaturetest.Authority, f profiles.Fetch, subject string) {
	s.t.Helper()
	var sum [sha256.Size]byte
	if _, err := hex.Decode(sum[:], []byte(f.SHA256)); err != nil {
		s.t.Fatal(err)
	}
	sig, cert, err := by.Sign(sum, subject, google, signaturetest.Options{})
	if err != nil {
		s.t.Fatal(err)
	}
	for end, content := range map[string][]byte{".sig": sig, ".cert": cert} {
		if _, err := s.server.Add(f.URL+end, content); err != nil {
			s.t.Fatal(err)
		}
	}
}

func (s *signing) clearsign(by *signaturetest.Key, text string) {
	s.t.Helper()
	message, err := by.Clearsign([]byte(text), time.Now().Add(-time.Hour))
	if err != nil {
		s.t.Fatal(err)
	}
	if _, err := s.server.Add(runcSums, message); err != nil {
		s.t.Fatal(err)
	}
}

func (s *signing) signers() ([]Signed, error) {
	s.t.Helper()
	mirrors, err := fetch.ParseMirrors(s.server.Settings()...)
	if err != nil {
		s.t.Fatal(err)
	}
	client := fetch.New(fetch.Options{Dir: s.t.TempDir(), Mirrors: mirrors, Transport: &http.Transport{}})
	return Signers(s.t.Context(), s.profile, client, s.trust)
}

func TestSigners(t *testing.T) {
	t.Parallel()
	s := newSigning(t)
	found, err := s.signers()
	if err != nil {
		t.Fatal(err)
	}
	if len(found) != 4 {
		t.Fatalf("found %+v, expected three of kubernetes and one of runc", found)
	}
	for i, name := range []string{"kubernetes", "kubernetes", "kubernetes", "runc"} {
		if found[i].Component != name {
			t.Errorf("%d: found %+v, expected %s", i, found[i], name)
		}
	}
	if by := found[0].By; by.Kind != "cosign" || by.Subject != releaser || by.Issuer != google {
		t.Errorf("kubernetes is signed by %+v", by)
	}
	if by := found[3].By; by.Kind != "openpgp" || by.Subject != "Aleksa <aleksa@example.org>" || len(by.Key) != 40 {
		t.Errorf("runc is signed by %+v", by)
	}
	// Programs themselves are not needed for that.
	if n := len(s.server.Requests("https://dl.k8s.io/release/v1.36.4/bin/linux/amd64/kubelet")); n != 0 {
		t.Errorf("kubelet was fetched %d times", n)
	}
}

func TestSignersBadDays(t *testing.T) {
	t.Parallel()
	const not = ": the signature is not to be trusted: "
	for name, tt := range map[string]struct {
		change func(t *testing.T, s *signing)
		code   int
		want   string // how it begins
	}{
		"signed by another authority's key": {func(t *testing.T, s *signing) {
			other, err := signaturetest.NewAuthority()
			if err != nil {
				t.Fatal(err)
			}
			s.cosign(other, s.profile.Components["kubernetes"].Fetches("amd64")[0], releaser)
		}, exitcode.Usage, "component kubernetes: https://dl.k8s.io/release/v1.36.4/bin/linux/amd64/kubeadm" + not + "the certificate was not issued by an authority of the trusted root: x509: certificate signed by unknown authority"},
		"signed by somebody else": {func(t *testing.T, s *signing) {
			s.cosign(s.authority, s.profile.Components["kubernetes"].Fetches("amd64")[0], "mallory@example.org")
		}, exitcode.Usage, "component kubernetes: https://dl.k8s.io/release/v1.36.4/bin/linux/amd64/kubeadm" + not + "signed by mallory@example.org, vouched for by https://accounts.google.com: expected " + releaser + ", vouched for by https://accounts.google.com"},
		"another file was signed": {func(t *testing.T, s *signing) {
			f := s.profile.Components["kubernetes"].Fetches("amd64")[0]
			f.SHA256 = strings.Repeat("0", 64)
			s.cosign(s.authority, f, releaser)
		}, exitcode.Usage, "component kubernetes: https://dl.k8s.io/release/v1.36.4/bin/linux/amd64/kubeadm" + not + "the file with sha256 "},
		"signature not there": {func(t *testing.T, s *signing) {
			s.server.Misbehave("https://dl.k8s.io/release/v1.36.4/bin/linux/amd64/kubectl.sig", upstreamtest.Status(404))
		}, exitcode.Usage, `component kubernetes: https://dl.k8s.io/release/v1.36.4/bin/linux/amd64/kubectl: fetching the signature of kubectl from URL/dl.k8s.io/release/v1.36.4/bin/linux/amd64/kubectl.sig: the server answers "404 Not Found"`},
		"captive portal instead of a signature": {func(t *testing.T, s *signing) {
			s.server.Misbehave("https://dl.k8s.io/release/v1.36.4/bin/linux/amd64/kubectl.sig", upstreamtest.Page("Log in"))
		}, exitcode.Infrastructure, `component kubernetes: https://dl.k8s.io/release/v1.36.4/bin/linux/amd64/kubectl: fetching the signature of kubectl from URL/dl.k8s.io/release/v1.36.4/bin/linux/amd64/kubectl.sig: found a web page, "Log in", instead of the file`},
		"list signed by another key": {func(t *testing.T, s *signing) {
			other, err := signaturetest.NewKey("Mallory", "mallory@example.org", time.Now().AddDate(-1, 0, 0), 0)
			if err != nil {
				t.Fatal(err)
			}
			s.clearsign(other, s.profile.Components["runc"].Files[0].SHA256["amd64"]+"  runc.amd64\n")
		}, exitcode.Usage, "component runc: https://github.com/opencontainers/runc/releases/download/v1.4.3/runc.amd64" + not + "it was made with a key that is not in the keyring runc: expected one of "},
		"list has another sum": {func(t *testing.T, s *signing) {
			s.clearsign(s.key, strings.Repeat("0", 64)+"  runc.amd64\n")
		}, exitcode.Usage, "component runc: https://github.com/opencontainers/runc/releases/download/v1.4.3/runc.amd64" + not + runcSums + ", signed by Aleksa <aleksa@example.org> (key "},
		"list has no sum": {func(t *testing.T, s *signing) {
			s.clearsign(s.key, strings.Repeat("0", 64)+"  runc.arm64\n")
		}, exitcode.Usage, "component runc: https://github.com/opencontainers/runc/releases/download/v1.4.3/runc.amd64" + not + runcSums + ", signed by Aleksa <aleksa@example.org> (key "},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSigning(t)
			tt.change(t, s)
			found, err := s.signers()
			if err == nil || !strings.HasPrefix(s.anonymous(err.Error()), tt.want) || exitcode.Of(err) != tt.code {
				t.Errorf("exit code %d, found %+v\n%v\nexpected\n%s", exitcode.Of(err), found, err, tt.want)
			}
		})
	}
}
