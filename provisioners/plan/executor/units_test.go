package executor

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nodeimage/packer-plugin-nodeimage/provisioners/plan"
)

// Units are asked for together, and those that follow each other and get the
// same state get it together; a systemd that tells nothing after a unit that is
// not there is asked for each.
func TestUnitsTogether(t *testing.T) {
	t.Parallel()
	p := plan.Plan{Name: "units"}
	for _, u := range []plan.Unit{
		{Name: "a.service", State: plan.UnitEnabled}, {Name: "b.service", State: plan.UnitEnabled}, {Name: "already.service", State: plan.UnitEnabled},
		{Name: "none.timer", State: plan.UnitDisabled}, {Name: `dev-disk-by\x2did.swap`, State: plan.UnitMasked}, {Name: "c.service", State: plan.UnitEnabled},
	} {
		p.Steps = append(p.Steps, plan.Step{Why: "w", Unit: &u})
	}
	const all, todo = `a.service b.service already.service none.timer dev-disk-by\x2did.swap c.service`, `a.service b.service dev-disk-by\x2did.swap c.service`
	changes := "enable a.service b.service\nmask dev-disk-by\\x2did.swap\nenable c.service\n"
	for old, want := range map[bool]string{
		false: "is-enabled " + all + "\n" + changes + "is-enabled " + todo + "\n",
		true: "is-enabled " + all + "\nis-enabled a.service\nis-enabled b.service\nis-enabled already.service\nis-enabled none.timer\n" +
			"is-enabled dev-disk-by\\x2did.swap\nis-enabled c.service\n" + changes + "is-enabled " + todo + "\n",
	} {
		target, comm := machine(t, map[string]string{"a.service": "disabled", "b.service": "disabled", "already.service": "enabled", `dev-disk-by\x2did.swap`: "static", "c.service": "disabled"})
		if old {
			write(t, filepath.Join(comm.states, ".old"), "")
		}
		report, err := target.Carry(t.Context(), p)
		if err != nil {
			t.Fatal(err)
		}
		if report.Changed() != 4 {
			t.Errorf("old: %t: %d steps changed something, want 4", old, report.Changed())
		}
		calls, err := os.ReadFile(filepath.Join(comm.states, ".calls"))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, string(calls)); diff != "" {
			t.Errorf("old: %t: systemctl was called (-want +got):\n%s", old, diff)
		}
	}
}
