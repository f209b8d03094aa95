package machine

import (
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/mail"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/diskfs/go-diskfs/backend/file"
	"github.com/diskfs/go-diskfs/filesystem/iso9660"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/ssh"
	"gopkg.in/yaml.v3"
)

// readSeed reads back a seed's files by their real names.
func readSeed(path string) (map[string][]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	fs, err := iso9660.Read(file.New(f, true), info.Size(), 0, 2048)
	if err != nil {
		return nil, err
	}
	if label := strings.TrimRight(fs.Label(), "\x00 "); label != seedLabel {
		return nil, fmt.Errorf("label %q: expected %q", label, seedLabel)
	}
	files := map[string][]byte{}
	entries, err := fs.ReadDir(".")
	if err != nil {
		return nil, err
	}
	for _, entry := range entries {
		in, err := fs.OpenFile(entry.Name(), os.O_RDONLY)
		if err != nil {
			return nil, err
		}
		if files[entry.Name()], err = io.ReadAll(in); err != nil {
			return nil, err
		}
	}
	return files, nil
}

func testSeed(t *testing.T) seed {
	t.Helper()
	hostKey, err := newKeyPair("node")
	if err != nil {
		t.Fatal(err)
	}
	return seed{instanceID: "i-1", hostname: "node", mac: "52:54:00:01:02:03", user: "root", userKey: "ssh-ed25519 AAAA me", hostKey: hostKey}
}

func TestSeedIsReadBack(t *testing.T) {
	t.Parallel()
	s := testSeed(t)
	dir := t.TempDir()
	path := filepath.Join(dir, "seed.iso")
	if err := s.write(path); err != nil {
		t.Fatal(err)
	}
	got, err := readSeed(path)
	if err != nil {
		t.Fatal(err)
	}
	want, err := s.files()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the files differ (-want +got):\n%s", diff)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != 1 {
		t.Errorf("beside the seed there is more: %v", entries)
	}
	if info, _ := os.Stat(path); info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v: the seed holds a private key", info.Mode())
	}
}

func TestSeedContent(t *testing.T) {
	t.Parallel()
	s := testSeed(t)
	files, err := s.files()
	if err != nil {
		t.Fatal(err)
	}
	var network struct {
		Version   int
		Ethernets map[string]struct {
			Match       map[string]string
			Addresses   []string
			Routes      []map[string]string
			Nameservers map[string][]string
		}
	}
	if err := yaml.Unmarshal(files["network-config"], &network); err != nil {
		t.Fatal(err)
	}
	nic := network.Ethernets["primary"]
	if nic.Match["macaddress"] != s.mac || nic.Addresses[0] != "10.0.2.15/24" || nic.Routes[0]["via"] != "10.0.2.2" || nic.Nameservers["addresses"][0] != "10.0.2.3" {
		t.Errorf("network-config:\n%s", files["network-config"])
	}
	if got, want := string(files["meta-data"]), "instance-id: i-1\nlocal-hostname: node\n"; got != want {
		t.Errorf("meta-data %q: want %q", got, want)
	}
	user := map[string]any{}
	if !strings.HasPrefix(string(files["user-data"]), "#cloud-config\n") {
		t.Fatalf("user-data begins with %.20q", files["user-data"])
	}
	if err := yaml.Unmarshal(files["user-data"], &user); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]any{s.userKey}, user["ssh_authorized_keys"]); diff != "" {
		t.Errorf("ssh_authorized_keys (-want +got):\n%s", diff)
	}
	if user["disk_setup"] != nil || user["disable_root"] != false || user["ssh_deletekeys"] != true {
		t.Errorf("user-data:\n%s", files["user-data"])
	}
	private := user["ssh_keys"].(map[string]any)["ed25519_private"].(string)
	signer, err := ssh.ParsePrivateKey([]byte(private))
	if err != nil {
		t.Fatal(err)
	}
	if string(signer.PublicKey().Marshal()) != string(s.hostKey.signer.PublicKey().Marshal()) {
		t.Error("the seed's host key is another than the client expects")
	}
}

func TestSeedForAnotherUser(t *testing.T) {
	t.Parallel()
	s := testSeed(t)
	s.user = "admin"
	files, err := s.files()
	if err != nil {
		t.Fatal(err)
	}
	var user struct {
		Users []struct {
			Name, Sudo string
			Keys       []string `yaml:"ssh_authorized_keys"`
		}
		Root []string `yaml:"ssh_authorized_keys"`
	}
	if err := yaml.Unmarshal(files["user-data"], &user); err != nil {
		t.Fatal(err)
	}
	if len(user.Users) != 1 || user.Users[0].Name != "admin" || user.Users[0].Sudo != "ALL=(ALL) NOPASSWD:ALL" || user.Users[0].Keys[0] != s.userKey {
		t.Errorf("users: %+v", user.Users)
	}
	if len(user.Root) != 0 {
		t.Errorf("root got keys, too: %v", user.Root)
	}
}

func TestSeedJoinsUserData(t *testing.T) {
	t.Parallel()
	s := testSeed(t)
	s.parts = []string{"#cloud-config\nruncmd: [[touch, /x]]\n", "#!/bin/sh\necho hello\n"}
	data, err := s.userData()
	if err != nil {
		t.Fatal(err)
	}
	message, err := mail.ReadMessage(strings.NewReader(string(data)))
	if err != nil {
		t.Fatal(err)
	}
	kind, params, err := mime.ParseMediaType(message.Header.Get("Content-Type"))
	if err != nil || kind != "multipart/mixed" {
		t.Fatalf("content type %q: %v", kind, err)
	}
	own, err := s.cloudConfig()
	if err != nil {
		t.Fatal(err)
	}
	type part struct{ Type, Merge, Body string }
	merge := "list(append)+dict(no_replace,recurse_list)+str()"
	want := []part{
		{`text/cloud-config; charset="utf-8"`, merge, string(own)},
		{`text/cloud-config; charset="utf-8"`, merge, s.parts[0]},
		{`text/x-shellscript; charset="utf-8"`, merge, s.parts[1]},
	}
	var got []part
	reader := multipart.NewReader(message.Body, params["boundary"])
	for {
		p, err := reader.NextRawPart()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(p)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, part{p.Header.Get("Content-Type"), p.Header.Get("X-Merge-Type"), string(body)})
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("parts (-want +got):\n%s", diff)
	}
}
