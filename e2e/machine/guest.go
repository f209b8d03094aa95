package machine

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
)

const (
	// sessionsPerConnection stays below sshd's MaxSessions of 10.
	sessionsPerConnection = 8

	// handshakeTimeout is long because a guest under TCG that starts a
	// cluster takes seconds to answer.
	handshakeTimeout = 30 * time.Second

	// A connection is given up when no answer came for keepAliveTimeout; it
	// is asked every keepAliveEvery.
	keepAliveEvery   = 10 * time.Second
	keepAliveTimeout = 60 * time.Second

	// reconnectTimeout bounds how long a command waits for a node that was
	// there before and is not now.
	reconnectTimeout = 60 * time.Second
	retryEvery       = 500 * time.Millisecond
)

// Guest is a node behind an SSH server. Connections are made when they are
// needed, shared, watched by keep-alives, and made again after they broke.
type Guest struct {
	name   string // for errors
	user   string
	dir    string // evidence
	config *ssh.ClientConfig
	open   func(ctx context.Context) (net.Conn, error)
	gone   <-chan struct{} // closed when the node cannot come back; nil if it always may
	why    func() error    // why it is gone

	onClose func() error // may be nil

	mu     sync.Mutex
	links  []*link
	closed bool
}

// link is one SSH connection and the number of sessions on it.
type link struct {
	client   *ssh.Client
	sessions int
	dead     chan struct{}
}

// newGuest returns a guest that logs in as user by auth and accepts only
// the host keys that hostKey accepts.
func newGuest(name, user, dir string, auth ssh.AuthMethod, hostKey ssh.HostKeyCallback, algorithms []string, open func(context.Context) (net.Conn, error)) *Guest {
	return &Guest{
		name: name, user: user, dir: dir, open: open,
		config: &ssh.ClientConfig{
			User:              user,
			Auth:              []ssh.AuthMethod{auth},
			HostKeyCallback:   hostKey,
			HostKeyAlgorithms: algorithms,
		},
	}
}

// connect makes one connection, trying once; a server that does not introduce
// itself within patience is not there.
func (g *Guest) connect(ctx context.Context, patience time.Duration) (*link, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, handshakeTimeout, fmt.Errorf("no SSH handshake within %s", handshakeTimeout))
	defer cancel()
	conn, err := g.open(ctx)
	if err != nil {
		return nil, err
	}
	// The handshake does not know about contexts; closing its connection
	// ends it.
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	greeted, err := awaitBanner(conn, patience)
	var (
		c        ssh.Conn
		channels <-chan ssh.NewChannel
		requests <-chan *ssh.Request
	)
	if err == nil {
		c, channels, requests, err = ssh.NewClientConn(greeted, g.name, g.config)
	}
	if err == nil && !stop() {
		err = context.Cause(ctx)
	}
	if err != nil {
		_ = conn.Close() // the handshake's own error says more
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return nil, err
	}
	l := &link{client: ssh.NewClient(c, channels, requests), dead: make(chan struct{})}
	go l.watch()
	return l, nil
}

// bufferedConn is a connection of which a little was read ahead.
type bufferedConn struct {
	net.Conn
	reader *bufio.Reader
}

func (c bufferedConn) Read(p []byte) (int, error) { return c.reader.Read(p) }

// awaitBanner waits for the first byte of the server. QEMU's user network
// accepts a connection long before the guest can, and holds it: waiting out a
// handshake on each would find a booted guest late, and asking on a connection
// of its own would count as a failed login (sshd's PerSourcePenalties).
func awaitBanner(conn net.Conn, patience time.Duration) (net.Conn, error) {
	if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return nil, err
	}
	reader := bufio.NewReader(conn)
	if _, err := reader.Peek(1); err != nil {
		return nil, fmt.Errorf("waiting for the SSH server's first byte: %w", err)
	}
	return bufferedConn{conn, reader}, conn.SetReadDeadline(time.Time{})
}

