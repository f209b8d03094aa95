package component

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
)

// The names keep the go command and its wildcards from taking a pin for a
// module of its own.
const (
	pinGoMod = "go.mod.pin"
	pinGoSum = "go.sum.pin"
)

//go:embed pins
var pinFiles embed.FS

// pin is the module that a component is built in: its go.mod and go.sum. The
// go command checks everything it downloads against the latter.
type pin struct {
	GoMod string
	GoSum string
}

// pinName is the directory of a component's pin. pause and the control plane
// are parts of the Kubernetes module and share its pin.
func pinName(component, moduleVersion string) string {
	if component == "pause" || component == "control-plane" {
		component = "kubernetes"
	}
	return path.Join("pins", component, strings.TrimPrefix(moduleVersion, "v"))
}

// readPin returns the pin of a component from files, bad input when there is
// none for that version.
func readPin(files fs.FS, component string, r release) (pin, error) {
	dir := pinName(component, r.ModuleVersion)
	mod, modErr := fs.ReadFile(files, path.Join(dir, pinGoMod))
	sum, sumErr := fs.ReadFile(files, path.Join(dir, pinGoSum))
	if err := errors.Join(modErr, sumErr); err != nil {
		_, name, _ := strings.Cut(path.Dir(dir), "/")
		return pin{}, exitcode.BadInput(fmt.Errorf(
			"component %s: version %s is not one this release has the sums of all dependencies for (known: %s): use a known version, or add it with `go run ./internal/component/genpin %s %s` and rebuild nodeimage",
			component, r.Version, strings.Join(knownPins(files, path.Dir(dir)), ", "), name, path.Base(dir)))
	}
	return pin{string(mod), string(sum)}, nil
}

func knownPins(files fs.FS, dir string) []string {
	found, err := fs.ReadDir(files, dir)
	if err != nil || len(found) == 0 {
		return []string{"none"}
	}
	var names []string
	for _, f := range found {
		names = append(names, f.Name())
	}
	return names
}

// checkSum compares the profile's sum with the one the component would be
// built with.
func (p pin) checkSum(component string, r release) error {
	prefix := r.Module + " " + r.ModuleVersion + " "
	for line := range strings.Lines(p.GoSum) {
		sum, ok := strings.CutPrefix(strings.TrimSpace(line), prefix)
		if !ok {
			continue
		}
		if sum == r.Sum {
			return nil
		}
		return sumMismatch(component, r, r.Sum, sum, "this release's pins")
	}
	return exitcode.BadInput(fmt.Errorf("component %s: module %s %s has no sum in %s: generate the pin again with `go run ./internal/component/genpin`",
		component, r.Module, r.ModuleVersion, path.Join(pinName(component, r.ModuleVersion), pinGoSum)))
}

func sumMismatch(component string, r release, expected, found, where string) error {
	return exitcode.BadInput(fmt.Errorf("component %s: sum of %s %s does not match: the profile expects %s, found %s in %s: compare both with https://sum.golang.org/lookup/%s@%s",
		component, r.Module, r.ModuleVersion, expected, found, where, r.Module, r.ModuleVersion))
}
