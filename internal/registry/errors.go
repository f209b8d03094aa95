package registry

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"

	"oras.land/oras-go/v2/errdef"
	"oras.land/oras-go/v2/registry/remote/auth"
	"oras.land/oras-go/v2/registry/remote/errcode"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
)

// explain says what was being done and what helps, and whether a retry may.
func (r *Repository) explain(ctx context.Context, doing string, err error) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return exitcode.Transient(fmt.Errorf("%s: %w", doing, context.Cause(ctx)))
	}
	full := fmt.Errorf("%s: %w", doing, err)
	var code interface{ status() int }
	status := 0
	var response *errcode.ErrorResponse
	if errors.As(err, &response) {
		status = response.StatusCode
	} else if errors.As(err, &code) {
		status = code.status()
	}
	var certificate *tls.CertificateVerificationError
	var lookup *net.DNSError
	login := fmt.Sprintf("log in with 'docker login %s' or give Docker's configuration (DOCKER_CONFIG) credentials for it", r.ref.Registry)
	switch {
	case errors.As(err, new(digestError)):
		return exitcode.Transient(full)
	case status == http.StatusUnauthorized, errors.Is(err, auth.ErrBasicCredentialNotFound):
		return exitcode.BadInput(fmt.Errorf("%w: %s", full, login))
	case status == http.StatusForbidden:
		return exitcode.BadInput(fmt.Errorf("%w: these credentials may not do that in %s/%s", full, r.ref.Registry, r.ref.Repository))
	case status == http.StatusRequestEntityTooLarge:
		return exitcode.BadInput(fmt.Errorf("%w: send smaller chunks with --chunk-size", full))
	case status == http.StatusNotFound, errors.Is(err, errdef.ErrNotFound):
		return exitcode.BadInput(fmt.Errorf("%w: check the name, and that %s/%s has it", full, r.ref.Registry, r.ref.Repository))
	case status >= 400 && status < 500 && status != http.StatusTooManyRequests && status != http.StatusRequestTimeout:
		return exitcode.BadInput(full)
	case errors.As(err, &certificate):
		return exitcode.BadInput(fmt.Errorf("%w: a registry with a CA of its own needs its certificate among the system's (update-ca-certificates), or named by SSL_CERT_FILE", full))
	case strings.Contains(err.Error(), "server gave HTTP response to HTTPS client"):
		return exitcode.BadInput(fmt.Errorf("%w: it speaks http; say --plain-http if the network to it is yours", full))
	case errors.As(err, &lookup) && lookup.IsNotFound:
		return exitcode.BadInput(full)
	case exitcode.Of(err) == exitcode.Usage:
		return full
	}
	return exitcode.Transient(full)
}

// statusError is an answer of a registry that was not the one hoped for.
type statusError struct {
	code int
	text string // what the registry says, for people
}

func (s statusError) Error() string {
	if s.text == "" {
		return fmt.Sprintf("the registry answers %d %s", s.code, http.StatusText(s.code))
	}
	return fmt.Sprintf("the registry answers %d %s: %s", s.code, http.StatusText(s.code), s.text)
}

func (s statusError) status() int { return s.code }
