package machine

import (
	"bytes"
	"errors"
	"fmt"
	"mime/multipart"
	"net/textproto"
	"os"
	"path/filepath"
	"strings"

	"github.com/diskfs/go-diskfs/backend/file"
	"github.com/diskfs/go-diskfs/filesystem/iso9660"
	"gopkg.in/yaml.v3"
)

// seedLabel is the volume label by which cloud-init's NoCloud source knows its
// disk.
const seedLabel = "cidata"

// seed is what a guest is told on its first boot.
type seed struct {
	instanceID string
	hostname   string
	mac        string
	user       string
	userKey    string // authorized_keys line
	hostKey    keyPair
	parts      []string // further user data
}

// streamJournal sends the journal to the host as it is written, from the first
// message of each boot to the last, so that there is evidence even of a guest
// whose network never came up. The unit is transient: nothing of it is left on
// the disk. It must not fail the boot where the image has no virtio console.
const streamJournal = `port=/dev/virtio-ports/` + journalPort + `
[ -e "$port" ] || exit 0
systemd-run --quiet --no-block --collect --unit=nodeimage-journal-stream \
  --property=DefaultDependencies=no \
  sh -c "exec journalctl --boot --follow --lines=all --no-pager --output=short-precise >$port" || :`

// files renders the seed's three files.
func (s seed) files() (map[string][]byte, error) {
	userData, err := s.userData()
	if err != nil {
		return nil, err
	}
	metaData, err := yaml.Marshal(map[string]any{"instance-id": s.instanceID, "local-hostname": s.hostname})
	if err != nil {
		return nil, fmt.Errorf("rendering meta-data: %w", err)
	}
	network, err := yaml.Marshal(map[string]any{
		"version": 2,
		"ethernets": map[string]any{"primary": map[string]any{
			"match":       map[string]any{"macaddress": s.mac},
			"addresses":   []string{guestAddress + "/" + guestPrefix},
			"routes":      []map[string]any{{"to": "0.0.0.0/0", "via": guestGateway}},
			"nameservers": map[string]any{"addresses": []string{guestDNS}},
		}},
	})
	if err != nil {
		return nil, fmt.Errorf("rendering network-config: %w", err)
	}
	return map[string][]byte{"user-data": userData, "meta-data": metaData, "network-config": network}, nil
}

// cloudConfig is the suite's own part of the user data.
func (s seed) cloudConfig() ([]byte, error) {
	config := map[string]any{
		// What the image may have shipped is no host's identity.
		"ssh_deletekeys": true,
		"ssh_keys": map[string]any{
			"ed25519_private": s.hostKey.private,
			"ed25519_public":  s.hostKey.public,
		},
		"bootcmd": [][]string{{"sh", "-c", streamJournal}},
	}
	if s.user == "root" {
		config["disable_root"] = false
		config["users"] = []any{}
		config["ssh_authorized_keys"] = []string{s.userKey}
	} else {
		config["users"] = []any{map[string]any{
			"name":                s.user,
			"shell":               "/bin/sh",
			"lock_passwd":         true,
			"sudo":                "ALL=(ALL) NOPASSWD:ALL",
			"ssh_authorized_keys": []string{s.userKey},
		}}
	}
	body, err := yaml.Marshal(config)
	if err != nil {
		return nil, fmt.Errorf("rendering user-data: %w", err)
	}
	return append([]byte("#cloud-config\n"), body...), nil
}

// userData joins the suite's part and the caller's as a MIME archive.
func (s seed) userData() ([]byte, error) {
	own, err := s.cloudConfig()
	if err != nil {
		return nil, err
	}
	if len(s.parts) == 0 {
		return own, nil
	}
	var archive bytes.Buffer
	w := multipart.NewWriter(&archive)
	fmt.Fprintf(&archive, "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=%q\r\n\r\n", w.Boundary())
	for i, part := range append([]string{string(own)}, s.parts...) {
		kind, err := partType(part)
		if err != nil {
			return nil, fmt.Errorf("user data part %d: %w", i, err)
		}
		header := textproto.MIMEHeader{
			"Content-Type":        {kind + `; charset="utf-8"`},
			"Content-Disposition": {fmt.Sprintf(`attachment; filename="part-%d"`, i)},
			// cloud-init's own default would let the later part's lists
			// replace the earlier's, the keys among them.
			"X-Merge-Type": {"list(append)+dict(no_replace,recurse_list)+str()"},
		}
		body, err := w.CreatePart(header)
		if err != nil {
			return nil, fmt.Errorf("rendering user-data: %w", err)
		}
		if _, err := body.Write([]byte(part)); err != nil {
			return nil, fmt.Errorf("rendering user-data: %w", err)
		}
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("rendering user-data: %w", err)
	}
	return archive.Bytes(), nil
}

// partType tells cloud-init's content type from a part's first line.
func partType(part string) (string, error) {
	first, _, _ := strings.Cut(part, "\n")
	switch {
	case strings.TrimRight(first, " \r") == "#cloud-config":
		return "text/cloud-config", nil
	case strings.HasPrefix(first, "#!"):
		return "text/x-shellscript", nil
	case strings.HasPrefix(first, "#cloud-boothook"):
		return "text/cloud-boothook", nil
	}
	return "", fmt.Errorf("the first line is %q: expected #!, #cloud-config or #cloud-boothook", first)
}

// write makes the seed's disk: an ISO 9660 file system with Rock Ridge names,
// since plain ones have no lower case and no dash.
func (s seed) write(path string) (err error) {
	files, err := s.files()
	if err != nil {
		return err
	}
	// The library builds the tree in a directory first; it holds the host key.
	workspace, err := os.MkdirTemp(filepath.Dir(path), "seed-")
	if err != nil {
		return fmt.Errorf("making the seed: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(workspace)) }()
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("making the seed: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()

	const blockSize, maxSize = 2048, 16 << 20
	fs, err := iso9660.Create(file.New(f, false), maxSize, 0, blockSize, workspace)
	if err != nil {
		return fmt.Errorf("making the seed: %w", err)
	}
	for name, content := range files {
		out, err := fs.OpenFile(name, os.O_CREATE|os.O_RDWR)
		if err != nil {
			return fmt.Errorf("making the seed: %s: %w", name, err)
		}
		if _, err := out.Write(content); err != nil {
			return fmt.Errorf("making the seed: %s: %w", name, err)
		}
		if err := out.Close(); err != nil {
			return fmt.Errorf("making the seed: %s: %w", name, err)
		}
	}
	if err := fs.Finalize(iso9660.FinalizeOptions{RockRidge: true, VolumeIdentifier: seedLabel}); err != nil {
		return fmt.Errorf("making the seed: %w", err)
	}
	return nil
}
