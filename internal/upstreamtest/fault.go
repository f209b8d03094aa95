package upstreamtest

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

// Answer is one request for a file and what is known about the file.
type Answer struct {
	http.ResponseWriter
	Request *http.Request
	N       int    // of requests for this address, this one included
	Path    string // of the file on this machine; "" if there is none
	sum     string
}

// Fault answers a request in a way that upstream does not. It returns false to
// let the request be answered as upstream does.
type Fault func(a Answer) bool

// First lets fault answer the first n requests only.
func First(n int, fault Fault) Fault {
	return func(a Answer) bool { return a.N <= n && fault(a) }
}

// content is the file from where the request wants it.
func (a Answer) content() []byte {
	all, err := os.ReadFile(a.Path)
	if err != nil {
		panic(err) // net/http answers by cutting the connection
	}
	return all
}

// from is where the request wants the file from, and whether it says so.
func (a Answer) from() (int, bool) {
	text, ok := strings.CutPrefix(a.Request.Header.Get("Range"), "bytes=")
	n, err := strconv.Atoi(strings.TrimSuffix(text, "-"))
	return n, ok && err == nil
}

// Cut breaks the connection after n bytes of each answer. Ranges work.
func Cut(n int) Fault {
	return func(a Answer) bool {
		cutting := &cutter{ResponseWriter: a.ResponseWriter, left: n}
		serve(cutting, a.Request, served{a.Path, a.sum})
		if cutting.left < 0 {
			a.drop()
		}
		return true
	}
}

type cutter struct {
	http.ResponseWriter
	left int
}

func (c *cutter) Write(p []byte) (int, error) {
	if c.left < 0 {
		return 0, net.ErrClosed
	}
	if len(p) > c.left {
		p = p[:c.left]
		n, _ := c.ResponseWriter.Write(p)
		c.left = -1
		return n, net.ErrClosed
	}
	c.left -= len(p)
	return c.ResponseWriter.Write(p)
}

// drop resets the connection, with what was written sent first.
func (a Answer) drop() {
	_ = http.NewResponseController(a.ResponseWriter).Flush() // or the client is gone
	panic(http.ErrAbortHandler)
}

// Reset breaks the connection before an answer.
func Reset() Fault {
	return func(Answer) bool { panic(http.ErrAbortHandler) }
}

// Status answers with a status and no file.
func Status(code int, header ...string) Fault {
	return func(a Answer) bool {
		for i := 0; i+1 < len(header); i += 2 {
			a.Header().Set(header[i], header[i+1])
		}
		a.WriteHeader(code)
		fmt.Fprintln(a, http.StatusText(code))
		return true
	}
}

// WrongBytes serves a file of the same size with one bit changed.
func WrongBytes() Fault {
	return func(a Answer) bool {
		content := a.content()
		content[len(content)/2] ^= 1
		http.ServeContent(a.ResponseWriter, a.Request, "", time.Time{}, bytes.NewReader(content))
		return true
	}
}

// OtherContent serves something else.
func OtherContent(content []byte) Fault {
	return func(a Answer) bool {
		a.Header().Set("Content-Type", "application/octet-stream")
		http.ServeContent(a.ResponseWriter, a.Request, "", time.Time{}, bytes.NewReader(content))
		return true
	}
}

// DeclaredSize declares a size that the file does not have, sends what there
// is of it and closes the connection.
func DeclaredSize(n int) Fault {
	return func(a Answer) bool {
		content := a.content()
		if from, ok := a.from(); ok {
			if from >= len(content) {
				a.Header().Set("Content-Range", fmt.Sprintf("bytes */%d", len(content)))
				a.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
				return true
			}
			a.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, n-1, n))
			a.Header().Set("Content-Length", strconv.Itoa(n-from))
			a.WriteHeader(http.StatusPartialContent)
			a.write(content[from:])
			return true
		}
		a.Header().Set("Content-Length", strconv.Itoa(n))
		a.WriteHeader(http.StatusOK)
		a.write(content[:min(n, len(content))])
		return true
	}
}

// Endless sends zeros, without a size, until n bytes are out.
func Endless(n int) Fault {
	return func(a Answer) bool {
		zeros := make([]byte, 64<<10)
		for sent := 0; sent < n; sent += len(zeros) {
			if _, err := a.Write(zeros); err != nil {
				break // nobody listens any more
			}
		}
		return true
	}
}

// write sends bytes; a client that has gone away is its own business.
func (a Answer) write(p []byte) { _, _ = a.Write(p) }

// NoRanges serves the whole file, whatever part of it is wanted.
func NoRanges() Fault {
	return func(a Answer) bool {
		a.Header().Set("Content-Type", "application/octet-stream")
		a.write(a.content())
		return true
	}
}

// Stall sends n bytes of the file and then nothing, until the client goes.
func Stall(n int) Fault {
	return func(a Answer) bool {
		content := a.content()
		from, partial := a.from()
		a.Header().Set("Content-Length", strconv.Itoa(len(content)-from))
		if partial {
			a.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, len(content)-1, len(content)))
			a.WriteHeader(http.StatusPartialContent)
		}
		a.write(content[from:min(from+n, len(content))])
		if err := http.NewResponseController(a.ResponseWriter).Flush(); err != nil {
			return true
		}
		<-a.Request.Context().Done()
		return true
	}
}

// Slow sends the file in pieces of n bytes with a pause before each.
func Slow(n int, pause time.Duration) Fault {
	return func(a Answer) bool {
		serve(&slow{a.ResponseWriter, n, pause}, a.Request, served{a.Path, a.sum})
		return true
	}
}

type slow struct {
	http.ResponseWriter
	piece int
	pause time.Duration
}

func (s *slow) Write(p []byte) (int, error) {
	done := 0
	for done < len(p) {
		time.Sleep(s.pause)
		n, err := s.ResponseWriter.Write(p[done:min(done+s.piece, len(p))])
		done += n
		if err != nil {
			return done, err
		}
		if err := http.NewResponseController(s.ResponseWriter).Flush(); err != nil {
			return done, err
		}
	}
	return done, nil
}

// Page answers with a web page, as a captive portal does: with 200 OK.
func Page(title string) Fault {
	return func(a Answer) bool {
		a.Header().Set("Content-Type", "text/html; charset=utf-8")
		fmt.Fprintf(a, "<!DOCTYPE html>\n<html>\n<head><title>%s</title></head>\n<body>%s</body></html>\n", title, strings.Repeat("Please accept the terms. ", 50))
		return true
	}
}

// RedirectLoop redirects to itself for ever.
func RedirectLoop() Fault {
	return func(a Answer) bool {
		http.Redirect(a.ResponseWriter, a.Request, a.Request.URL.Path, http.StatusFound)
		return true
	}
}

// Redirect leads somewhere else, as github.com does for its release files.
func Redirect(to string) Fault {
	return func(a Answer) bool {
		http.Redirect(a.ResponseWriter, a.Request, to, http.StatusFound)
		return true
	}
}

// ETag gives the file another version from the nth request on.
func ETag(n int, etag string) Fault {
	return func(a Answer) bool {
		if a.N >= n {
			a.Header().Set("ETag", etag)
		}
		return false
	}
}
