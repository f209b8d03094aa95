package main

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/programtest"
)

// program writes a shell script and returns its path.
func program(t *testing.T, script string) string {
	t.Helper()
	p := filepath.Join(t.TempDir(), "program")
	if err := programtest.WriteFile(p, []byte("#!/bin/sh\n"+script+"\n")); err != nil {
		t.Fatal(err)
	}
	return p
}

func TestLook(t *testing.T) {
	t.Parallel()
	const reads = `[ "$LIBGUESTFS_BACKEND $*" = "direct --ro -a disk.qcow2 -i cat /etc/os-release" ] && echo ID=debian`
	for name, tt := range map[string]struct {
		validate, guestfish string // scripts
		rows                int
		note, err           string
	}{
		"both":               {`[ "$*" = "validate disk.qcow2" ]`, reads, 2, "", ""},
		"guestfish emulates": {"exit 0", `[ "$LIBGUESTFS_BACKEND_SETTINGS" = force_tcg ] && ` + reads, 2, "", ""},
		"guestfish fails":    {"exit 0", "echo no kernel; exit 1", 1, "no kernel", ""},
		"guestfish is mute":  {"exit 0", "exit 0", 1, "printed no /etc/os-release", ""},
		"validate fails":     {"echo bad; exit 1", reads, 0, "", "bad"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			table, note, err := look(t.Context(), program(t, tt.validate), program(t, tt.guestfish), "disk.qcow2")
			if (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
				t.Fatalf("got error %v, want one with %q", err, tt.err)
			}
			if len(table) != tt.rows || (note == "") != (tt.note == "") || !strings.Contains(note, tt.note) {
				t.Errorf("got %+v and the note %q; want %d rows and a note with %q", table, note, tt.rows, tt.note)
			}
			for _, m := range table {
				if m.Seconds <= 0 || m.PeakMiB <= 0 {
					t.Errorf("nothing was measured: %+v", m)
				}
			}
		})
	}
}

func TestLookWithoutGuestfish(t *testing.T) {
	t.Parallel()
	table, note, err := look(t.Context(), program(t, "exit 0"), filepath.Join(t.TempDir(), "guestfish"), "disk.qcow2")
	if err != nil || len(table) != 1 || !strings.Contains(note, "apt-get install libguestfs-tools") {
		t.Errorf("got %+v, %q, %v; want validate alone and how to get the floor", table, note, err)
	}
}
