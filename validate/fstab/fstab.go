// Package fstab reads /etc/fstab as systemd's generator does.
package fstab

import (
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"

	"github.com/nodeimage/packer-plugin-nodeimage/validate/source"
	"github.com/nodeimage/packer-plugin-nodeimage/validate/systemd"
)

// File is where the table lies.
const File = "/etc/fstab"

// Entry is one line.
type Entry struct {
	Spec    string // device, UUID=, LABEL=, …
	Target  string // mount point, or none
	Type    string
	Options []string
	Pass    int // order of the file system check, 0 for none
	Pos     source.Position
}

// Option returns the value of an option, and whether it is there.
func (e Entry) Option(name string) (string, bool) {
	for _, o := range e.Options {
		k, v, _ := strings.Cut(o, "=")
		if k == name {
			return v, true
		}
	}
	return "", false
}

// AtBoot reports whether the entry is mounted, or turned on, at boot.
func (e Entry) AtBoot() bool {
	on := true
	for _, o := range e.Options {
		switch o {
		case "noauto":
			on = false
		case "auto":
			on = true
		}
	}
	return on
}

// IsSwap reports whether the entry is a swap area.
func (e Entry) IsSwap() bool { return e.Type == "swap" }

// Table is the whole file.
type Table struct {
	Entries  []Entry
	Problems []systemd.Problem
}

// Load reads the table of an image. An image without one has no entries.
func Load(root fs.FS) (*Table, error) {
	data, err := source.ReadFile(root, File, source.MaxFile)
	if errors.Is(err, fs.ErrNotExist) {
		return &Table{}, nil
	}
	if err != nil {
		return nil, err
	}
	return Parse(File, data), nil
}

// Swaps lists the swap areas that are turned on at boot: with any of them a
// kubelet with failSwapOn does not start.
func (t *Table) Swaps() []Entry {
	var out []Entry
	for _, e := range t.Entries {
		if e.IsSwap() && e.AtBoot() {
			out = append(out, e)
		}
	}
	return out
}

// Mount returns the entry for a mount point.
func (t *Table) Mount(target string) (Entry, bool) {
	for _, e := range t.Entries {
		if e.Target == target {
			return e, true
		}
	}
	return Entry{}, false
}

// Parse reads the syntax of fstab(5).
func Parse(file string, data []byte) *Table {
	t := &Table{}
	for _, l := range source.Lines(file, data) {
		words := strings.Fields(l.Text)
		if len(words) == 0 || words[0][0] == '#' {
			continue
		}
		if len(words) < 3 {
			t.Problems = append(t.Problems, systemd.Problem{Text: fmt.Sprintf("%d fields, want at least 3", len(words)), Pos: l.Pos})
			continue
		}
		e := Entry{Spec: unescape(words[0]), Target: unescape(words[1]), Type: unescape(words[2]), Pos: l.Pos}
		if len(words) > 3 {
			e.Options = strings.Split(unescape(words[3]), ",")
		}
		if len(words) > 5 {
			n, err := strconv.Atoi(words[5])
			if err != nil {
				t.Problems = append(t.Problems, systemd.Problem{Text: fmt.Sprintf("pass number %q is no number", words[5]), Pos: l.Pos})
			}
			e.Pass = n
		}
		t.Entries = append(t.Entries, e)
	}
	return t
}

// unescape decodes the octal escapes that stand for blanks (\040).
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
