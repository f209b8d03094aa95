package ubuntutest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"time"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/signature"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/signature/signaturetest"
)

// DockerStandIn is what a profile with [Docker] says in standIns.
const DockerStandIn = "Docker's archive (a package containerd.io made here)"

// Docker is a stand-in for Docker's archive for a release of Ubuntu: on
// loopback, signed by a key of its own, with packages of containerd.io's shape.
// Close ends it.
type Docker struct {
	URL     string // http://127.0.0.1:PORT
	Keyring string // the file with the key that signs it, armored
	Signer  string // that key's fingerprint
	// Sums are the packages' sha256 by version.
	Sums map[string]string

	codename string
	files    map[string][]byte
	server   *httptest.Server
}

// Containerd is one version of containerd.io.
type Containerd struct {
	Version string // 2.3.6-1~ubuntu.24.04~noble
	// Programs are containerd, containerd-shim-runc-v2, ctr and runc: paths on
	// this host by name.
	Programs map[string]string
}

// The parts of the package that matter to a node: it turns the CRI off, and it
// starts containerd as soon as it is installed.
const (
	dockerConfig = "disabled_plugins = [\"cri\"]\n"
	dockerUnit   = "[Unit]\nDescription=containerd, stand-in for Docker's\nAfter=network.target\n\n" +
		"[Service]\nType=notify\nExecStart=/usr/bin/containerd\nDelegate=yes\nKillMode=process\nRestart=always\n\n" +
		"[Install]\nWantedBy=multi-user.target\n"
	dockerPostinst = "#!/bin/sh\nset -e\n[ \"$1\" = configure ] || exit 0\ndeb-systemd-helper enable containerd.service >/dev/null\n" +
		"[ ! -d /run/systemd/system ] || deb-systemd-invoke start containerd.service >/dev/null\n"
)

// NewDocker makes the archive in dir, for the release that o names.
func NewDocker(ctx context.Context, dir string, o Options, versions ...Containerd) (*Docker, error) {
	d := &Docker{Keyring: filepath.Join(dir, "docker.asc"), Sums: map[string]string{}, codename: o.Codename, files: map[string][]byte{}}
	key, err := signaturetest.NewKey("Stand-in for Docker", "stand-in@example.org", time.Now().Add(-time.Hour), 0)
	if err != nil {
		return nil, err
	}
	ring, err := key.Keyring(true)
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(d.Keyring, ring, 0o644); err != nil {
		return nil, err
	}
	trusted, err := signature.ReadKeyring(d.Keyring, ring)
	if err != nil {
		return nil, err
	}
	d.Signer = trusted.Fingerprints()[0]
	var stanzas bytes.Buffer
	made := debs{dir: dir, arch: o.Arch, host: o.Host, files: d.files}
	for _, v := range versions {
		p := Package{
			Name: "containerd.io", Version: v.Version, Copies: map[string]string{},
			More: "Provides: containerd, runc\nConflicts: containerd, runc\nReplaces: containerd, runc\n",
			Files: map[string]string{
				"/etc/containerd/config.toml":                dockerConfig,
				"/usr/lib/systemd/system/containerd.service": dockerUnit,
				"/DEBIAN/postinst":                           dockerPostinst,
			},
		}
		for name, path := range v.Programs {
			p.Copies["/usr/bin/"+name] = path
		}
		at := fmt.Sprintf("dists/%s/pool/stable/%s/containerd.io_%s_%[2]s.deb", o.Codename, o.Arch, v.Version)
		stanza, err := made.build(ctx, p, at)
		if err != nil {
			return nil, err
		}
		stanzas.WriteString(stanza)
		sum := sha256.Sum256(d.files[at])
		d.Sums[v.Version] = hex.EncodeToString(sum[:])
	}
	index, err := suite{Origin: "Docker", Suite: o.Codename, Codename: o.Codename, Arch: o.Arch}.index(key, map[string]*bytes.Buffer{"stable": &stanzas}, time.Now().UTC())
	if err != nil {
		return nil, err
	}
	maps.Copy(d.files, index)
	d.server = httptest.NewServer(d)
	d.URL = d.server.URL
	return d, nil
}

// Close ends the server.
func (d *Docker) Close() { d.server.Close() }

// ServeHTTP implements http.Handler.
func (d *Docker) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	data, ok := d.files[r.URL.Path[1:]]
	if !ok {
		http.NotFound(w, r)
		return
	}
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(data))
}

// Source is the archive in a profile's list of sources.
func (d *Docker) Source() string {
	return fmt.Sprintf("    - {uri: %q, suites: [%s], components: [stable], keyring: %q, signer: %s}\n", d.URL, d.codename, d.Keyring, d.Signer)
}
