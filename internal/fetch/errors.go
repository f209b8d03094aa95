package fetch

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"html"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
)

// explain says what was being fetched, whether a retry may help and what else
// does.
func (d *download) explain(err error) error {
	from := d.file.URL
	advice := fmt.Sprintf("%s=… or --mirror", EnvMirrors)
	if d.where.String() != d.file.URL {
		from = d.where.Redacted()
		advice = "the mirror that is set for " + hostOf(d.file.URL)
	}
	full := fmt.Errorf("fetching %s from %s: %w", d.file.What, from, d.clean(err))
	var sum sumError
	var page portalError
	var code statusError
	var certificate *tls.CertificateVerificationError
	switch {
	case errors.As(err, &sum):
		return exitcode.BadInput(fmt.Errorf("%w (%s): nothing of it was kept: compare the pin with what upstream published; if the pin is right, what lies at this address is not what was released, or was changed on the way (check %s)",
			full, size(d.offset), advice))
	case errors.As(err, &page):
		return exitcode.Transient(fmt.Errorf("%w: a captive portal or a proxy answers in place of %s: log in to the network with a browser, or set HTTPS_PROXY, or a mirror with %s=%s=…",
			full, hostOf(d.file.URL), EnvMirrors, hostOf(d.file.URL)))
	case errors.As(err, &code):
		return exitcode.BadInput(fmt.Errorf("%w: check the version and the address in the profile, and %s", full, advice))
	case errors.As(err, &certificate):
		return exitcode.BadInput(fmt.Errorf("%w: a proxy that opens TLS, or a mirror with a CA of its own, needs its certificate among the system's (update-ca-certificates), or named by SSL_CERT_FILE", full))
	case errors.Is(err, errUpgrade), errors.Is(err, unix.EROFS), errors.Is(err, fs.ErrPermission):
		return exitcode.BadInput(full)
	}
	return exitcode.Transient(full)
}

// clean takes the address off an error of net/http: it is said already, and a
// mirror's may hold a password.
func (d *download) clean(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return rephrased{err, strings.Replace(err.Error(), u.Error(), u.Err.Error(), 1)}
	}
	return err
}

type rephrased struct {
	error
	text string
}

func (r rephrased) Error() string { return r.text }
func (r rephrased) Unwrap() error { return r.error }

// network says whether another attempt may mend what broke a request.
func (d *download) network(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); errors.As(cause, new(stalled)) {
		return temporary{error: cause}
	}
	var certificate *tls.CertificateVerificationError
	var lookup *net.DNSError
	switch {
	case errors.Is(err, errUpgrade), errors.Is(err, errCircle), errors.As(err, &certificate),
		errors.As(err, &lookup) && lookup.IsNotFound:
		return err
	}
	if d.offset > 0 {
		err = fmt.Errorf("%w, after %s", err, progress(d.offset, d.total))
	}
	return temporary{error: err}
}

// stalled says that a connection is open and nothing comes.
type stalled struct{ d time.Duration }

func (s stalled) Error() string { return fmt.Sprintf("nothing came for %s", s.d) }

var (
	errUpgrade = errors.New("the server redirects from https to http, where anybody on the way can read along: refused")
	errCircle  = errors.New("the server redirects in a circle")
)

const maxRedirects = 10

func checkRedirect(request *http.Request, via []*http.Request) error {
	if len(via) >= maxRedirects {
		return fmt.Errorf("%w: %d redirects, the last one to %s", errCircle, maxRedirects, request.URL.Redacted())
	}
	if via[len(via)-1].URL.Scheme == "https" && request.URL.Scheme != "https" {
		return errUpgrade
	}
	return nil
}

// statusError is an answer that another attempt does not change.
type statusError struct{ status string }

func (s statusError) Error() string { return "the server answers " + strconv.Quote(s.status) }

// status turns an answer that is no file into an error.
func status(response *http.Response, body *bufio.Reader) error {
	code := response.StatusCode
	plain := fmt.Errorf("the server answers %q", response.Status)
	switch {
	case code == http.StatusNetworkAuthenticationRequired:
		return portalError{title(body)}
	case code == http.StatusTooManyRequests, code == http.StatusRequestTimeout, code == http.StatusTooEarly, code >= 500 && code != http.StatusNotImplemented:
		return temporary{plain, retryAfter(response)}
	case code == http.StatusProxyAuthRequired:
		return fmt.Errorf("%w: the proxy wants a name and a password, in HTTPS_PROXY=http://USER:PASSWORD@HOST:PORT", statusError{response.Status})
	}
	return statusError{response.Status}
}

// retryAfter is how long a server asks to be left alone: seconds or a date
// (RFC 9110, 10.2.3).
func retryAfter(response *http.Response) time.Duration {
	text := response.Header.Get("Retry-After")
	if seconds, err := strconv.Atoi(text); err == nil && seconds > 0 {
		return time.Duration(min(seconds, 1<<30)) * time.Second
	}
	if at, err := http.ParseTime(text); err == nil {
		return max(time.Until(at), 0)
	}
	return 0
}

// portalError is a web page where a file should be.
type portalError struct{ title string }

func (p portalError) Error() string {
	if p.title == "" {
		return "found a web page instead of the file"
	}
	return fmt.Sprintf("found a web page, %q, instead of the file", p.title)
}

// portal recognises a web page. No component is one.
func portal(response *http.Response, body *bufio.Reader) error {
	start, _ := body.Peek(512) // what cannot be read shows when it is
	if strings.HasPrefix(http.DetectContentType(start), "text/html") {
		return portalError{title(body)}
	}
	return nil
}

var titleTag = regexp.MustCompile(`(?is)<title[^>]*>\s*([^<]{1,200}?)\s*</title>`)

func title(body *bufio.Reader) string {
	start, _ := body.Peek(16 << 10)
	found := titleTag.FindSubmatch(start)
	if found == nil {
		return ""
	}
	return strings.Join(strings.Fields(html.UnescapeString(string(found[1]))), " ")
}

func hostOf(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return address
	}
	return u.Host
}

// size is a number of bytes for people.
func size(n int64) string {
	if n < 1<<20 {
		return fmt.Sprintf("%d bytes", n)
	}
	return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
}

func bytesOf(n int64) string {
	if n < 0 {
		return "no size"
	}
	return fmt.Sprintf("%d bytes", n)
}

func progress(done, total int64) string {
	if total < 0 {
		return size(done)
	}
	return size(done) + " of " + size(total)
}
