package cluster

import (
	"regexp"
	"strings"
)

// Denial is one refusal by AppArmor, from the kernel log or the audit log.
type Denial struct {
	Operation, Profile, Comm, Peer, Signal, Requested string
	Line                                              string
}

var auditField = regexp.MustCompile(`(\w+)=(?:"([^"]*)"|(\S+))`)

// ParseDenial reads an audit line; it returns false for any that is not an
// AppArmor denial.
func ParseDenial(line string) (Denial, bool) {
	if !strings.Contains(line, `apparmor="DENIED"`) {
		return Denial{}, false
	}
	fields := map[string]string{}
	for _, m := range auditField.FindAllStringSubmatch(line, -1) {
		fields[m[1]] = m[2] + m[3]
	}
	return Denial{
		Operation: fields["operation"], Profile: fields["profile"], Comm: fields["comm"],
		Peer: fields["peer"], Signal: fields["signal"], Requested: fields["requested_mask"],
		Line: strings.TrimSpace(line),
	}, true
}

// OfContainer tells whether the denial concerns a container's profile, stacked
// labels included, and not some other program of the node.
func (d Denial) OfContainer() bool { return strings.HasPrefix(d.Profile, "cri-containerd.apparmor.d") }

// BlocksTermination tells whether the denial is the one that keeps pods from
// being stopped: runc's signal was not received (containerd#10123).
func (d Denial) BlocksTermination() bool {
	return d.OfContainer() && d.Operation == "signal" && d.Requested == "receive" && d.Peer == "runc"
}
