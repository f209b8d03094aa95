// Package registry publishes images in container registries and gets them
// back: as an OCI artifact whose one large blob is the disk itself, or as a
// containerDisk for KubeVirt, with signed statements, SBOM and reports as OCI
// 1.1 referrers.
//
// Manifests, referrers (with the tag schema where a registry has no referrers
// API) and Docker's credentials are oras-go's: of the two registry libraries
// of this module it is the one that does all three. Neither can go on with a
// blob that was cut off, so blobs are sent here in chunks (OCI distribution
// specification 1.1, "Pushing a blob in chunks"), and fetched by package
// fetch.
package registry

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	oras "oras.land/oras-go/v2/registry"
	"oras.land/oras-go/v2/registry/remote"
	"oras.land/oras-go/v2/registry/remote/auth"
	"oras.land/oras-go/v2/registry/remote/credentials"
	"oras.land/oras-go/v2/registry/remote/retry"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/fetch"
)

// DefaultChunk is how much of a blob is sent in one request, in bytes.
const DefaultChunk = 16 << 20

// maxMetadata bounds a manifest or an index, in bytes, as registries do.
const maxMetadata = 4 << 20

// answer is how long a registry may take to begin an answer: some copy a blob
// to its place before they say that they have it.
const answer = 10 * time.Minute

// Options tell Open how to work.
type Options struct {
	// State is a directory, made when it is missing, where it is remembered
	// how far a blob was sent.
	State string
	// PlainHTTP speaks http. Registries on this machine's loopback address are
	// spoken to in http anyway.
	PlainHTTP bool
	// Chunk is the size of a chunk in bytes; 0 stands for DefaultChunk.
	Chunk int64
	// Progress and Logf may be nil.
	Progress fetch.Progress
	Logf     func(format string, args ...any)
}

// Repository is where images go to and come from.
type Repository struct {
	Options
	ref  oras.Reference
	oras *remote.Repository
	// raw sends each request once: whoever sends a chunk must first ask how
	// much of it had come.
	raw   *auth.Client
	sleep func(ctx context.Context, d time.Duration) error
	stall time.Duration
	grace time.Duration // for a chunk that is under way when the caller ends
}

// Open gets ready to use a reference, REGISTRY/REPOSITORY:TAG or
// REGISTRY/REPOSITORY@sha256:DIGEST. Nothing is sent yet. A reference that
// cannot be is bad input. Credentials are Docker's: its configuration and the
// helpers that it names.
func Open(reference string, o Options) (*Repository, error) {
	ref, err := oras.ParseReference(reference)
	if err == nil && ref.Reference == "" {
		err = errors.New("the tag is missing")
	}
	if err != nil {
		return nil, exitcode.BadInput(fmt.Errorf("reference %q: %w: expected REGISTRY/REPOSITORY:TAG or REGISTRY/REPOSITORY@sha256:DIGEST", reference, err))
	}
	if o.Chunk < 0 {
		return nil, exitcode.BadInput(fmt.Errorf("chunks of %d bytes: expected a positive size", o.Chunk))
	}
	if o.Chunk == 0 {
		o.Chunk = DefaultChunk
	}
	if o.Logf == nil {
		o.Logf = func(string, ...any) {}
	}
	if o.Progress == nil {
		o.Progress = silent{}
	}
	transport := fetch.NewTransport(answer)
	raw, err := NewAuth(&http.Client{Transport: transport}, ref.Host())
	if err != nil {
		return nil, err
	}
	patient := *raw
	patient.Client = &http.Client{Transport: retry.NewTransport(transport)}
	o.PlainHTTP = o.PlainHTTP || loopback(ref.Host())
	return &Repository{
		Options: o, ref: ref, raw: raw, sleep: sleep, stall: time.Minute, grace: 10 * time.Second,
		oras: &remote.Repository{
			Client: &patient, Reference: ref, PlainHTTP: o.PlainHTTP, MaxMetadataBytes: maxMetadata,
			// Many registries forbid deleting, and an old index hurts nobody.
			SkipReferrersGC: true,
		},
	}, nil
}

// NewAuth is a client that gives a registry on host what it asks for to let
// requests pass, from Docker's configuration and the helpers that it names.
// Without a configuration it asks as nobody. Errors are bad input.
func NewAuth(client *http.Client, host string) (*auth.Client, error) {
	docker, err := credentials.NewStoreFromDocker(credentials.StoreOptions{})
	if err != nil {
		return nil, exitcode.BadInput(fmt.Errorf("reading Docker's configuration for credentials: %w", err))
	}
	c := &auth.Client{
		Client: client, Cache: auth.NewCache(), Credential: credentials.Credential(docker),
		ClientID: "nodeimage", Header: http.Header{"User-Agent": {fetch.UserAgent()}},
	}
	if loopback(host) {
		c.BlockedRealmPrefixes = []netip.Prefix{} // its tokens may come from this machine, too
	}
	return c, nil
}

// loopback tells whether a host, with or without a port, is this machine.
func loopback(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.Trim(host, "[]")
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// address is the URL of what the repository has under a kind and a name.
func (r *Repository) address(kind, name string) string {
	scheme := "https"
	if r.PlainHTTP {
		scheme = "http"
	}
	return scheme + "://" + r.ref.Host() + "/v2/" + r.ref.Repository + "/" + kind + "/" + name
}

// Name is the reference with a digest.
func (r *Repository) name(digest string) string {
	return r.ref.Registry + "/" + r.ref.Repository + "@" + digest
}

// scoped asks for the rights that are needed in one token.
func (r *Repository) scoped(ctx context.Context, actions ...string) context.Context {
	return auth.AppendRepositoryScope(ctx, r.ref, actions...)
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}

type silent struct{}

func (silent) Start(string, int64) fetch.Transfer { return silent{} }
func (silent) At(int64, int64)                    {}
func (silent) End()                               {}
