package cause

import "testing"

func TestWatch(t *testing.T) {
	t.Parallel()
	flag := func(at string) Line {
		return Line{Journal, "[" + at + "] kubelet[812]: Error: failed to parse kubelet flag: unknown flag: --pod-infra-container-image"}
	}
	w := NewWatch(Catalogue())
	for _, l := range healthy {
		if f, certain := w.Add(l); certain {
			t.Errorf("a healthy node is given up for %s by %q", f.Cause.ID, l.Text)
		}
	}
	if f, certain := w.Add(flag("1")); certain {
		t.Errorf("given up at the first line: %+v", f)
	}
	if _, certain := w.Add(Line{Kernel, flag("2").Text}); certain {
		t.Error("a line of another source counts")
	}
	f, certain := w.Add(flag("3"))
	if !certain || f.Cause.ID != "kubelet-unknown-flag" || f.Count != 2 || f.Evidence != flag("3") || f.Confidence != Certain {
		t.Errorf("the second line: %v, %+v", certain, f)
	}
	if _, certain := w.Add(flag("4")); certain {
		t.Error("told twice")
	}
}

// A line that may mean something else must not end a run, however often it comes.
func TestWatchTakesOnlyCertainLines(t *testing.T) {
	t.Parallel()
	w := NewWatch(Catalogue())
	for range 100 {
		for _, l := range []Line{{Event, sandboxChanged}, {Event, failedKill}, {Journal, "kubelet: inotify: too many open files"}} {
			if f, certain := w.Add(l); certain {
				t.Fatalf("given up for %s by %q", f.Cause.ID, l.Text)
			}
		}
	}
}
