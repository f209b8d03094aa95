// Package upstreamtest is a stand-in for the places that upstream projects
// publish their releases at: a server on loopback with files of upstream's
// shape under upstream's paths, made from any programs, which misbehaves when
// it is told to.
//
// The file at https://HOST/PATH is served at URL/HOST/PATH, so that a mirror
// for each host (Settings) leads profiles with upstream's own addresses here.
package upstreamtest

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
)

// Server is the stand-in. Its methods may be called at any time.
type Server struct {
	URL string // http://127.0.0.1:PORT

	dir      string // of files that were made here
	server   *httptest.Server
	mu       sync.Mutex
	files    map[string]served
	faults   map[string]Fault
	requests map[string][]*http.Request
	hosts    map[string]bool
}

// served is one file.
type served struct {
	path   string // on this machine
	sha256 string
}

// New starts a server that keeps what it makes in dir. Close ends it.
func New(dir string) *Server {
	s := &Server{dir: dir, files: map[string]served{}, faults: map[string]Fault{}, requests: map[string][]*http.Request{}, hosts: map[string]bool{}}
	s.server = httptest.NewServer(s)
	s.URL = s.server.URL
	return s
}

// Close ends the server and breaks its connections.
func (s *Server) Close() {
	s.server.CloseClientConnections()
	s.server.Close()
}

// key turns an upstream address into the path that it is served at.
func key(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return address
	}
	return path.Join("/", u.Host, u.Path)
}

// Settings are the mirrors that lead here, HOST=URL, for --mirror or
// NODEIMAGE_MIRRORS.
func (s *Server) Settings() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var settings []string
	for _, host := range slices.Sorted(maps.Keys(s.hosts)) {
		settings = append(settings, host+"="+s.URL+"/"+host)
	}
	return settings
}

// AddFile serves the file at path under an upstream address, and returns its
// sha256 in hexadecimal. The file must not change.
func (s *Server) AddFile(address, path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	hash := sha256.New()
	if _, err := io.Copy(hash, f); err != nil {
		return "", err
	}
	sum := hex.EncodeToString(hash.Sum(nil))
	u, err := url.Parse(address)
	if err != nil {
		return "", err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.files[key(address)] = served{path, sum}
	s.hosts[u.Host] = true
	return sum, nil
}

// Add serves content under an upstream address, and returns its sha256.
func (s *Server) Add(address string, content []byte) (string, error) {
	f, err := os.CreateTemp(s.dir, "served-*")
	if err != nil {
		return "", err
	}
	_, err = f.Write(content)
	if closeErr := f.Close(); err != nil || closeErr != nil {
		return "", fmt.Errorf("keeping %s: %w", address, firstError(err, closeErr))
	}
	return s.AddFile(address, f.Name())
}

// Misbehave lets fault answer for an upstream address from now on; nil stops
// it.
func (s *Server) Misbehave(address string, fault Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults[key(address)] = fault
}

// Fault is what answers for an upstream address, or nil.
func (s *Server) Fault(address string) Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.faults[key(address)]
}

// Requests are those that came for an upstream address, in their order.
func (s *Server) Requests(address string) []*http.Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.requests[key(address)])
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	at := path.Clean(r.URL.Path)
	s.mu.Lock()
	s.requests[at] = append(s.requests[at], r)
	n := len(s.requests[at])
	file, found := s.files[at]
	fault := s.faults[at]
	s.mu.Unlock()
	if fault != nil {
		answer := Answer{ResponseWriter: w, Request: r, N: n, Path: file.path, sum: file.sha256}
		if fault(answer) {
			return
		}
	}
	if !found {
		http.NotFound(w, r)
		return
	}
	serve(w, r, file)
}

// serve answers as upstream does, ranges and ETag included.
func serve(w http.ResponseWriter, r *http.Request, file served) {
	f, err := os.Open(file.path)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	if w.Header().Get("ETag") == "" {
		w.Header().Set("ETag", `"`+file.sha256[:32]+`"`)
	}
	http.ServeContent(w, r, "", info.ModTime(), f)
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// keep puts a program that is given by its content on disk; it is served, not run.
func (s *Server) keep(name, content string) (string, error) {
	file := filepath.Join(s.dir, strings.ReplaceAll(name, "/", "_"))
	return file, os.WriteFile(file, []byte(content), 0o755)
}
