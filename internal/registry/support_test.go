package registry

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/attest"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/imagefile"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// node writes an image of size random bytes with its manifest and opens it.
func node(t *testing.T, size int) *imagefile.Image {
	t.Helper()
	data := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{7}).Read(data)
	copy(data, "QFI\xfb\x00\x00\x00\x03\x00\x00\x00\x00\x00\x00\x00\x00") // no backing file
	clear(data[72:80])                                                    // no external data
	path := filepath.Join(t.TempDir(), "node.qcow2")
	must(t, os.WriteFile(path, data, 0o644))
	sum := sha256.Sum256(data)
	text := `{"schema":"nodeimage.dev/manifest/v1","profile":{"name":"debian-13"},"images":[{"file":"node.qcow2","sha256":"` +
		hex.EncodeToString(sum[:]) + `"}],"packages":[{"name":"dpkg","arch":"amd64"}]}`
	must(t, os.WriteFile(filepath.Join(filepath.Dir(path), "node.manifest.json"), []byte(text), 0o644))
	img, err := imagefile.Open(t.Context(), path)
	must(t, err)
	t.Cleanup(img.Close)
	return img
}

// documents are a signed SBOM, a report and a verdict about the image.
func documents(t *testing.T, img *imagefile.Image) []Document {
	t.Helper()
	key, err := attest.GenerateKey(attest.Ed25519)
	must(t, err)
	s, err := attest.NewStatement(attest.Subject{Name: "node.qcow2", SHA256: img.SHA256}, attest.TypeSBOM, []byte(`{"bomFormat":"CycloneDX","specVersion":"1.6","version":1}`), time.Now())
	must(t, err)
	bundle, err := attest.Seal(t.Context(), s, key)
	must(t, err)
	found, err := Statement("node.sbom.sigstore.json", bundle)
	must(t, err)
	report := filepath.Join(t.TempDir(), "validate.json")
	text, err := json.Marshal(map[string]string{"sha256": img.SHA256})
	must(t, err)
	must(t, os.WriteFile(report, text, 0o644))
	d, err := Report(report, img.SHA256)
	must(t, err)
	return append(found, d, Verdict([]byte(`{"passed":true}`)))
}

func open(t *testing.T, reference string, chunk int64) *Repository {
	t.Helper()
	r, err := Open(reference, Options{State: filepath.Join(t.TempDir(), "state"), Chunk: chunk, Logf: t.Logf})
	must(t, err)
	return r
}

func files(t *testing.T, dir string) []string {
	t.Helper()
	var names []string
	must(t, filepath.WalkDir(dir, func(p string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			name, _ := filepath.Rel(dir, p)
			names = append(names, name)
		}
		return err
	}))
	return names
}

// pulledFiles is all that a pull of node with documents brings.
func pulledFiles() []string {
	return []string{
		"attestations/node.cdx.json", "attestations/node.sbom.sigstore.json", "gate-verdict.json",
		"node.manifest.json", "node.qcow2", "reports/validate.json",
	}
}
