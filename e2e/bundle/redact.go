package bundle

import "regexp"

// redacted stands where a secret was.
const redacted = "[redacted]"

// rule finds secrets; the groups of its pattern that $keep names stay.
type rule struct {
	pattern *regexp.Regexp
	keep    string
}

// rules are the forms in which a node's files and logs hold what opens
// something. They take rather too much: an identifier that is missing can be
// asked for, a key that was sent cannot be taken back.
func rules() []rule {
	r := func(pattern, keep string) rule { return rule{regexp.MustCompile(pattern), keep} }
	return []rule{
		r(`(?s)(-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----).*?(-----END [A-Z0-9 ]*PRIVATE KEY-----)`, "${1}"+redacted+"${2}"),
		// One whose end was cut off.
		r(`(?s)(-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----)(?:\\n|\s)+[A-Za-z0-9+/=\s]{16,}\z`, "${1}"+redacted),
		// kubeconfig: client certificates are public, keys are not.
		r(`(?i)(client-key-data["']?\s*:\s*["']?)[A-Za-z0-9+/=_-]+`, "${1}"+redacted),
		// Service accounts' and OIDC's tokens.
		r(`\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*`, redacted),
		// kubeadm's bootstrap tokens, and the keys of its uploaded certificates.
		r(`\b[a-z0-9]{6}\.[a-z0-9]{16}\b`, redacted),
		r(`(?i)(certificate-?key["']?[\s:=]+["']?)[0-9a-f]{64}`, "${1}"+redacted),
		r(`(?i)(authorization["']?\s*[:=]\s*["']?(?:bearer|basic)\s+)[^\s"',]+`, "${1}"+redacted),
		r(`(?i)(\bbearer\s+)[A-Za-z0-9._~+/=-]{16,}`, "${1}"+redacted),
		r(`([a-z][a-z0-9+.-]*://[^\s/:@"']*:)[^\s/@"']+(@)`, "${1}"+redacted+"${2}"),
		r(`(?i)((?:password|passwd|passphrase|api[_-]?key|secret[_-]?(?:access[_-]?)?key|access[_-]?token|auth[_-]?token|client[_-]?secret|encryption[_-]?key)["']?\s*[:=]\s*\\?["']?)[^\s"'\\,;}]+`, "${1}"+redacted),
		r(`(?i)((?:^|[\s{,"'])(?:token|auth)["']?\s*:\s*["']?)[^\s"'\\,}]{8,}`, "${1}"+redacted),
		r(`(--(?:token|discovery-token|tls-bootstrap-token)[= ])\S+`, "${1}"+redacted),
		r(`\b(?:AKIA|ASIA)[A-Z0-9]{16}\b`, redacted),
		// crypt(3)'s hashes, as in /etc/shadow and cloud-init's user data.
		r(`\$(?:1|2[aby]|5|6|7|y|gy)\$[./A-Za-z0-9$=,-]{12,}`, redacted),
	}
}

// Redact replaces secrets in text: private keys, tokens, passwords and the
// credentials of kubeconfigs.
func Redact(text []byte) []byte {
	for _, r := range rules() {
		text = r.pattern.ReplaceAll(text, []byte(r.keep))
	}
	return text
}
