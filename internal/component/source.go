package component

import (
	"context"
	"fmt"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/manifest"
	"github.com/nodeimage/packer-plugin-nodeimage/profiles"
)

// source makes one component of a profile, wherever its bytes come from.
type source interface {
	// keyParts returns everything the result depends on, for the store's key.
	keyParts(ctx context.Context) ([]any, error)
	// make puts the component's files into dir/files and says what it is. It
	// may use the rest of dir, as long as nothing is left there.
	make(ctx context.Context, dir string) (manifest.Component, error)
}

// filesDir holds the files of a component in its store entry.
const filesDir = "files"

// newSource returns the source of a component, or bad input: a source that
// this release does not have, a version without a pin, a sum that the pin
// contradicts.
func (m *Maker) newSource(name string, c profiles.Component) (source, error) {
	switch c.Source {
	case profiles.SourceGoModule:
		return m.newGoModule(name, c)
	case profiles.SourceDeb:
		return m.newDebs(name, c)
	case profiles.SourceRelease, profiles.SourceFile:
		return m.newRelease(name, c)
	case profiles.SourceRegistry:
		return m.newPulledImage(name, c)
	}
	return nil, exitcode.BadInput(fmt.Errorf("component %s: unknown source %q: expected one of %q, %q, %q, %q, %q",
		name, c.Source, profiles.SourceGoModule, profiles.SourceDeb, profiles.SourceRelease, profiles.SourceFile, profiles.SourceRegistry))
}

// label names a component in progress lines.
func label(name, version string) string {
	if version == "" {
		return name
	}
	return name + " " + version
}
