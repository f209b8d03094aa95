package cloudimage

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/fetch"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/signature/signaturetest"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/store"
	"github.com/nodeimage/packer-plugin-nodeimage/profiles"
)

func sha(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

func newKey(t *testing.T) *signaturetest.Key {
	t.Helper()
	key, err := signaturetest.NewKey("Images", "images@example.org", time.Now().Add(-time.Hour), 0)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func writeKeyring(t *testing.T, key *signaturetest.Key) string {
	t.Helper()
	ring, err := key.Keyring(false)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "images.gpg")
	if err := os.WriteFile(file, ring, 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

func detach(t *testing.T, key *signaturetest.Key, list string) string {
	t.Helper()
	signature, err := key.Detach([]byte(list), time.Now().Add(-time.Minute), true)
	if err != nil {
		t.Fatal(err)
	}
	return string(signature)
}

// serve publishes files in the directory of a release and returns its address.
func serve(t *testing.T, files map[string]string) string {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		content, ok := files[strings.TrimPrefix(r.URL.Path, "/20251113/")]
		if !ok {
			http.NotFound(w, r)
			return
		}
		_, _ = w.Write([]byte(content))
	}))
	t.Cleanup(srv.Close)
	return srv.URL + "/20251113/"
}

const name = "noble-server-cloudimg-amd64.img"

func TestSigner(t *testing.T) {
	t.Parallel()
	key, other := newKey(t), newKey(t)
	ring := writeKeyring(t, key)
	image := []byte("the image")
	list := sha([]byte("another")) + " *noble.tar\n" + sha(image) + " *" + name + "\n"
	good := map[string]string{"SHA256SUMS": list, "SHA256SUMS.gpg": detach(t, key, list)}
	with := func(changes map[string]string) map[string]string {
		files := map[string]string{}
		for _, m := range []map[string]string{good, changes} {
			for name, content := range m {
				files[name] = content
			}
		}
		return files
	}
	otherList := strings.Replace(list, sha(image), sha([]byte("changed")), 1)
	missing := sha(image) + " *other.img\n"
	for what, tt := range map[string]struct {
		files  map[string]string
		change func(*profiles.CloudImage)
		want   []string // in the error; none for no error
		code   int
	}{
		"signed": {files: good},
		"another key": {with(map[string]string{"SHA256SUMS.gpg": detach(t, other, list)}), nil,
			[]string{"SHA256SUMS, as ", "the signature is not to be trusted", "it was made with a key that is not in the keyring " + ring, "check base.cloudImage.sums.keyring"}, exitcode.Usage},
		"changed list": {with(map[string]string{"SHA256SUMS": otherList}), nil, []string{"the signature is not to be trusted", "check base.cloudImage.sums.keyring"}, exitcode.Usage},
		"another sum": {with(map[string]string{"SHA256SUMS": otherList, "SHA256SUMS.gpg": detach(t, key, otherList)}), nil,
			[]string{"signed by Images <images@example.org>", "says that " + name + " has sha256 " + sha([]byte("changed")), "base.cloudImage.sha256 of the profile is " + sha(image)}, exitcode.Usage},
		"not in it": {with(map[string]string{"SHA256SUMS": missing, "SHA256SUMS.gpg": detach(t, key, missing)}), nil,
			[]string{"none of its 1 files is called " + name, "name the list that lies beside the image"}, exitcode.Usage},
		"no list": {with(map[string]string{"SHA256SUMS": "<html><title>Log in</title></html>"}), nil,
			[]string{`fetching the sums of the cloud image from`, `found a web page, "Log in", instead of the file`}, exitcode.Infrastructure},
		"no signature": {map[string]string{"SHA256SUMS": list}, nil, []string{`fetching the signature of the sums of the cloud image`, "404 Not Found"}, exitcode.Usage},
		"not the signer": {good, func(c *profiles.CloudImage) { c.Sums.Signer = strings.Repeat("A", 40) },
			[]string{"is signed by Images <images@example.org>", "expected the key " + strings.Repeat("A", 40)}, exitcode.Usage},
		"no keyring": {good, func(c *profiles.CloudImage) { c.Sums.Keyring = "/nowhere/x.gpg" },
			[]string{"base.cloudImage.sums.keyring /nowhere/x.gpg is not on this host"}, exitcode.Usage},
		"none is signed": {good, func(c *profiles.CloudImage) { c.Sums = profiles.SignedSums{} }, nil, 0},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			url := serve(t, tt.files)
			c := profiles.CloudImage{URL: url + name, SHA256: sha(image), Sums: profiles.SignedSums{URL: url + "SHA256SUMS", Keyring: ring}}
			if tt.change != nil {
				tt.change(&c)
			}
			got, err := Signer(t.Context(), fetch.New(fetch.Options{Dir: t.TempDir()}), c)
			if len(tt.want) == 0 {
				if err != nil || (got == "") != (c.Sums.URL == "") {
					t.Errorf("got %q, %v", got, err)
				}
				return
			}
			if err == nil || exitcode.Of(err) != tt.code || got != "" {
				t.Fatalf("got %q, exit code %d, %v", got, exitcode.Of(err), err)
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q is not said in: %v", want, err)
				}
			}
		})
	}
}

