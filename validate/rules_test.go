package validate

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nodeimage/packer-plugin-nodeimage/profiles"
)

func TestRulesLoad(t *testing.T) {
	t.Parallel()
	r, err := LoadRules()
	must(t, err)
	for id := range r.Faults {
		if _, ok := Find(id); !ok {
			t.Errorf("faults.%s: no check has this ID", id)
		}
	}
	cited := map[string]bool{}
	for _, f := range r.Faults {
		for _, s := range f.Sources {
			cited[s] = true
		}
	}
	for _, v := range r.Vulnerabilities {
		for _, s := range v.Sources {
			cited[s] = true
		}
		for _, p := range v.Packages {
			cited[p.Source] = true
		}
	}
	for _, f := range r.Floors {
		for _, s := range f.Sources {
			cited[s] = true
		}
	}
	for _, f := range r.Tested {
		for _, s := range f.Sources {
			cited[s] = true
		}
	}
	for id := range r.Sources {
		if !cited[id] {
			t.Errorf("sources.%s: nothing cites it", id)
		}
	}
}

// What a profile is refused for and what is found in an image are one rule.
func TestProfilesKnowTheSameFaults(t *testing.T) {
	t.Parallel()
	r, err := LoadRules()
	must(t, err)
	table, err := profiles.LoadCompatibility()
	must(t, err)
	for id, f := range table.Faults {
		got := FaultRule{Program: f.Program, Fixed: f.Fixed, Kernel: KernelRange{From: f.From, Before: f.Before}, Sources: f.Sources}
		if diff := cmp.Diff(r.Faults[id], got); diff != "" {
			t.Errorf("faults.%s of profiles/compatibility.yaml (-rules.yaml +compatibility.yaml):\n%s", id, diff)
		}
	}
	if len(table.Faults) == 0 {
		t.Error("profiles are refused for no fault")
	}
}

func TestRulesRefused(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, old, new, want string }{
		{"unknown key", "faults:", "fault:", "field fault not found"},
		{"a key twice", "floors:\n", "floors:\n  kernel: {version: \"5.4\", sources: [system-validators]}\n", "already defined"},
		{"an unknown source", "sources: [runc-5403]", "sources: [runc-0]", `no source is called "runc-0"`},
		{"no source", "sources: [runc-5403]", "sources: []", "sources: missing"},
		{"no version", "fixed: [1.5.2]", "fixed: [new]", `found "new"`},
		{"not ascending", "fixed: [1.6.32, 1.7.16, 2.0.0-rc.2]", "fixed: [1.7.16, 1.6.32]", "ascending"},
		{"a branch twice", "fixed: [1.6.32, 1.7.16, 2.0.0-rc.2]", "fixed: [1.7.16, 1.7.18]", "one release a branch"},
		{"an unknown program", "program: runc", "program: crun", `found "crun"`},
		{"no CVE", "id: CVE-2024-21626", "id: GHSA-1", `found "GHSA-1"`},
		{"tested, not ascending", "containerd: 1.7.28", "containerd: 1.7.20", `tested[1].containerd: found "1.7.20"`},
		{"tested, no branch", `runc: "1.2", sources`, `runc: 1.2.2, sources`, `tested[0].runc: found "1.2.2"`},
		{"no date", "read: 2026-11-23", "read: today", `found "today"`},
		{"another kind", "kind: ValidationRules", "kind: Rules", `kind "Rules"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			_, err := parseRules([]byte(replace(string(rulesYAML), test.old, test.new)))
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

func TestPlainVersions(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"1.7.24~ds1-6+deb13u1": "1.7.24", "v2.0.0-rc.2": "2.0.0-rc.2", "2.0.0~rc.2+ds1-1": "2.0.0-rc.2", "1.1.15+ds1": "1.1.15",
		"6.12.48+deb13-amd64": "6.12.48", "6.17.0-8-generic": "6.17.0", "7.1-rc3": "7.1.0-rc3", "1.37": "1.37.0", "(devel)": "", "": "",
	} {
		if got := plain(in); got != want {
			t.Errorf("plain(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestFixedReleases(t *testing.T) {
	t.Parallel()
	fixed := []string{"1.6.32", "1.7.16", "2.0.0-rc.2"}
	for version, want := range map[string]bool{
		"1.5.9": false, "1.6.20~ds1": false, "1.6.32": true, "1.6.36": true, "1.7.12": false, "1.7.15": false, "1.7.16": true, "1.7.24~ds1-6": true,
		"2.0.0-beta.1": false, "2.0.0-rc.2": true, "2.0.0": true, "2.1.0": true, "2.3.7": true,
	} {
		if got := has(fixed, version); got != want {
			t.Errorf("has(%v, %q) = %t, want %t", fixed, version, got, want)
		}
	}
	if has(nil, "9.9.9") {
		t.Error("a fault that nothing mends is mended")
	}
	gap := []string{"1.7.29", "2.1.5"}
	if has(gap, "2.0.14") {
		t.Error("a branch without a fixed release, below the last one, is taken for fixed")
	}
}
