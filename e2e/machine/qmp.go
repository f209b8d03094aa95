package machine

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
)

// monitor speaks QMP, QEMU's line-wise JSON protocol: one command at a time,
// answers matched by ID, events handed to a callback as they come.
type monitor struct {
	conn    net.Conn
	log     io.Writer // both directions, one message a line
	logMu   sync.Mutex
	onEvent func(event)

	mu      sync.Mutex
	next    int
	waiting map[int]chan reply
	err     error         // why reading ended
	closed  chan struct{} // closed when reading ended
}

// event is an asynchronous message of QEMU.
type event struct {
	Name string          `json:"event"`
	Data json.RawMessage `json:"data"`
}

type reply struct {
	ID     int             `json:"id"`
	Return json.RawMessage `json:"return"`
	Error  *qmpError       `json:"error"`
}

// qmpError is QEMU's own refusal of a command.
type qmpError struct {
	Class string `json:"class"`
	Desc  string `json:"desc"`
}

func (e *qmpError) Error() string { return fmt.Sprintf("%s (%s)", e.Desc, e.Class) }

// newMonitor reads the greeting and negotiates; conn is the monitor's to close
// from then on, error or not.
func newMonitor(ctx context.Context, conn net.Conn, log io.Writer, onEvent func(event)) (*monitor, error) {
	m := &monitor{conn: conn, log: log, onEvent: onEvent, waiting: map[int]chan reply{}, closed: make(chan struct{})}
	greeted := make(chan struct{})
	go m.read(greeted)
	select {
	case <-greeted:
	case <-m.closed:
		m.close()
		return nil, fmt.Errorf("waiting for QMP's greeting: %w", m.err)
	case <-ctx.Done():
		m.close()
		return nil, fmt.Errorf("waiting for QMP's greeting: %w", context.Cause(ctx))
	}
	if _, err := m.execute(ctx, "qmp_capabilities", nil); err != nil {
		m.close()
		return nil, err
	}
	return m, nil
}

// read dispatches messages until the connection ends.
func (m *monitor) read(greeted chan<- struct{}) {
	lines := bufio.NewReader(m.conn)
	var err error
	for err == nil {
		var line []byte
		if line, err = lines.ReadBytes('\n'); err == nil {
			err = m.dispatch(line, &greeted)
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.err = err
	for _, answer := range m.waiting {
		close(answer)
	}
	m.waiting = nil
	close(m.closed)
}

func (m *monitor) dispatch(line []byte, greeted *chan<- struct{}) error {
	m.record("<", line)
	var message struct {
		QMP json.RawMessage `json:"QMP"`
		event
		reply
	}
	if err := json.Unmarshal(line, &message); err != nil {
		return fmt.Errorf("QEMU sent what is not QMP: %w", err)
	}
	switch {
	case message.QMP != nil:
		if *greeted != nil {
			close(*greeted)
			*greeted = nil
		}
	case message.Name != "":
		m.onEvent(message.event)
	default:
		m.mu.Lock()
		answer := m.waiting[message.ID]
		delete(m.waiting, message.ID)
		m.mu.Unlock()
		if answer != nil {
			answer <- message.reply
		}
	}
	return nil
}

// execute runs one command and returns what it returned.
func (m *monitor) execute(ctx context.Context, command string, arguments any) (json.RawMessage, error) {
	answer := make(chan reply, 1)
	if err := m.send(command, arguments, answer); err != nil {
		return nil, fmt.Errorf("QMP %s: %w", command, err)
	}
	select {
	case r, ok := <-answer:
		switch {
		case !ok:
			return nil, fmt.Errorf("QMP %s: QEMU closed the connection: %w", command, m.err)
		case r.Error != nil:
			return nil, fmt.Errorf("QMP %s: %w", command, r.Error)
		}
		return r.Return, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("QMP %s: %w", command, context.Cause(ctx))
	}
}

func (m *monitor) send(command string, arguments any, answer chan reply) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.waiting == nil {
		return fmt.Errorf("the connection is closed: %w", m.err)
	}
	m.next++
	message, err := json.Marshal(struct {
		Execute   string `json:"execute"`
		Arguments any    `json:"arguments,omitempty"`
		ID        int    `json:"id"`
	}{command, arguments, m.next})
	if err != nil {
		return err
	}
	m.record(">", append(message, '\n'))
	m.waiting[m.next] = answer
	if _, err := m.conn.Write(append(message, '\n')); err != nil {
		delete(m.waiting, m.next)
		return err
	}
	return nil
}

// human runs a command of the human monitor and returns its text.
func (m *monitor) human(ctx context.Context, line string) (string, error) {
	raw, err := m.execute(ctx, "human-monitor-command", map[string]string{"command-line": line})
	if err != nil {
		return "", err
	}
	var text string
	if err := json.Unmarshal(raw, &text); err != nil {
		return "", fmt.Errorf("QMP human-monitor-command %s: %w", line, err)
	}
	return text, nil
}

// record keeps a transcript as evidence; a full disk there is no reason to
// lose the machine.
func (m *monitor) record(direction string, line []byte) {
	m.logMu.Lock()
	defer m.logMu.Unlock()
	_, _ = fmt.Fprintf(m.log, "%s %s", direction, line)
}

// close ends the connection and waits until no callback runs any more.
func (m *monitor) close() {
	if err := m.conn.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		m.record("!", []byte(err.Error()+"\n"))
	}
	<-m.closed
}
