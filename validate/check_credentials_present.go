package validate

import (
	"context"
	"path"
	"regexp"
	"strings"

	"github.com/nodeimage/packer-plugin-nodeimage/validate/source"
)

func credentialsPresent() Check {
	return Check{
		ID:         "credentials-present",
		Title:      "the image holds passwords or tokens",
		Why:        `Registry logins, cloud credentials, kubeconfigs and proxies with a password in their address stay behind in the files that tools keep them in.`,
		Reads:      "the credential files of common tools in each home directory, apt's auth.conf, and addresses with a password in /etc",
		Scope:      "images, not running nodes",
		Fix:        "remove the file or the line; bring it with cloud-init",
		Severity:   Error,
		References: []string{"https://systemd.io/BUILDING_IMAGES/", "https://manpages.debian.org/trixie/apt/apt_auth.conf.5.en.html"},
		AppliesTo:  (*Node).image,
		Run:        runCredentialsPresent,
	}
}

// addressWithPassword finds http://user:password@host in a settings file.
var addressWithPassword = regexp.MustCompile(`[a-z]+://[^\s:/@'"]+:[^\s:/@'"]+@`)

func runCredentialsPresent(_ context.Context, n *Node) ([]Finding, error) {
	homes, err := n.homes()
	if err != nil {
		return nil, err
	}
	patterns := []string{"/etc/apt/auth.conf", "/etc/apt/auth.conf.d/*", "/var/lib/kubelet/config.json"}
	for _, h := range homes {
		for _, name := range []string{".docker/config.json", ".aws/credentials", ".azure/accessTokens.json", ".azure/msal_token_cache.json",
			".config/gcloud/credentials.db", ".config/gcloud/application_default_credentials.json", ".netrc", ".git-credentials",
			".kube/config", ".npmrc", ".pypirc", ".config/containers/auth.json", ".vault-token", ".pgpass", ".my.cnf"} {
			patterns = append(patterns, path.Join(h, name))
		}
	}
	found, err := n.leftovers("credentials", "none", patterns...)
	if err != nil {
		return nil, err
	}
	files := []string{"/etc/environment", "/etc/apt/apt.conf", "/etc/wgetrc", "/etc/containerd/config.toml"}
	for _, pattern := range []string{"/etc/apt/apt.conf.d/*", "/etc/apt/sources.list", "/etc/apt/sources.list.d/*", "/etc/profile.d/*",
		"/etc/default/*", "/etc/systemd/system/*.service.d/*.conf", "/etc/containerd/certs.d/*/hosts.toml"} {
		more, err := n.glob(pattern)
		if err != nil {
			return nil, err
		}
		files = append(files, more...)
	}
	for _, file := range files {
		if fi, err := source.Lstat(n.Root, file); err != nil || !fi.Mode().IsRegular() {
			continue
		}
		data, err := n.read(file)
		if err != nil {
			return nil, err
		}
		for _, l := range source.Lines(file, data) {
			if m := addressWithPassword.FindString(l.Text); m != "" && !strings.HasPrefix(strings.TrimSpace(l.Text), "#") {
				scheme, _, _ := strings.Cut(m, "://")
				found = append(found, Finding{Key: scheme + "://…@", Got: "an address with a password", Want: "none"}.at(l.Pos))
			}
		}
	}
	return found, nil
}
