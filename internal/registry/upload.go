package registry

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/registry/remote/auth"
	"oras.land/oras-go/v2/registry/remote/errcode"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/fetch"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/store"
)

const (
	tries        = 5 // attempts in a row that bring nothing
	restarts     = 3 // that a registry may ask for by forgetting an upload
	firstPause   = time.Second
	longestPause = 30 * time.Second
	maxError     = 64 << 10 // bytes of an answer's body that are looked at
)

// session is an upload as the registry knows it.
type session struct {
	Location string `json:"location"`
	Offset   int64  `json:"offset"` // bytes that the registry said it has
}

// upload is one blob on its way.
type upload struct {
	*Repository
	what     string // for people
	blob     ocispec.Descriptor
	content  io.ReaderAt
	chunk    int64
	state    *os.File // locked; holds the session
	session  session
	resumed  bool // bytes are from more than one run
	transfer fetch.Transfer
}

// send puts a blob into the repository, unless it is there already. What an
// earlier run had sent is not sent again, if the registry still has it.
//
// The registry computes the digest of what came; a blob with another one is
// refused by it, so that content which changes meanwhile does no harm.
func (r *Repository) send(ctx context.Context, what string, blob ocispec.Descriptor, content io.ReaderAt) error {
	ctx = r.scoped(ctx, auth.ActionPull, auth.ActionPush)
	doing := fmt.Sprintf("pushing %s to %s/%s", what, r.ref.Registry, r.ref.Repository)
	there, err := r.oras.Blobs().Exists(ctx, blob)
	if err != nil || there {
		return r.explain(ctx, doing, err)
	}
	if err := os.MkdirAll(r.State, 0o700); err != nil {
		return exitcode.Transient(fmt.Errorf("%s: remembering how far it came: %w", doing, err))
	}
	key := sha256.Sum256([]byte(r.address("blobs", blob.Digest.String())))
	path := filepath.Join(r.State, hex.EncodeToString(key[:16])+".upload")
	u := &upload{Repository: r, what: what, blob: blob, content: content, chunk: r.Chunk}
	if u.state, err = store.LockFile(ctx, path); err != nil {
		return exitcode.Transient(fmt.Errorf("%s: remembering how far it came: %w", doing, err))
	}
	defer u.state.Close()
	u.transfer = r.Progress.Start(what, blob.Size)
	defer u.transfer.End()
	if err := u.run(ctx); err != nil {
		return r.explain(ctx, doing, err)
	}
	// Another run may wait for the lock; it then finds the blob.
	if err := os.Remove(path); err != nil {
		return exitcode.Transient(fmt.Errorf("%s: %w", doing, err))
	}
	return nil
}

// lostError says that the registry does not know the upload any more.
type lostError struct{ error }

func (l lostError) Unwrap() error { return l.error }

// temporary is what another attempt may mend.
type temporary struct {
	error
	after time.Duration // that the registry asked for, or 0
}

func (t temporary) Unwrap() error { return t.error }

// run sends until the registry has all of the blob under its digest.
func (u *upload) run(ctx context.Context) error {
	u.load()
	fruitless, lost, rejected := 0, 0, false
	ask := u.session.Location != "" // the registry knows best how far it came
	for {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		before := u.session.Offset
		err := u.attempt(ctx, ask)
		if err == nil {
			return nil
		}
		ask = true
		var gone lostError
		var again temporary
		var bad digestError
		switch {
		case errors.As(err, &bad) && u.resumed && !rejected:
			// Parts of two runs may be parts of two files.
			rejected = true
			u.Logf("%s: %v: it is sent again from the start", u.what, err)
			u.forget()
			continue
		case errors.As(err, &bad):
			u.forget()
			return err
		case errors.As(err, &gone):
			if lost++; lost > restarts {
				return fmt.Errorf("%w; gave up after %d beginnings", err, lost)
			}
			if u.session.Offset > 0 {
				u.Logf("%s: the registry has forgotten the %d bytes that had come (%v): it is sent from the start", u.what, u.session.Offset, err)
			}
			u.forget()
			ask = false
			continue
		case !errors.As(err, &again):
			return err
		}
		if u.session.Offset > before {
			fruitless = 0
		}
		if fruitless++; fruitless >= tries {
			return fmt.Errorf("%w; gave up after %d attempts in a row; the %d bytes that came are kept, and another run goes on from there", err, fruitless, u.session.Offset)
		}
		pause := min(firstPause<<(fruitless-1), longestPause)
		pause = max(pause/2+rand.N(pause), again.after)
		u.Logf("%s: %v; trying again in %s", u.what, err, pause.Round(100*time.Millisecond))
		if err := u.sleep(ctx, pause); err != nil {
			return err
		}
	}
}

