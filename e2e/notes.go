package e2e

import (
	"bytes"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/nodeimage/packer-plugin-nodeimage/e2e/cause"
	"github.com/nodeimage/packer-plugin-nodeimage/e2e/cluster"
)

// maxNotes bounds the evidence kept for diagnosis, in lines per source.
const maxNotes = 20000

// notes gathers lines of evidence while the suite runs, for the diagnosis of
// whatever fails.
type notes struct {
	mu      sync.Mutex
	lines   map[cause.Source][]cause.Line
	seen    map[cause.Line]bool
	denials []cluster.Denial
	// denied is closed at the first denial that blocks termination.
	denied     chan struct{}
	deniedOnce sync.Once
	// watch judges lines until a cluster came up, nil from then on; hopeless
	// is closed when one proves that none will, and then proof is set.
	watch    *cause.Watch
	hopeless chan struct{}
	proof    cause.Finding
	// shown is closed at the first line that matches until, which may be nil.
	until     *regexp.Regexp
	shown     chan struct{}
	shownOnce sync.Once
	witness   cause.Line // the line, once shown is closed
	shownAt   time.Time
}

// newNotes returns empty notes. until is Options.WitnessUntil.
func newNotes(until string) *notes {
	n := &notes{
		lines: map[cause.Source][]cause.Line{}, seen: map[cause.Line]bool{}, denied: make(chan struct{}),
		watch: cause.NewWatch(cause.Catalogue()), hopeless: make(chan struct{}), shown: make(chan struct{}),
	}
	if until != "" {
		n.until = regexp.MustCompile(until) // the options were validated
	}
	return n
}

// add notes every line of text once.
func (n *notes) add(source cause.Source, text string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, l := range cause.Lines(source, text) {
		if n.seen[l] || len(n.lines[source]) >= maxNotes {
			continue
		}
		n.seen[l] = true
		n.lines[source] = append(n.lines[source], l)
		n.judge(l)
		if n.until != nil && n.until.MatchString(l.Text) {
			n.shownOnce.Do(func() { n.witness, n.shownAt = l, time.Now(); close(n.shown) })
		}
		if source != cause.Kernel {
			continue
		}
		if d, ok := cluster.ParseDenial(l.Text); ok {
			n.denials = append(n.denials, d)
			if d.BlocksTermination() {
				n.deniedOnce.Do(func() { close(n.denied) })
			}
		}
	}
}

// judge closes hopeless at the line that leaves no hope.
func (n *notes) judge(l cause.Line) {
	if n.watch == nil {
		return
	}
	if f, certain := n.watch.Add(l); certain {
		n.proof, n.watch = f, nil
		close(n.hopeless)
	}
}

// up says that the cluster came up. From then on no line leaves it without
// hope: a kubelet that waits for a containerd that restarts says terrible
// things for a moment.
func (n *notes) up() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.watch = nil
}

// all returns what was noted.
func (n *notes) all() []cause.Line {
	n.mu.Lock()
	defer n.mu.Unlock()
	var all []cause.Line
	for _, s := range []cause.Source{cause.Cgroup, cause.Kernel, cause.Fact, cause.Config, cause.Kubeadm, cause.Event, cause.Journal, cause.Pod, cause.Console} {
		all = append(all, n.lines[s]...)
	}
	return all
}

// containerDenials returns what AppArmor denied to containers, each once: the
// same record can come by the kernel log and by the audit transport.
func (n *notes) containerDenials() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	var lines []string
	seen := map[string]bool{}
	for _, d := range n.denials {
		_, record, _ := strings.Cut(d.Line, "apparmor=")
		if d.OfContainer() && !seen[record] {
			seen[record] = true
			lines = append(lines, d.Line)
		}
	}
	return lines
}

// writer notes complete lines as they are written.
func (n *notes) writer(source cause.Source) *lineWriter {
	return &lineWriter{line: func(l string) { n.add(source, l) }}
}

// lineWriter calls line for each complete line.
type lineWriter struct {
	mu   sync.Mutex
	rest []byte
	line func(string)
}

func (w *lineWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.rest = append(w.rest, p...)
	for {
		i := bytes.IndexByte(w.rest, '\n')
		if i < 0 {
			return len(p), nil
		}
		w.line(string(w.rest[:i]))
		w.rest = w.rest[i+1:]
	}
}
