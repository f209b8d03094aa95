package validate

import (
	"bytes"
	"context"
	"io/fs"
	"path"
	"slices"
	"strings"
)

func privateKeysPresent() Check {
	return Check{
		ID:         "private-keys-present",
		Title:      "the image holds private keys",
		Why:        `Whoever has the image has the key: of a user, of a certificate, of Debian's "snakeoil" that the package ssl-cert makes once, at build time, for all machines.`,
		Reads:      "files in /etc, /root, /home, /opt and /usr/local whose name or content is that of a key",
		Scope:      "images, not running nodes",
		Fix:        "remove the key; bring it with cloud-init, or make it at first boot",
		Severity:   Error,
		References: []string{"https://systemd.io/BUILDING_IMAGES/", "https://www.rfc-editor.org/rfc/rfc7468"},
		AppliesTo:  (*Node).image,
		Run:        runPrivateKeysPresent,
	}
}

// maxKeyFile is more than any private key takes, in bytes.
const maxKeyFile = 64 << 10

func runPrivateKeysPresent(_ context.Context, n *Node) ([]Finding, error) {
	var names []string
	for _, dir := range []string{"/etc", "/root", "/home", "/opt", "/usr/local"} {
		err := n.walk(dir, func(i item) {
			if i.mode&fs.ModeType == 0 && i.size > 0 && i.size <= maxKeyFile && namedLikeKey(i.path) {
				names = append(names, i.path)
			}
		})
		if err != nil {
			return nil, err
		}
	}
	var found []Finding
	for _, p := range names {
		data, err := n.read(p)
		if err != nil {
			return nil, err
		}
		if line := bytes.Index(data, []byte("PRIVATE KEY-----")); line >= 0 {
			found = append(found, Finding{File: p, Line: 1 + bytes.Count(data[:line], []byte("\n")), Got: "a private key", Want: "none", Fix: "rm " + shellWord(p)})
		} else if ext := path.Ext(p); ext == ".p12" || ext == ".pfx" {
			found = append(found, Finding{File: p, Got: "a key store", Want: "none", Fix: "rm " + shellWord(p)})
		}
	}
	return several(found, 20), nil
}

// namedLikeKey tells whether a file may be a key. Host keys of SSH and a
// cluster's keys have checks of their own.
func namedLikeKey(p string) bool {
	name := path.Base(p)
	if strings.HasPrefix(p, "/etc/ssh/ssh_host_") || strings.HasPrefix(p, "/etc/kubernetes/pki/") {
		return false
	}
	return slices.Contains([]string{".key", ".pem", ".p12", ".pfx", ".ppk"}, path.Ext(name)) ||
		strings.HasPrefix(name, "id_") && path.Ext(name) != ".pub" || strings.HasSuffix(name, "_key") || strings.HasSuffix(name, "-key")
}