// attempt goes on with the upload, or begins one, until something fails.
func (u *upload) attempt(ctx context.Context, ask bool) error {
	switch {
	case u.session.Location == "":
		if err := u.begin(ctx); err != nil {
			return err
		}
	case ask:
		if err := u.ask(ctx); err != nil {
			return err
		}
	}
	for u.session.Offset < u.blob.Size {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := u.patch(ctx); err != nil {
			return err
		}
	}
	return u.finish(ctx)
}

// begin opens an upload.
func (u *upload) begin(ctx context.Context) error {
	response, err := u.do(ctx, http.MethodPost, u.address("blobs", "uploads/"), nil, nil)
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusAccepted {
		return u.refusal(response)
	}
	if text := response.Header.Get("OCI-Chunk-Min-Length"); text != "" {
		if least, err := strconv.ParseInt(text, 10, 64); err == nil && least > u.chunk {
			u.chunk = least
		}
	}
	u.session = session{}
	return u.moved(response)
}

// ask learns how much of the upload the registry has.
func (u *upload) ask(ctx context.Context) error {
	response, err := u.do(ctx, http.MethodGet, u.session.Location, nil, nil)
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusNoContent {
		return u.refusal(response)
	}
	u.session.Offset = 0
	if text := response.Header.Get("Range"); text != "" {
		end, err := rangeEnd(text)
		if err != nil {
			return lostError{err}
		}
		u.session.Offset = end
	}
	if u.session.Offset > u.blob.Size {
		return lostError{fmt.Errorf("the registry has %d bytes of a blob of %d", u.session.Offset, u.blob.Size)}
	}
	u.resumed = u.resumed || u.session.Offset > 0
	u.transfer.At(u.session.Offset, u.blob.Size)
	return u.moved(response)
}

// patch sends one chunk.
func (u *upload) patch(ctx context.Context) error {
	first := u.session.Offset
	n := min(u.chunk, u.blob.Size-first)
	// A registry may lose an upload whose chunk was cut off (docker-registry 2
	// does), so one that is under way may end.
	ctx, cancel := outlive(ctx, u.grace)
	defer cancel(nil)
	quiet := time.AfterFunc(u.stall, func() { cancel(fmt.Errorf("nothing was taken for %s", u.stall)) })
	defer quiet.Stop()
	body := func() io.ReadCloser {
		return io.NopCloser(&watched{io.NewSectionReader(u.content, first, n), func(sent int64) {
			quiet.Reset(u.stall)
			u.transfer.At(first+sent, u.blob.Size)
		}, 0})
	}
	response, err := u.do(ctx, http.MethodPatch, u.session.Location, http.Header{
		"Content-Type":  {"application/octet-stream"},
		"Content-Range": {fmt.Sprintf("%d-%d", first, first+n-1)},
	}, &part{body, n})
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusAccepted {
		return u.refusal(response)
	}
	u.session.Offset = first + n
	if text := response.Header.Get("Range"); text != "" && u.blob.Size > 1 {
		end, err := rangeEnd(text)
		if err != nil || end > first+n {
			return lostError{fmt.Errorf("the registry says that it has the range %.100q after %d bytes", text, first+n)}
		}
		u.session.Offset = end
	}
	if err := u.moved(response); err != nil {
		return err
	}
	if u.session.Offset <= first {
		return temporary{error: fmt.Errorf("the registry took nothing of %d bytes", n)}
	}
	return nil
}

