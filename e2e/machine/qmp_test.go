package machine

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const greeting = `{"QMP": {"version": {"qemu": {"micro": 22, "minor": 2, "major": 7}, "package": ""}, "capabilities": ["oob"]}}`

// fakeMonitor answers each line as script says; %d is the command's ID. What
// it has no answer for ends the connection.
func fakeMonitor(t *testing.T, hello string, script map[string]string) net.Conn {
	t.Helper()
	client, server := net.Pipe()
	t.Cleanup(func() { _ = server.Close() })
	go func() {
		defer func() { _ = server.Close() }()
		if _, err := fmt.Fprint(server, hello); err != nil {
			return
		}
		lines := bufio.NewScanner(server)
		for lines.Scan() {
			var c struct {
				Execute string `json:"execute"`
				ID      int    `json:"id"`
			}
			if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
				return
			}
			answer, ok := script[c.Execute]
			if !ok {
				return
			}
			if _, err := fmt.Fprint(server, strings.ReplaceAll(answer, "%d", fmt.Sprint(c.ID))); err != nil {
				return
			}
		}
	}()
	return client
}

func shortContext(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func TestMonitor(t *testing.T) {
	t.Parallel()
	ctx := shortContext(t)
	conn := fakeMonitor(t, greeting+"\r\n", map[string]string{
		"qmp_capabilities": `{"return": {}, "id": %d}` + "\r\n",
		"human-monitor-command": `{"timestamp": {"seconds": 1, "microseconds": 2}, "event": "RESET", "data": {"guest": true, "reason": "guest-reset"}}` + "\r\n" +
			`{"return": "text\r\nmore", "id": %d}` + "\r\n",
		"bad":  `{"id": %d, "error": {"class": "GenericError", "desc": "no such thing"}}` + "\r\n",
		"mute": "",
	})
	var mu sync.Mutex
	var events []string
	var log bytes.Buffer
	m, err := newMonitor(ctx, conn, &log, func(e event) {
		mu.Lock()
		defer mu.Unlock()
		events = append(events, e.Name+" "+string(e.Data))
	})
	if err != nil {
		t.Fatal(err)
	}
	text, err := m.human(ctx, "info usernet")
	if err != nil || text != "text\r\nmore" {
		t.Errorf("got %q, %v", text, err)
	}
	mu.Lock()
	if diff := cmp.Diff([]string{`RESET {"guest": true, "reason": "guest-reset"}`}, events); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	mu.Unlock()
	var refused *qmpError
	if _, err := m.execute(ctx, "bad", nil); !errors.As(err, &refused) || !strings.Contains(err.Error(), "QMP bad: no such thing (GenericError)") {
		t.Errorf("a refused command: %v", err)
	}
	impatient, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	if _, err := m.execute(impatient, "mute", nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a command without an answer: %v", err)
	}
	if _, err := m.execute(ctx, "unknown", nil); err == nil || !strings.Contains(err.Error(), "closed the connection") {
		t.Errorf("a connection that ended: %v", err)
	}
	if _, err := m.execute(ctx, "late", nil); err == nil || !strings.Contains(err.Error(), "closed") {
		t.Errorf("a command after the end: %v", err)
	}
	m.close()
	if got := log.String(); !strings.HasPrefix(got, "< "+greeting) || !strings.Contains(got, `> {"execute":"human-monitor-command","arguments":{"command-line":"info usernet"},"id":2}`) {
		t.Errorf("transcript:\n%s", got)
	}
}

func TestMonitorDoesNotComeUp(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, hello, says string }{
		{"no greeting", "", "deadline"},
		{"another protocol", "HTTP/1.1 400 Bad Request\r\n", "not QMP"},
		{"no answer to the capabilities", greeting + "\n", "qmp_capabilities"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
			defer cancel()
			_, err := newMonitor(ctx, fakeMonitor(t, test.hello, nil), &bytes.Buffer{}, func(event) {})
			if err == nil || !strings.Contains(err.Error(), test.says) {
				t.Errorf("got %v; want it to say %q", err, test.says)
			}
		})
	}
}
