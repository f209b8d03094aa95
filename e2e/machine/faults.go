package machine

import (
	"bufio"
	"errors"
	"io"
	"regexp"
	"strings"
	"unicode/utf8"
)

// Finding is one line of a console or kernel log that names a fault.
type Finding struct {
	ID   string // stable, kebab-case, named after the fault
	Line int    // counted from 1
	Text string // the line without escape sequences
}

// Allow excuses findings; it needs all three fields.
type Allow struct {
	ID   string         // the fault it excuses
	Line *regexp.Regexp // and the lines that it excuses
	Why  string         // the reason, for the report
}

// effect is what a fault means for a boot that is under way.
type effect int

const (
	reported effect = iota // the boot may still succeed
	stuck                  // the guest waits for somebody at its console
	dead                   // the kernel has stopped
)

// fault is a kind of line. The first that matches a line names it, so the
// special ones come before the general ones.
type fault struct {
	id      string
	pattern *regexp.Regexp
	effect  effect
}

func faults() []fault {
	type row struct {
		id     string
		effect effect
		re     string
	}
	rows := []row{
		{"kernel-panic", dead, `Kernel panic - not syncing`},
		{"init-crash", dead, `systemd\[1\]: (Freezing execution|Caught <\w+>)|Freezing execution\.$`},

		{"no-bootable-device", stuck, `^No bootable device|BdsDxe: No bootable option or device was found|BdsDxe: starting Boot\d+ "UiApp"|^UEFI Interactive Shell v`},
		// What shim, GRUB and OVMF say of a program that no known key has signed.
		{"secure-boot-refused", stuck, `Verification failed: \(0x[0-9A-Fa-f]+\) Security Violation|bad shim signature|BdsDxe: failed to load .*: (Access Denied|Security Violation)|prohibited by secure boot policy`},
		{"boot-loader-stuck", stuck, `^grub( rescue)?> ?|Entering rescue mode\.\.\.`},
		{"initramfs-shell", stuck, `^\(initramfs\)|Gave up waiting for root (file system )?device|Dropping to a shell!|^dracut:/#`},
		{"emergency-shell", stuck, `You are in (emergency|rescue) mode|Entering emergency mode|Cannot open access to console, the root account is locked|Press Enter for maintenance`},

		{"soft-lockup", reported, `BUG: soft lockup|[Ww]atchdog: .*hard LOCKUP|BUG: workqueue lockup`},
		{"rcu-stall", reported, `rcu: .*(self-detected stall|detected stalls|detected expedited stalls|kthread starved)`},
		{"hung-task", reported, `INFO: task .+ blocked for more than \d+ seconds`},
		{"kernel-oops", reported, `\bOops: |BUG: (unable to handle|kernel NULL pointer)|general protection fault, probably|Unable to handle kernel|Internal error: .+ \[#\d+\]`},
		{"kernel-bug", reported, `kernel BUG at |\bBUG: `},
		{"kernel-warning", reported, `WARNING: (CPU: \d+ PID: \d+ at |.+ at .+:\d+)`},
		{"cgroup-oom-kill", reported, `Memory cgroup out of memory: Killed process|oom-kill:constraint=CONSTRAINT_MEMCG`},
		{"oom-kill", reported, `Out of memory: Killed process|invoked oom-killer|oom-kill:constraint=`},
		{"segfault", reported, `\]: segfault at [0-9a-f]+ ip |traps: \S+\[\d+\] (trap |general protection)|\]: unhandled exception: `},

		{"filesystem-error", reported, `EXT4-fs error|EXT4-fs \([^)]+\): (error count|warning: mounting fs with errors)|Remounting filesystem read-only|JBD2: .*(error|corrupt)`},
		{"io-error", reported, `I/O error, dev |Buffer I/O error on dev`},
		{"watchdog-timeout", reported, `systemd\[1\]: .+: Watchdog timeout \(limit |NMI watchdog: .*(lockup|stuck)|watchdog: .*initiating (reset|system reboot)`},
		{"ordering-cycle", reported, `[Ff]ound ordering cycle|deleted to break ordering cycle`},
		{"unit-failed", reported, `^\s*\[FAILED\] Failed to |^\s*\[DEPEND\] Dependency failed|systemd\[1\]: Failed to start `},
		{"device-timeout", reported, `Timed out waiting for device`},
		{"netdev-leak", reported, `unregister_netdevice: waiting for \S+ to become free`},
		{"conntrack-full", reported, `nf_conntrack: .*table full, dropping packet`},
	}
	out := make([]fault, len(rows))
	for i, r := range rows {
		out[i] = fault{r.id, regexp.MustCompile(r.re), r.effect}
	}
	return out
}

// classify returns the fault that a line names.
func classify(known []fault, line string) (fault, bool) {
	for _, f := range known {
		if f.pattern.MatchString(line) {
			return f, true
		}
	}
	return fault{}, false
}

// escapes are terminal control sequences: CSI, OSC, and two-character ones.
var escapes = regexp.MustCompile(`\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[()#][0-9A-Za-z]|[0-9=>A-Zc-z])`)

// gaps are what a firmware's full-screen message is mostly made of.
var gaps = regexp.MustCompile(` {8,}`)

// cleanLine removes escape sequences, carriage returns and other controls, and
// what is no UTF-8: firmware draws its boxes in an older character set.
func cleanLine(line string) string {
	line = escapes.ReplaceAllString(line, "")
	line = strings.Map(func(r rune) rune {
		if r < ' ' && r != '\t' || r == 0x7f || r == utf8.RuneError {
			return -1
		}
		return r
	}, line)
	return strings.TrimRight(gaps.ReplaceAllString(line, "  "), " ")
}

// ScanLog returns what a console's or a kernel's log says went wrong, less
// what allow excuses.
func ScanLog(log io.Reader, allow []Allow) ([]Finding, error) {
	for _, a := range allow {
		if a.ID == "" || a.Line == nil || a.Why == "" {
			return nil, errors.New("an allowed fault needs its ID, the lines it excuses and the reason")
		}
	}
	known := faults()
	var findings []Finding
	lines := bufio.NewReader(log)
	for n := 1; ; n++ {
		line, err := lines.ReadString('\n')
		if text := cleanLine(line); text != "" {
			if f, ok := classify(known, text); ok && !allowed(allow, f.id, text) {
				findings = append(findings, Finding{ID: f.id, Line: n, Text: text})
			}
		}
		if errors.Is(err, io.EOF) {
			return findings, nil
		}
		if err != nil {
			return findings, err
		}
	}
}

func allowed(allow []Allow, id, text string) bool {
	for _, a := range allow {
		if a.ID == id && a.Line.MatchString(text) {
			return true
		}
	}
	return false
}