// watch closes the connection when the other side stopped answering, and
// l.dead when it is closed.
func (l *link) watch() {
	ended := make(chan struct{})
	go func() {
		_ = l.client.Wait() // why does not matter: whoever used it gets an error
		close(ended)
	}()
	defer close(l.dead)
	tick := time.NewTicker(keepAliveEvery)
	defer tick.Stop()
	for {
		select {
		case <-ended:
			return
		case <-tick.C:
		}
		answered := make(chan struct{})
		go func() {
			defer close(answered)
			_, _, _ = l.client.SendRequest("keepalive@openssh.com", true, nil)
		}()
		timer := time.NewTimer(keepAliveTimeout)
		select {
		case <-answered:
		case <-ended:
		case <-timer.C:
			_ = l.client.Close() // ends the wait above
		}
		timer.Stop()
	}
}

// acquire returns a connection with room for one more session, made now if
// there is none. It tries for reconnectTimeout at most.
func (g *Guest) acquire(ctx context.Context) (*link, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, reconnectTimeout, fmt.Errorf("gave up after %s", reconnectTimeout))
	defer cancel()
	for {
		l, err := g.tryAcquire(ctx, handshakeTimeout)
		if err == nil {
			return l, nil
		}
		if final(err) || ctx.Err() != nil {
			return nil, g.connectionError(ctx, err)
		}
		select {
		case <-time.After(retryEvery):
		case <-g.gone:
			return nil, fmt.Errorf("%w: %s: %w", ErrConnection, g.name, g.why())
		case <-ctx.Done():
			return nil, g.connectionError(ctx, err)
		}
	}
}

// final tells errors that no further attempt can change.
func final(err error) bool {
	var mismatch *hostKeyError
	return errors.Is(err, errClosed) || errors.As(err, &mismatch)
}

var errClosed = errors.New("the machine was closed")

// hostKeyError is a server that is not the one the keys were made for.
type hostKeyError struct{ err error }

func (e *hostKeyError) Error() string { return "host key: " + e.err.Error() }
func (e *hostKeyError) Unwrap() error { return e.err }

func (g *Guest) connectionError(ctx context.Context, err error) error {
	select {
	case <-g.gone:
		return fmt.Errorf("%w: %s: %w", ErrConnection, g.name, g.why())
	default:
	}
	if cause := context.Cause(ctx); cause != nil && !errors.Is(err, cause) {
		return fmt.Errorf("%w: %s@%s: %w (%w)", ErrConnection, g.user, g.name, err, cause)
	}
	return fmt.Errorf("%w: %s@%s: %w", ErrConnection, g.user, g.name, err)
}

func (g *Guest) tryAcquire(ctx context.Context, patience time.Duration) (*link, error) {
	if l, err := g.reuse(); l != nil || err != nil {
		return l, err
	}
	l, err := g.connect(ctx, patience)
	if err != nil {
		return nil, err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		_ = l.client.Close()
		return nil, errClosed
	}
	l.sessions++
	g.links = append(g.links, l)
	return l, nil
}

// reuse returns a living connection with room, or nil, and forgets dead ones.
func (g *Guest) reuse() (*link, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return nil, errClosed
	}
	living := g.links[:0]
	for _, l := range g.links {
		select {
		case <-l.dead:
		default:
			living = append(living, l)
		}
	}
	clear(g.links[len(living):])
	g.links = living
	for _, l := range g.links {
		if l.sessions < sessionsPerConnection {
			l.sessions++
			return l, nil
		}
	}
	return nil, nil
}

func (g *Guest) release(l *link) {
	g.mu.Lock()
	defer g.mu.Unlock()
	l.sessions--
}

// drop closes all connections; the next command makes a new one.
func (g *Guest) drop() {
	g.mu.Lock()
	links := g.links
	g.links = nil
	g.mu.Unlock()
	for _, l := range links {
		_ = l.client.Close() // it may be dead already
		<-l.dead
	}
}

// Close ends all connections for good. The node itself goes on.
func (g *Guest) Close() error {
	g.mu.Lock()
	was := g.closed
	g.closed = true
	g.mu.Unlock()
	g.drop()
	if g.onClose != nil && !was {
		return g.onClose()
	}
	return nil
}

// Dial implements Node: the connection leaves from the node itself. It counts
// as no session of the SSH server's.
func (g *Guest) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	l, err := g.acquire(ctx)
	if err != nil {
		return nil, err
	}
	defer g.release(l)
	conn, err := onLink(ctx, l, func() (net.Conn, error) { return l.client.Dial(network, address) })
	if err != nil {
		return nil, fmt.Errorf("%s: dialling %s %s from the node: %w", g.name, network, address, err)
	}
	return conn, nil
}
