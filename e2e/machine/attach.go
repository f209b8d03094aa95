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
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
	"golang.org/x/crypto/ssh/knownhosts"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
)

// AttachOptions says how to reach a node that runs already.
type AttachOptions struct {
	// Target is [user@]host[:port]; user is root and port 22 by default. A
	// user other than root needs passwordless sudo on the node.
	Target string

	// KeyFile is a private key without a passphrase. When it is empty, the
	// keys of the SSH agent at the socket Agent are offered.
	KeyFile string

	// Agent is the SSH agent's socket, $SSH_AUTH_SOCK by default. It is asked
	// only when there is no KeyFile.
	Agent string

	// KnownHosts is the file that vouches for the node's host key,
	// ~/.ssh/known_hosts by default. An unknown host is refused.
	KnownHosts string

	// Dir is where CollectJournal writes.
	Dir string
}

// Attach connects to a node that somebody else started. Nothing is stopped or
// removed when the [Guest] is closed. A node that does not answer yet is waited
// for, a minute at most; one that refuses the keys or shows an unknown host key
// is not asked again.
func Attach(ctx context.Context, o AttachOptions) (*Guest, error) {
	user, address, err := parseTarget(o.Target)
	if err != nil {
		return nil, exitcode.BadInput(err)
	}
	auth, release, keyErr := o.keys()
	known, knownErr := readKnownHosts(o.KnownHosts)
	if err := errors.Join(keyErr, knownErr); err != nil {
		return nil, exitcode.BadInput(errors.Join(err, release()))
	}
	check := func(hostname string, remote net.Addr, key ssh.PublicKey) error {
		if err := known(address, remote, key); err != nil {
			return &hostKeyError{fmt.Errorf("%s: %w: add the right key with ssh-keyscan after comparing its fingerprint, %s",
				address, err, ssh.FingerprintSHA256(key))}
		}
		return nil
	}
	g := newGuest(address, user, o.Dir, auth, check, knownAlgorithms(known, address), func(ctx context.Context) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "tcp", address)
	})
	g.onClose = release
	if err := g.attach(ctx); err != nil {
		return nil, exitcode.Transient(fmt.Errorf("attaching: %w", errors.Join(err, g.Close())))
	}
	return g, nil
}

// attach makes the first connection.
func (g *Guest) attach(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, reconnectTimeout, fmt.Errorf("gave up after %s", reconnectTimeout))
	defer cancel()
	for {
		l, err := g.tryAcquire(ctx, handshakeTimeout)
		if err == nil {
			g.release(l)
			return nil
		}
		switch {
		case refused(err):
			return fmt.Errorf("%w: name the key that %s accepts, or add it to the agent", g.connectionError(ctx, err), g.name)
		case final(err):
			return g.connectionError(ctx, err)
		}
		select {
		case <-time.After(retryEvery):
		case <-ctx.Done():
			return g.connectionError(ctx, err)
		}
	}
}

// refused tells whether the server would have none of the keys. Asking again
// would only look like an attack to it. The library has no type for it.
func refused(err error) bool { return strings.Contains(err.Error(), "ssh: unable to authenticate") }

// keys returns how to log in, and what ends that.
func (o AttachOptions) keys() (auth ssh.AuthMethod, release func() error, err error) {
	release = func() error { return nil }
	if o.KeyFile != "" {
		signer, err := readKey(o.KeyFile)
		if err != nil {
			return nil, release, err
		}
		return ssh.PublicKeys(signer), release, nil
	}
	socket := o.Agent
	if socket == "" {
		socket = os.Getenv("SSH_AUTH_SOCK")
	}
	if socket == "" {
		return nil, release, errors.New("no private key was named and SSH_AUTH_SOCK names no agent: expected one of them")
	}
	// It is held as long as the node is: each new connection asks it to sign.
	conn, err := net.Dial("unix", socket)
	if err != nil {
		return nil, release, fmt.Errorf("asking the SSH agent: %w", err)
	}
	client := agent.NewClient(conn)
	keys, err := client.List()
	if err == nil && len(keys) == 0 {
		err = errors.New("it holds no key: add one with ssh-add")
	}
	if err != nil {
		return nil, release, fmt.Errorf("asking the SSH agent at %s: %w", socket, errors.Join(err, conn.Close()))
	}
	return ssh.PublicKeysCallback(client.Signers), conn.Close, nil
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
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading the private key: %w", err)
	}
	signer, err := ssh.ParsePrivateKey(content)
	if err != nil {
		return nil, fmt.Errorf("private key %s: %w: expected an OpenSSH or PEM key without a passphrase; one with a passphrase can be used through an agent", path, err)
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
