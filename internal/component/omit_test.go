package component

import (
	"slices"
	"strings"
	"testing"
)

func TestRecipeWithoutTag(t *testing.T) {
	t.Parallel()
	whole := runcRecipe(release{Version: "1.5.2", Module: "github.com/opencontainers/runc", ModuleVersion: "v1.5.2"})
	less, err := whole.without([]string{"seccomp"})
	if err != nil {
		t.Fatal(err)
	}
	if slices.Contains(less.Builds[0].Tags, "seccomp") || len(less.Builds[0].Tags) != len(whole.Builds[0].Tags)-1 {
		t.Errorf("tags %v of %v", less.Builds[0].Tags, whole.Builds[0].Tags)
	}
	// A program without seccomp cannot print the line that the probe of the
	// whole one wants.
	if len(less.Probes[0].Want) != 1 || !strings.Contains(less.Probes[0].Want[0], "1.5.2") {
		t.Errorf("the probe wants %q", less.Probes[0].Want)
	}
	if !slices.Contains(whole.Builds[0].Tags, "seccomp") || len(whole.Probes[0].Want) != 2 {
		t.Errorf("the recipe itself was changed: %v, %q", whole.Builds[0].Tags, whole.Probes[0].Want)
	}
	if same, err := whole.without(nil); err != nil || len(same.Builds[0].Tags) != len(whole.Builds[0].Tags) {
		t.Errorf("without nothing: %v, %v", same, err)
	}
	if _, err := whole.without([]string{"selinux"}); err == nil || !strings.Contains(err.Error(), `"selinux"`) {
		t.Errorf("a tag that is not there: %v", err)
	}
}
