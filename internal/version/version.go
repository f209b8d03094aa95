// Package version holds the one version of plugin and command line.
package version

import sdk "github.com/hashicorp/packer-plugin-sdk/version"

// Version is the release without a leading v; Prerelease is "dev" between
// releases, the only marker `packer plugins install --path` accepts.
const (
	Version    = "0.1.0"
	Prerelease = "dev"
)

// Plugin is what `describe` reports.
func Plugin() *sdk.PluginVersion { return sdk.NewPluginVersion(Version, Prerelease, "") }

// String is the version as people read it, e.g. 0.1.0-dev.
func String() string { return Plugin().FormattedVersion() }