// digestError says that what the registry has is not the blob.
type digestError struct{ error }

func (d digestError) Unwrap() error { return d.error }

// finish tells the registry under which digest all of it is.
func (u *upload) finish(ctx context.Context) error {
	at, err := url.Parse(u.session.Location)
	if err != nil {
		return lostError{err}
	}
	query := at.Query()
	query.Set("digest", u.blob.Digest.String())
	at.RawQuery = query.Encode()
	response, err := u.do(ctx, http.MethodPut, at.String(), http.Header{"Content-Type": {"application/octet-stream"}}, nil)
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusCreated {
		err := u.refusal(response)
		var s statusError
		if errors.As(err, &s) && strings.Contains(s.text, errcode.ErrorCodeDigestInvalid) {
			return digestError{fmt.Errorf("what came has another digest than %s: the file was changed meanwhile, or it was damaged on the way: %w", u.blob.Digest, err)}
		}
		return err
	}
	if got := response.Header.Get("Docker-Content-Digest"); got != "" && got != u.blob.Digest.String() {
		return digestError{fmt.Errorf("the registry says that it has %.100q: expected %s", got, u.blob.Digest)}
	}
	return nil
}

// part is the body of a request; it can be read again.
type part struct {
	open func() io.ReadCloser
	size int64
}

// do sends one request. The answer's body was read; refusal finds it there.
func (u *upload) do(ctx context.Context, method, address string, header http.Header, p *part) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, method, address, nil)
	if err != nil {
		return nil, err
	}
	for name, values := range header {
		request.Header[name] = values
	}
	if p != nil {
		request.Body, request.ContentLength = p.open(), p.size
		request.GetBody = func() (io.ReadCloser, error) { return p.open(), nil }
	}
	response, err := u.raw.Do(request)
	if err != nil {
		if errors.Is(err, auth.ErrBasicCredentialNotFound) || errors.As(err, new(*errcode.ErrorResponse)) {
			return nil, err // of the token's server
		}
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		return nil, temporary{error: bare(err)}
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, maxError))
	response.Body.Close()
	if err != nil {
		return nil, temporary{error: bare(err)}
	}
	response.Body = io.NopCloser(strings.NewReader(string(body)))
	return response, nil
}

