package fetch

import (
	"bufio"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"
)

// download is one file on its way.
type download struct {
	client   *Client
	file     File
	where    *url.URL // the file's own place, or its mirror's
	base     string   // of the names of the part and of its state
	part     *os.File // locked
	transfer Transfer

	// unpinned files are not compared with a sum; only Read has such.
	unpinned bool

	hash    hash.Hash
	offset  int64 // bytes in part that are in hash
	total   int64 // that the server declared; -1 while it has not
	etag    string
	resumed bool // part is from more than one answer
	saved   int64
}

// temporary is what another attempt may mend.
type temporary struct {
	error
	after time.Duration // that the server asked for, or 0
}

func (t temporary) Unwrap() error { return t.error }

// run downloads until the file is whole and what was pinned.
func (d *download) run(ctx context.Context) error {
	if err := d.restore(); err != nil {
		return err
	}
	fruitless, restarted := 0, false
	for attempt := 1; ; attempt++ {
		before := d.offset
		err := d.attempt(ctx)
		if err == nil {
			err = d.check()
			// Parts of two answers may be parts of two files.
			if errors.As(err, new(sumError)) && d.resumed && !restarted {
				restarted = true
				d.client.Logf("%s: %v: the parts do not belong together, so it is fetched again from the start", d.file.What, err)
				if err := d.restart(); err != nil {
					return err
				}
				continue
			}
			return err
		}
		if ctx.Err() != nil {
			return errors.Join(context.Cause(ctx), d.save())
		}
		var again temporary
		if !errors.As(err, &again) {
			return err
		}
		if d.offset > before {
			fruitless = 0
		}
		fruitless++
		if err := d.save(); err != nil {
			return err
		}
		switch {
		case again.after > longestWait:
			return fmt.Errorf("%w, and asks to wait for %s", err, again.after.Round(time.Second))
		case fruitless >= tries || attempt >= maxAttempts:
			return fmt.Errorf("%w; gave up after %d attempts%s", err, attempt, d.kept())
		}
		pause := max(again.after, backoff(fruitless))
		d.client.Logf("%s: %v; trying again in %s", d.file.What, d.clean(err), pause.Round(100*time.Millisecond))
		if err := d.client.sleep(ctx, pause); err != nil {
			return errors.Join(err, d.save())
		}
	}
}

// backoff doubles with each fruitless attempt, and is spread by half, so that
// many builds do not come back at one moment.
func backoff(fruitless int) time.Duration {
	pause := min(firstPause<<(fruitless-1), 30*time.Second)
	return pause/2 + rand.N(pause)
}

func (d *download) kept() string {
	if d.offset == 0 {
		return ""
	}
	return fmt.Sprintf("; the %s that came are kept, and another run goes on from there", size(d.offset))
}

// attempt makes one request and takes in what it brings.
func (d *download) attempt(ctx context.Context) error {
	if d.total >= 0 && d.offset == d.total {
		return nil // all of it was there before
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	quiet := time.AfterFunc(d.client.stall, func() { cancel(stalled{d.client.stall}) })
	defer quiet.Stop()
	response, err := d.request(ctx)
	if err != nil {
		return d.network(ctx, err)
	}
	defer response.Body.Close()
	body := bufio.NewReaderSize(response.Body, 256<<10)
	if err := d.accept(response, body); err != nil {
		return err
	}
	buffer := make([]byte, 256<<10)
	for {
		n, err := body.Read(buffer)
		quiet.Reset(d.client.stall)
		if n > 0 {
			if d.total >= 0 && d.offset+int64(n) > d.total {
				return fmt.Errorf("the server sent more than the %d bytes that it declared", d.total)
			}
			if d.offset+int64(n) > d.file.bound() {
				return tooLarge(d.file, -1)
			}
			if _, err := d.part.Write(buffer[:n]); err != nil {
				return errors.Join(fmt.Errorf("keeping it: %w", err), d.discard())
			}
			d.hash.Write(buffer[:n])
			d.offset += int64(n)
			d.transfer.At(d.offset, d.total)
			if d.offset-d.saved >= saveEvery {
				if err := d.save(); err != nil {
					return err
				}
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			if d.total >= 0 && d.offset < d.total {
				return temporary{error: d.cutOff()}
			}
			d.total = d.offset
			return nil
		case errors.Is(err, io.ErrUnexpectedEOF):
			return temporary{error: d.cutOff()}
		case err != nil:
			return d.network(ctx, err)
		}
	}
}

func (d *download) request(ctx context.Context) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, d.where.String(), nil)
	if err != nil {
		return nil, err
	}
	for name, values := range d.file.Header {
		request.Header[name] = values
	}
	request.Header.Set("User-Agent", UserAgent())
	request.Header.Set("Accept-Encoding", "identity")
	if d.offset > 0 {
		request.Header.Set("Range", fmt.Sprintf("bytes=%d-", d.offset))
		if d.etag != "" {
			request.Header.Set("If-Range", d.etag)
		}
	}
	transport := d.file.Transport
	if transport == nil {
		transport = d.client.Transport
	}
	return (&http.Client{Transport: transport, CheckRedirect: checkRedirect}).Do(request)
}

