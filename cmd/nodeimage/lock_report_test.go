package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/outdated"
	"github.com/nodeimage/packer-plugin-nodeimage/profiles/lock"
)

func exampleReport() lockReport {
	return lockReport{
		File:     "debian-13.lock.yaml",
		compared: true,
		Changes:  []lock.Change{{Kind: lock.KindPackage, Name: "libc6", Old: "1", New: "2"}},
		Holes:    []hole{{Component: "runc", Version: "1.1.11", ID: "CVE-2024-21626", Summary: "a leak", Fixed: []string{"1.1.12"}}},
		Components: []outdated.Component{
			{Name: "containerd", Version: "2.3.7", State: outdated.Outdated, Patch: "2.3.9", Newest: "2.4.2"},
			{Name: "etcd", Version: "3.7.0", State: outdated.Unknown, Error: "no route to host"},
			{Name: "runc", Version: "1.5.2", State: outdated.Current, Patch: "1.5.2", Newest: "1.5.2"},
		},
	}
}

func TestLockReportText(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	if err := exampleReport().write(&out, "text"); err != nil {
		t.Fatal(err)
	}
	want := `~ package libc6 1 -> 2
! component runc 1.1.11 has CVE-2024-21626: a leak; fixed in 1.1.12
  component containerd 2.3.7: 2.3.9 in its line, 2.4.2 newest
  component etcd 3.7.0: warning: newer releases are not known: no route to host
`
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}
}

func TestLockReportJSON(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	if err := exampleReport().write(&out, "json"); err != nil {
		t.Fatal(err)
	}
	var got struct {
		Changes    []lock.Change
		Holes      []hole
		Components []outdated.Component
	}
	if err := json.Unmarshal(out.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if len(got.Changes) != 1 || len(got.Holes) != 1 || len(got.Components) != 3 || got.Components[1].Error != "no route to host" || got.Components[2].State != outdated.Current {
		t.Errorf("got %s", out.String())
	}
	// Lists that are empty are there; the components' only where they were asked about.
	out.Reset()
	if err := (lockReport{File: "x"}).write(&out, "json"); err != nil || strings.TrimSpace(out.String()) != `{"file":"x","changes":[],"holes":[]}` {
		t.Errorf("%v: %s", err, out.String())
	}
}

// The pins are the user's choice: a newer release is none of --check's failures.
func TestWhatFailsALocksCheck(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		change func(*lockReport)
		want   int
	}{
		"everything":            {func(*lockReport) {}, exitcode.Failed},
		"newer releases alone":  {func(r *lockReport) { r.Changes, r.Holes = nil, nil }, exitcode.OK},
		"a hole that is low":    {func(r *lockReport) { r.Changes, r.Holes[0].Low = nil, true }, exitcode.OK},
		"a hole that is not":    {func(r *lockReport) { r.Changes = nil }, exitcode.Failed},
		"a package would move":  {func(r *lockReport) { r.Holes = nil }, exitcode.Failed},
		"nothing was asked for": {func(r *lockReport) { *r = lockReport{} }, exitcode.OK},
	} {
		r := exampleReport()
		tc.change(&r)
		if err := r.judge("debian-13"); exitcode.Of(err) != tc.want {
			t.Errorf("%s: got %v, want exit code %d", name, err, tc.want)
		}
	}
}