// bare takes the address off an error of net/http: an upload's may hold a
// token.
func bare(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

// refusal turns an answer into an error that says what to do about it.
func (u *upload) refusal(response *http.Response) error {
	body, _ := io.ReadAll(response.Body) // was read before
	s := statusError{code: response.StatusCode}
	var document struct {
		Errors errcode.Errors `json:"errors"`
	}
	if json.Unmarshal(body, &document) == nil {
		var parts []string
		for _, e := range document.Errors {
			parts = append(parts, fmt.Sprintf("%.100s (%.200s)", e.Code, e.Message))
		}
		s.text = fmt.Sprintf("%.1000s", strings.Join(parts, "; "))
	}
	switch code := response.StatusCode; {
	case code == http.StatusTooManyRequests, code == http.StatusRequestTimeout, code >= 500 && code != http.StatusNotImplemented:
		seconds, _ := strconv.Atoi(response.Header.Get("Retry-After"))
		return temporary{s, time.Duration(min(max(seconds, 0), 120)) * time.Second}
	case code == http.StatusRequestedRangeNotSatisfiable:
		return temporary{error: s} // it is asked next
	case response.Request.Method == http.MethodPost:
		return s
	case code == http.StatusNotFound, code == http.StatusBadRequest && strings.Contains(s.text, errcode.ErrorCodeBlobUploadUnknown),
		code == http.StatusBadRequest && strings.Contains(s.text, errcode.ErrorCodeBlobUploadInvalid):
		return lostError{temporary{error: s}}
	}
	return s
}

// moved remembers where the upload goes on.
func (u *upload) moved(response *http.Response) error {
	if text := response.Header.Get("Location"); text != "" {
		at, err := response.Request.URL.Parse(text)
		if err != nil || at.Scheme != "https" && (at.Scheme != "http" || !u.PlainHTTP) {
			return fmt.Errorf("the registry wants the blob sent to %.200q: expected an address of https", text)
		}
		u.session.Location = at.String()
	}
	if u.session.Location == "" {
		return errors.New("the registry does not say where to send the blob (no Location)")
	}
	return u.save()
}

// load reads what an earlier run left. What makes no sense is as good as
// nothing.
func (u *upload) load() {
	text, err := io.ReadAll(io.LimitReader(u.state, maxError))
	var s session
	if err != nil || json.Unmarshal(text, &s) != nil {
		return
	}
	at, err := url.Parse(s.Location)
	if err != nil || at.Host == "" || at.Scheme != "https" && !u.PlainHTTP {
		return
	}
	u.session, u.resumed = session{Location: s.Location}, true
}

func (u *upload) forget() {
	u.session, u.resumed = session{}, false
	_ = u.state.Truncate(0) // at worst the next run asks for an upload that is gone
}

// save keeps the session. It may hold a token, so it is for its owner only.
func (u *upload) save() error {
	text, err := json.Marshal(u.session)
	if err != nil {
		return err
	}
	if err := errors.Join(u.state.Chmod(0o600), u.state.Truncate(0)); err != nil {
		return fmt.Errorf("remembering how far it came: %w", err)
	}
	if _, err := u.state.WriteAt(text, 0); err != nil {
		return fmt.Errorf("remembering how far it came: %w", err)
	}
	return nil
}

// rangeEnd reads the answer's Range, 0-N or bytes=0-N, as a number of bytes.
// Both an empty upload and one of a single byte are 0-0 to some registries;
// the empty one is the only that occurs.
func rangeEnd(text string) (int64, error) {
	first, last, ok := strings.Cut(strings.TrimPrefix(text, "bytes="), "-")
	end, err := strconv.ParseInt(last, 10, 64)
	if !ok || first != "0" || err != nil || end < 0 {
		return 0, fmt.Errorf("the registry says that it has the range %.100q: expected 0-N", text)
	}
	if end == 0 {
		return 0, nil
	}
	return end + 1, nil
}

// outlive is a context that ends some time after another one does.
func outlive(ctx context.Context, grace time.Duration) (context.Context, context.CancelCauseFunc) {
	longer, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		timer := time.AfterFunc(grace, func() { cancel(context.Cause(ctx)) })
		context.AfterFunc(longer, func() { timer.Stop() })
	})
	return longer, func(cause error) { stop(); cancel(cause) }
}

// watched tells how much was read.
type watched struct {
	io.Reader
	read func(total int64)
	n    int64
}

func (w *watched) Read(p []byte) (int, error) {
	n, err := w.Reader.Read(p)
	w.n += int64(n)
	w.read(w.n)
	return n, err
}

// sendBytes puts a small blob into the repository in one request.
func (r *Repository) sendBytes(ctx context.Context, what, mediaType string, data []byte) (ocispec.Descriptor, error) {
	blob := ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(data), Size: int64(len(data))}
	ctx = r.scoped(ctx, auth.ActionPull, auth.ActionPush)
	there, err := r.oras.Blobs().Exists(ctx, blob)
	if err == nil && !there {
		err = r.oras.Blobs().Push(ctx, blob, strings.NewReader(string(data)))
	}
	return blob, r.explain(ctx, fmt.Sprintf("pushing %s to %s/%s", what, r.ref.Registry, r.ref.Repository), err)
}