func TestGet(t *testing.T) {
	t.Parallel()
	image := strings.Repeat("the image", 1000)
	pinned := sha([]byte(image))
	get := func(t *testing.T, s *store.Store, content string, offline bool) error {
		t.Helper()
		var client *fetch.Client
		if !offline {
			client = fetch.New(fetch.Options{Dir: filepath.Join(s.Dir(), "downloads")})
		}
		url := serve(t, map[string]string{name: content})
		file, err := Get(t.Context(), client, s, profiles.CloudImage{URL: url + name, SHA256: pinned})
		if err == nil {
			got, readErr := os.ReadFile(file)
			if readErr != nil || string(got) != image {
				t.Errorf("%s has %d bytes, %v", file, len(got), readErr)
			}
		}
		return err
	}
	open := func(t *testing.T) *store.Store {
		t.Helper()
		s, err := store.Open(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	t.Run("kept", func(t *testing.T) {
		t.Parallel()
		s := open(t)
		if err := get(t, s, image, true); exitcode.Of(err) != exitcode.Usage || !strings.Contains(err.Error(), "nothing is fetched offline") {
			t.Errorf("offline, not there: %v", err)
		}
		if err := get(t, s, image, false); err != nil {
			t.Fatal(err)
		}
		if err := get(t, s, "nothing is asked for it", true); err != nil {
			t.Errorf("offline, kept: %v", err)
		}
	})
	for what, tt := range map[string]struct {
		content string
		want    []string
		code    int
	}{
		"changed": {strings.Replace(image, "the", "teh", 1), []string{"fetching the cloud image from", "expected " + pinned, "nothing of it was kept"}, exitcode.Usage},
		"short":   {image[:5000], []string{"expected " + pinned}, exitcode.Usage},
		"portal":  {"<!DOCTYPE html><title>Welcome</title>", []string{`found a web page, "Welcome", instead of the file`, "captive portal"}, exitcode.Infrastructure},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			s := open(t)
			err := get(t, s, tt.content, false)
			if err == nil || exitcode.Of(err) != tt.code {
				t.Fatalf("exit code %d: %v", exitcode.Of(err), err)
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q is not said in: %v", want, err)
				}
			}
			if _, ok := s.Blob(pinned); ok {
				t.Error("it was kept")
			}
		})
	}
}

func TestSumOf(t *testing.T) {
	t.Parallel()
	a, b := sha([]byte("a")), sha([]byte("b"))
	for list, want := range map[string]string{
		a + " *x.img\n" + b + " *y.img\n":   a,
		b + "  y.img\r\n" + a + "  ./x.img": a,
		a + " *x.img\n" + a + " *x.img\n":   a,
		a + " *x.img\n" + b + " *x.img\n":   "it has two sums for x.img",
		a + " *dir/x.img\n":                 "none of its 1 files is called x.img",
		a + "x.img\nhello\n":                "found no line of a sha256 and a file",
		"":                                  "found no line of a sha256 and a file",
	} {
		got, err := sumOf([]byte(list), "x.img")
		if err != nil {
			got = err.Error()
		}
		if !strings.Contains(got, want) {
			t.Errorf("of %q got %q, expected %q", list, got, want)
		}
	}
}

func TestFormat(t *testing.T) {
	t.Parallel()
	disk := make([]byte, 4096)
	put := func(at int, text string) []byte {
		b := slices.Clone(disk)
		copy(b[at:], text)
		return b
	}
	for what, tt := range map[string]struct {
		content []byte
		want    string
	}{
		"qcow2":        {put(0, "QFI\xfb\x00\x00\x00\x03"), "qcow2"},
		"backing file": {put(0, "QFI\xfb\x00\x00\x00\x03\x00\x00\x00\x00\x00\x00\x02\x00"), "found a qcow2 with a backing file"},
		"raw":          {put(512, "EFI PART"), "raw"},
		"fixed VHD":    {put(4096-512, "conectix"), "vhd"},
		"dynamic VHD":  {append(put(0, "conectix"), put(0, "conectix")[:512]...), "vhd"},
		"cut VHD":      {put(0, "conectix"), "found a VHD that is cut short"},
		"gzip":         {put(0, "\x1f\x8b\x08"), "compressed with gzip"},
		"web page":     {put(0, "<html>"), "found a file that is a text, as of a web page"},
		"short":        {[]byte("QFI\xfb"), "found a file of 4 bytes"},
		"empty":        {nil, "found a file of 0 bytes"},
	} {
		got, err := format(bytes.NewReader(tt.content), int64(len(tt.content)))
		if err != nil {
			got = err.Error()
		}
		if !strings.Contains(got, tt.want) {
			t.Errorf("%s: got %q, expected %q", what, got, tt.want)
		}
	}
}

func TestACLForUse(t *testing.T) {
	t.Parallel()
	const stored = "01000000 01000700 02000500e8030000 04000500 08000700 32000000 10000700 20000500"
	const want = "02000000 01000700ffffffff 02000500e8030000 04000500ffffffff 0800070032000000 10000700ffffffff 20000500ffffffff"
	decode := func(text string) []byte {
		b, err := hex.DecodeString(strings.ReplaceAll(text, " ", ""))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	got, err := aclForUse(decode(stored))
	if err != nil || !bytes.Equal(got, decode(want)) {
		t.Errorf("got %x, %v", got, err)
	}
	for _, bad := range []string{"", "010000", "02000000", "0100000001", "010000000200050001"} {
		if got, err := aclForUse(decode(bad)); err == nil {
			t.Errorf("%q gave %x", bad, got)
		}
	}
}