// accept looks at an answer's head and the first bytes of its body.
func (d *download) accept(response *http.Response, body *bufio.Reader) error {
	switch response.StatusCode {
	case http.StatusOK:
		if d.offset > 0 {
			// It knows no ranges, or has another file by now.
			if err := d.restart(); err != nil {
				return err
			}
		}
		d.total = response.ContentLength
	case http.StatusPartialContent:
		if err := d.acceptRange(response); err != nil {
			return err
		}
	case http.StatusRequestedRangeNotSatisfiable:
		if d.offset == 0 {
			return statusError{response.Status}
		}
		_, has, _ := strings.Cut(response.Header.Get("Content-Range"), "*/")
		err := fmt.Errorf("the server declared %s and has no more than %s of them", bytesOf(d.total), cmp.Or(has, strconv.FormatInt(d.offset, 10)))
		return errors.Join(err, d.discard())
	default:
		return status(response, body)
	}
	if d.total >= 0 && d.file.Size > 0 && d.total != d.file.Size {
		return fmt.Errorf("the server declares %d bytes, expected the %d that are pinned", d.total, d.file.Size)
	}
	if d.total > d.file.bound() {
		return tooLarge(d.file, d.total)
	}
	if d.offset == 0 {
		if err := portal(response, body); err != nil {
			return err
		}
	} else {
		d.resumed = true
	}
	d.etag = strongETag(response)
	d.transfer.At(d.offset, d.total)
	return nil
}

// acceptRange makes sure that the answer goes on where the part ends.
func (d *download) acceptRange(response *http.Response) error {
	text := response.Header.Get("Content-Range")
	var first, last, total int64
	if _, err := fmt.Sscanf(text, "bytes %d-%d/%d", &first, &last, &total); err != nil || first != d.offset || last != total-1 {
		return errors.Join(fmt.Errorf("the server was asked for the bytes from %d on and answers with Content-Range %.100q", d.offset, text), d.discard())
	}
	if d.total >= 0 && total != d.total {
		return errors.Join(fmt.Errorf("the server declared %d bytes at first and %d now", d.total, total), d.discard())
	}
	d.total = total
	return nil
}

func tooLarge(f File, declared int64) error {
	if declared >= 0 {
		return fmt.Errorf("the server declares %d bytes, expected at most %d", declared, f.bound())
	}
	return fmt.Errorf("the server sent more than %d bytes, expected at most that", f.bound())
}

// sumError says that a whole file is not the pinned one.
type sumError struct{ want, got string }

func (e sumError) Error() string { return fmt.Sprintf("sha256 is %s, expected %s", e.got, e.want) }

// check compares the sum, which was made as the bytes came.
func (d *download) check() error {
	if d.file.Size > 0 && d.offset != d.file.Size {
		return errors.Join(fmt.Errorf("the server sent %d bytes, expected the %d that are pinned", d.offset, d.file.Size), d.discard())
	}
	if d.unpinned {
		return nil
	}
	if got := hex.EncodeToString(d.hash.Sum(nil)); got != d.file.SHA256 {
		return sumError{d.file.SHA256, got}
	}
	return nil
}

func (d *download) cutOff() error {
	return fmt.Errorf("the connection was cut off after %s", progress(d.offset, d.total))
}

func (d *download) restart() error {
	d.resumed = false
	return d.forget()
}

// forget empties the part.
func (d *download) forget() error {
	d.hash, d.offset, d.total, d.etag, d.saved = sha256.New(), 0, -1, "", 0
	if err := removeState(d.base); err != nil {
		return err
	}
	if err := d.part.Truncate(0); err != nil {
		return err
	}
	_, err := d.part.Seek(0, io.SeekStart)
	return err
}

// discard removes the part: it is no use.
func (d *download) discard() error {
	err := os.Remove(d.part.Name())
	if errors.Is(err, fs.ErrNotExist) {
		err = nil // done before
	}
	return errors.Join(d.forget(), err)
}

// hashState is the state of a sha256, which Go's own can save.
func hashState(h hash.Hash) ([]byte, error) { return h.(encoding.BinaryMarshaler).MarshalBinary() }

func strongETag(response *http.Response) string {
	etag := response.Header.Get("ETag")
	if strings.HasPrefix(etag, "W/") || len(etag) > 256 {
		return ""
	}
	return etag
}
