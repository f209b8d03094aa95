// Package registrytest runs a real registry for tests, and a client to read it
// with that is not ours.
package registrytest

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Start runs Debian's docker-registry on the loopback address until the test
// ends, and returns its address.
func Start(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	at := l.Addr().String()
	must(t, l.Close())
	dir := t.TempDir()
	config := fmt.Sprintf("version: 0.1\nlog: {level: error}\nstorage: {filesystem: {rootdirectory: %s/data}}\nhttp: {addr: %s, secret: of-a-test}\n", dir, at)
	must(t, os.WriteFile(filepath.Join(dir, "config.yml"), []byte(config), 0o644))
	cmd := exec.Command("docker-registry", "serve", filepath.Join(dir, "config.yml"))
	must(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if response, err := http.Get("http://" + at + "/v2/"); err == nil {
			_ = response.Body.Close() // it answers, which is all
			return at
		} else if time.Now().After(deadline) {
			t.Fatalf("docker-registry never answered: %v", err)
		}
	}
}

// Skopeo runs skopeo and returns what it prints.
func Skopeo(t *testing.T, args ...string) []byte {
	t.Helper()
	cmd := exec.Command("skopeo", args...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("skopeo %s: %v\n%s", strings.Join(args, " "), err, stderr.String())
	}
	return out
}

// Fetch is what skopeo copies into a folder: the manifest and all blobs, whose
// digests it has compared.
func Fetch(t *testing.T, name string) (m ocispec.Manifest, dir string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "copy")
	Skopeo(t, "copy", "--quiet", "--insecure-policy", "--src-tls-verify=false", "docker://"+name, "dir:"+dir)
	text, err := os.ReadFile(filepath.Join(dir, "manifest.json"))
	must(t, err)
	must(t, json.Unmarshal(text, &m))
	return m, dir
}

// Referrers are what refers to a manifest of a repository. This registry has no
// referrers API, so that they are in an index under a tag made of the digest.
func Referrers(t *testing.T, repository, digest string) []ocispec.Descriptor {
	t.Helper()
	var index ocispec.Index
	must(t, json.Unmarshal(Skopeo(t, "inspect", "--raw", "--tls-verify=false", "docker://"+repository+":"+strings.Replace(digest, ":", "-", 1)), &index))
	return index.Manifests
}
