package machine

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
	"sync"
	"time"
)

const (
	consolePoll = 100 * time.Millisecond

	// consoleIdle without growth makes a line of what has no line break yet:
	// a prompt has none.
	consoleIdle = time.Second

	// consoleTail is how many lines an error quotes.
	consoleTail = 20
)

// console follows a guest's serial console while QEMU writes it to a file.
type console struct {
	path    string
	known   []fault
	onFault func(fault, Finding) // called from the follower for stuck and dead

	stop chan struct{}
	done chan struct{}

	mu       sync.Mutex
	partial  []byte
	judged   bool // the partial line was looked at already
	line     int  // complete lines so far
	tail     []string
	kernel   bool // a kernel has spoken
	int3     bool // the last oops was a breakpoint's; its code has not come yet
	slipped  bool // one was at a place that holds no breakpoint
	findings []Finding
	grew     time.Time
	err      error
}

// followConsole begins to follow the file, which may not exist yet.
func followConsole(path string, onFault func(fault, Finding)) *console {
	c := &console{
		path: path, known: faults(), onFault: onFault, grew: time.Now(),
		stop: make(chan struct{}), done: make(chan struct{}),
	}
	go c.follow()
	return c
}

func (c *console) follow() {
	defer close(c.done)
	var f *os.File
	defer func() {
		if f != nil {
			_ = f.Close() // only read
		}
	}()
	tick := time.NewTicker(consolePoll)
	defer tick.Stop()
	for last := false; ; {
		if f == nil {
			var err error
			if f, err = os.Open(c.path); err != nil && !errors.Is(err, os.ErrNotExist) {
				c.fail(err)
			}
		}
		if f != nil {
			c.read(f)
		}
		if last {
			c.settle(0)
			return
		}
		c.settle(consoleIdle)
		select {
		case <-c.stop:
			last = true // once more, for what came since
		case <-tick.C:
		}
	}
}

func (c *console) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.err = err
}

// read takes in what the file has grown by.
func (c *console) read(f io.Reader) {
	chunk := make([]byte, 64<<10)
	for {
		n, err := f.Read(chunk)
		if n > 0 {
			c.feed(chunk[:n])
		}
		if err != nil {
			if !errors.Is(err, io.EOF) {
				c.fail(err)
			}
			return
		}
	}
}

func (c *console) feed(chunk []byte) {
	c.mu.Lock()
	c.grew = time.Now()
	c.partial = append(c.partial, chunk...)
	var alarms []func()
	for {
		i := bytes.IndexByte(c.partial, '\n')
		if i < 0 {
			break
		}
		c.line++
		alarms = append(alarms, c.judge(string(c.partial[:i]), c.line)...)
		c.partial, c.judged = c.partial[i+1:], false
	}
	c.mu.Unlock()
	for _, alarm := range alarms {
		alarm()
	}
}

// settle looks at a line without an end once nothing came for idle.
func (c *console) settle(idle time.Duration) {
	c.mu.Lock()
	var alarms []func()
	if len(c.partial) > 0 && !c.judged && time.Since(c.grew) >= idle {
		c.judged = true
		alarms = c.judge(string(c.partial), c.line+1)
	}
	c.mu.Unlock()
	for _, alarm := range alarms {
		alarm()
	}
}

// judge keeps a line and what it says. A partial line that is judged again
// when it ends replaces what it said before.
func (c *console) judge(raw string, line int) (alarms []func()) {
	text := cleanLine(raw)
	if text == "" {
		return nil
	}
	c.kernel = c.kernel || kernelLine.MatchString(text)
	c.watchBreakpoints(text)
	if n := len(c.findings); n > 0 && c.findings[n-1].Line == line {
		c.findings = c.findings[:n-1]
	}
	if c.judged && len(c.tail) > 0 && line == c.line && bytes.HasPrefix([]byte(text), []byte(c.tail[len(c.tail)-1])) {
		c.tail = c.tail[:len(c.tail)-1]
	}
	c.tail = append(c.tail, text)
	if len(c.tail) > consoleTail {
		c.tail = c.tail[len(c.tail)-consoleTail:]
	}
	f, ok := classify(c.known, text)
	if !ok {
		return nil
	}
	finding := Finding{ID: f.id, Line: line, Text: text}
	c.findings = append(c.findings, finding)
	if f.effect == reported {
		return nil
	}
	return []func(){func() { c.onFault(f, finding) }}
}

// watchBreakpoints looks for a kernel that died of a breakpoint which is not
// there. Linux changes its own code by way of breakpoints and takes them out
// when no processor can meet them any more; QEMU's TCG with several threads can
// run the old code all the same, once in some dozens of boots on a busy host.
// The oops then shows the instruction in <>, and before it another byte than
// the breakpoint's that was executed.
func (c *console) watchBreakpoints(text string) {
	if strings.Contains(text, "Oops: ") {
		c.int3 = strings.Contains(text, "Oops: int3")
		return
	}
	if m := oopsCode.FindStringSubmatch(text); m != nil && c.int3 {
		c.int3 = false
		c.slipped = c.slipped || m[1] != "cc"
	}
}

// oopsCode is the byte before the instruction at which a kernel died.
var oopsCode = regexp.MustCompile(`\bCode: (?:[0-9a-f]{2} )*?([0-9a-f]{2}) <`)

// emulatorSlipped tells whether the kernel died of code that its memory did
// not hold any more.
func (c *console) emulatorSlipped() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.slipped
}

// kernelLine is a line that only a running kernel, or what it started, writes.
var kernelLine = regexp.MustCompile(`^\[\s*\d+\.\d+\]|Linux version|Kernel panic| login:`)

// sawKernel tells whether the guest came as far as its kernel.
func (c *console) sawKernel() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.kernel
}

// last returns the last lines and all findings so far, and how long the
// console has been silent.
func (c *console) last() (tail []string, findings []Finding, silent time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]string(nil), c.tail...), append([]Finding(nil), c.findings...), time.Since(c.grew)
}

// close reads to the end of the file and stops following it.
func (c *console) close() error {
	close(c.stop)
	<-c.done
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return fmt.Errorf("following the console %s: %w", c.path, c.err)
	}
	return nil
}
