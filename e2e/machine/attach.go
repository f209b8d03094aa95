package machine

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
)

// AttachOptions says how to reach a node that runs already.
type AttachOptions struct {
	// Target is [user@]host[:port]; user is root and port 22 by default. A
	// user other than root needs passwordless sudo on the node.
	Target string

	// KeyFile is a private key without a passphrase.
	KeyFile string

	// KnownHosts is the file that vouches for the node's host key,
	// ~/.ssh/known_hosts by default. An unknown host is refused.
	KnownHosts string

	// Dir is where CollectJournal writes.
	Dir string
}

// Attach connects to a node that somebody else started. Nothing is stopped or
// removed when the [Guest] is closed.
func Attach(ctx context.Context, o AttachOptions) (*Guest, error) {
	user, address, err := parseTarget(o.Target)
	if err != nil {
		return nil, exitcode.BadInput(err)
	}
	signer, keyErr := readKey(o.KeyFile)
	known, knownErr := readKnownHosts(o.KnownHosts)
	if err := errors.Join(keyErr, knownErr); err != nil {
		return nil, exitcode.BadInput(err)
	}
	check := func(hostname string, remote net.Addr, key ssh.PublicKey) error {
		if err := known(address, remote, key); err != nil {
			return &hostKeyError{fmt.Errorf("%s: %w: add the right key with ssh-keyscan after comparing its fingerprint, %s",
				address, err, ssh.FingerprintSHA256(key))}
		}
		return nil
	}
	g := newGuest(address, user, o.Dir, signer, check, knownAlgorithms(known, address), func(ctx context.Context) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "tcp", address)
	})
	l, err := g.acquire(ctx)
	if err != nil {
		return nil, exitcode.Transient(fmt.Errorf("attaching: %w", err))
	}
	g.release(l)
	return g, nil
}

// parseTarget splits [user@]host[:port].
func parseTarget(target string) (user, address string, err error) {
	user, host, found := strings.Cut(target, "@")
	if !found {
		user, host = "root", target
	}
	port := "22"
	if h, p, err := net.SplitHostPort(host); err == nil {
		host, port = h, p
	} else {
		host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if user == "" || host == "" || err != nil || n == 0 || strings.ContainsAny(host, "@/ ") {
		return "", "", fmt.Errorf("target %q: expected [user@]host[:port]", target)
	}
	return user, net.JoinHostPort(host, port), nil
}

func readKey(path string) (ssh.Signer, error) {
	if path == "" {
		return nil, errors.New("no private key was named")
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading the private key: %w", err)
	}
	signer, err := ssh.ParsePrivateKey(content)
	if err != nil {
		return nil, fmt.Errorf("private key %s: %w: expected an OpenSSH or PEM key without a passphrase", path, err)
	}
	return signer, nil
}

func readKnownHosts(path string) (ssh.HostKeyCallback, error) {
	if path == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return nil, fmt.Errorf("no known_hosts file was named: %w", err)
		}
		path = filepath.Join(home, ".ssh", "known_hosts")
	}
	known, err := knownhosts.New(path)
	if err != nil {
		return nil, fmt.Errorf("known hosts: %w", err)
	}
	return known, nil
}

// knownAlgorithms returns the signature algorithms of the keys that are known
// for address: a server that has several keys must show one of those, not the
// one that it would rather. It returns nil, any, for an unknown host, so that
// the refusal names the key that came.
func knownAlgorithms(known ssh.HostKeyCallback, address string) []string {
	var mismatch *knownhosts.KeyError
	if !errors.As(known(address, &net.TCPAddr{}, unknownKey{}), &mismatch) {
		return nil
	}
	var algorithms []string
	for _, k := range mismatch.Want {
		if t := k.Key.Type(); t == ssh.KeyAlgoRSA {
			algorithms = append(algorithms, ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256)
		} else {
			algorithms = append(algorithms, t)
		}
	}
	return algorithms
}

// unknownKey is a key that no file can know; asking for it makes knownhosts
// tell which it does know.
type unknownKey struct{}

func (unknownKey) Type() string                        { return "unknown" }
func (unknownKey) Marshal() []byte                     { return nil }
func (unknownKey) Verify([]byte, *ssh.Signature) error { return errors.New("no key") }
