package fetch

import (
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
)

func TestMirrors(t *testing.T) {
	t.Setenv(EnvMirrors, "dl.k8s.io=https://a.example.org/k8s/, GitHub.com=http://b.example.org:8080")
	m, err := MirrorsFromEnvironment("github.com=https://c.example.org/gh")
	if err != nil {
		t.Fatal(err)
	}
	for from, want := range map[string]string{
		"https://dl.k8s.io/release/v1/kubelet":     "https://a.example.org/k8s/release/v1/kubelet",
		"https://github.com/opencontainers/runc?x": "https://c.example.org/gh/opencontainers/runc?x",
		"https://example.org/file":                 "https://example.org/file",
	} {
		got, err := m.Resolve(from)
		if err != nil || got.String() != want {
			t.Errorf("%s is fetched from %v (%v), expected %s", from, got, err, want)
		}
	}
}

func TestMirrorsRefused(t *testing.T) {
	t.Parallel()
	_, err := ParseMirrors("dl.k8s.io", "https://dl.k8s.io=https://a", "github.com=ftp://a", "registry.k8s.io=https://user:secret@a?q")
	want := `mirror "dl.k8s.io": expected HOST=URL, such as dl.k8s.io=https://mirror.example.org/k8s
mirror "https://dl.k8s.io=https://a": expected HOST=URL, such as dl.k8s.io=https://mirror.example.org/k8s
mirror of github.com: expected a URL that starts with https:// or http:// and has no query, such as https://mirror.example.org/k8s
mirror of registry.k8s.io: expected a URL that starts with https:// or http:// and has no query, such as https://mirror.example.org/k8s`
	if err == nil || err.Error() != want || exitcode.Of(err) != exitcode.Usage {
		t.Errorf("found\n%v\nexpected\n%s", err, want)
	}
}

// A mirror's password is sent and never shown.
func TestMirrorPassword(t *testing.T) {
	t.Parallel()
	var user, password string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, password, _ = r.BasicAuth()
		http.NotFound(w, r)
	}))
	defer server.Close()
	m, err := ParseMirrors("dl.k8s.io=" + strings.Replace(server.URL, "://", "://me:s3cret@", 1))
	if err != nil {
		t.Fatal(err)
	}
	c := New(Options{Dir: t.TempDir(), Mirrors: m, Transport: &http.Transport{}})
	err = c.Get(t.Context(), File{What: "kubelet", URL: address, SHA256: strings.Repeat("0", 64)}, filepath.Join(t.TempDir(), "x"))
	if err == nil || strings.Contains(err.Error(), "s3cret") {
		t.Errorf("found %v", err)
	}
	if user != "me" || password != "s3cret" {
		t.Errorf("asked as %q with %q", user, password)
	}
}

// The proxies of the environment count, and NO_PROXY excludes from them.
func TestProxy(t *testing.T) {
	var asked []string
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.URL.String())
		http.Error(w, "no", http.StatusProxyAuthRequired)
	}))
	defer proxy.Close()
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"} {
		t.Setenv(name, "")
	}
	t.Setenv("HTTP_PROXY", proxy.URL)
	t.Setenv("NO_PROXY", "direct.example.org")
	c := New(Options{Dir: t.TempDir()})
	err := c.Get(t.Context(), File{What: "kubelet 1.36.4", URL: "http://mirror.example.org/kubelet", SHA256: strings.Repeat("0", 64)}, filepath.Join(t.TempDir(), "x"))
	want := `fetching kubelet 1.36.4 from http://mirror.example.org/kubelet: the server answers "407 Proxy Authentication Required": the proxy wants a name and a password, in HTTPS_PROXY=http://USER:PASSWORD@HOST:PORT`
	if err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("found\n%v\nexpected\n%s", err, want)
	}
	if len(asked) != 1 || asked[0] != "http://mirror.example.org/kubelet" {
		t.Errorf("the proxy was asked for %q", asked)
	}
	request, err := http.NewRequest(http.MethodGet, "http://direct.example.org/", nil)
	if err != nil {
		t.Fatal(err)
	}
	if u, err := proxyFromEnvironment()(request); u != nil || err != nil {
		t.Errorf("NO_PROXY: %v, %v", u, err)
	}
}

// What comes over https is not fetched over http because a server says so.
func TestDowngradeRefused(t *testing.T) {
	t.Parallel()
	plain := httptest.NewServer(http.NotFoundHandler())
	defer plain.Close()
	secure := httptest.NewTLSServer(http.RedirectHandler(plain.URL, http.StatusFound))
	defer secure.Close()
	c := New(Options{Dir: t.TempDir(), Transport: secure.Client().Transport})
	err := c.Get(t.Context(), File{What: "kubelet", URL: secure.URL + "/kubelet", SHA256: strings.Repeat("0", 64)}, filepath.Join(t.TempDir(), "x"))
	want := "fetching kubelet from " + secure.URL + "/kubelet: the server redirects from https to http, where anybody on the way can read along: refused"
	if err == nil || err.Error() != want || exitcode.Of(err) != exitcode.Usage {
		t.Errorf("found\n%v\nexpected\n%s", err, want)
	}
}

func TestUnknownCertificate(t *testing.T) {
	t.Parallel()
	secure := httptest.NewUnstartedServer(http.NotFoundHandler())
	secure.Config.ErrorLog = log.New(io.Discard, "", 0) // of the handshake that fails
	secure.StartTLS()
	defer secure.Close()
	c := New(Options{Dir: t.TempDir(), Transport: &http.Transport{}})
	err := c.Get(t.Context(), File{What: "kubelet", URL: secure.URL + "/kubelet", SHA256: strings.Repeat("0", 64)}, filepath.Join(t.TempDir(), "x"))
	want := "fetching kubelet from " + secure.URL + "/kubelet: tls: failed to verify certificate: x509: certificate signed by unknown authority: a proxy that opens TLS, or a mirror with a CA of its own, needs its certificate among the system's (update-ca-certificates), or named by SSL_CERT_FILE"
	if err == nil || err.Error() != want || exitcode.Of(err) != exitcode.Usage {
		t.Errorf("found\n%v\nexpected\n%s", err, want)
	}
}
