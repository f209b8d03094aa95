package validate

import "context"

func packageCachePresent() Check {
	return Check{
		ID:         "package-cache-present",
		Title:      "the image holds package lists and archives",
		Why:        `They are old by the time that anybody needs them, and make the image larger.`,
		Reads:      "/var/lib/apt/lists and /var/cache/apt",
		Scope:      "images, not running nodes",
		Fix:        "apt-get clean && rm -rf /var/lib/apt/lists/*",
		Severity:   Warning,
		References: []string{"https://manpages.debian.org/trixie/apt/apt-get.8.en.html"},
		AppliesTo:  (*Node).image,
		Run: func(_ context.Context, n *Node) ([]Finding, error) {
			found, err := n.leftovers("a package list or archive", "none", "/var/lib/apt/lists/*_*", "/var/cache/apt/archives/*.deb", "/var/cache/apt/*.bin")
			return several(found, 5), err
		},
	}
}
