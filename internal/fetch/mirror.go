package fetch

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path"
	"regexp"
	"strings"

	"golang.org/x/net/http/httpproxy"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
)

// EnvMirrors is the environment variable that names mirrors, separated by
// commas or blanks: dl.k8s.io=https://mirror.example.org/k8s,github.com=…
const EnvMirrors = "NODEIMAGE_MIRRORS"

// Mirrors are the addresses that are asked instead of an upstream host, by
// host. What they serve is held to the same sums, or to the same signature where
// it is an archive of packages.
type Mirrors map[string]*url.URL

var hostName = regexp.MustCompile(`^[a-zA-Z0-9]([a-zA-Z0-9.-]*[a-zA-Z0-9])?(:[0-9]{1,5})?$`)

// ParseMirrors reads HOST=URL settings. Of two for one host the later counts.
// All problems are reported at once, as bad input.
func ParseMirrors(settings ...string) (Mirrors, error) {
	mirrors := Mirrors{}
	var errs []error
	for _, setting := range settings {
		host, address, ok := strings.Cut(setting, "=")
		if !ok || !hostName.MatchString(host) {
			errs = append(errs, fmt.Errorf("mirror %q: expected HOST=URL, such as dl.k8s.io=https://mirror.example.org/k8s", setting))
			continue
		}
		u, err := url.Parse(address)
		if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.RawQuery != "" || u.Fragment != "" {
			errs = append(errs, fmt.Errorf("mirror of %s: expected a URL that starts with https:// or http:// and has no query, such as https://mirror.example.org/k8s", host))
			continue
		}
		mirrors[strings.ToLower(host)] = u
	}
	return mirrors, exitcode.BadInput(errors.Join(errs...))
}

// MirrorsFromEnvironment reads $NODEIMAGE_MIRRORS and then settings, which win.
func MirrorsFromEnvironment(settings ...string) (Mirrors, error) {
	all := strings.FieldsFunc(os.Getenv(EnvMirrors), func(r rune) bool { return r == ',' || r == ' ' || r == '\n' || r == '\t' })
	mirrors, err := ParseMirrors(append(all, settings...)...)
	if err != nil && len(all) > 0 {
		err = exitcode.BadInput(fmt.Errorf("%s or --mirror: %w", EnvMirrors, err))
	}
	return mirrors, err
}

// FromEnvironment is New with the mirrors that the user has set: those of
// $NODEIMAGE_MIRRORS, and settings, which win. Errors are bad input.
func FromEnvironment(o Options, settings ...string) (*Client, error) {
	mirrors, err := MirrorsFromEnvironment(settings...)
	if err != nil {
		return nil, exitcode.BadInput(err)
	}
	o.Mirrors = mirrors
	return New(o), nil
}

// Resolve is where a file is fetched from: its own address, or the same path
// below its host's mirror.
func (m Mirrors) Resolve(address string) (*url.URL, error) {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" {
		return nil, fmt.Errorf("address %q: expected a URL with a host", address)
	}
	mirror, ok := m[strings.ToLower(u.Host)]
	if !ok {
		return u, nil
	}
	at := *mirror
	at.Path = path.Join("/", mirror.Path, u.Path)
	at.RawPath, at.RawQuery = "", u.RawQuery
	return &at, nil
}

// At is where an archive of packages is asked: at its own address, which may be
// a file, or at the same path below its host's mirror.
func (m Mirrors) At(uri string) string {
	u, err := url.Parse(uri)
	if err != nil || m[strings.ToLower(u.Host)] == nil {
		return uri
	}
	at, err := m.Resolve(uri)
	if err != nil {
		return uri
	}
	return at.String()
}

// proxyFromEnvironment reads the proxies once for each client: net/http's own
// function reads them once for each process, which no test can change.
func proxyFromEnvironment() func(*http.Request) (*url.URL, error) {
	proxy := httpproxy.FromEnvironment().ProxyFunc()
	return func(request *http.Request) (*url.URL, error) { return proxy(request.URL) }
}
