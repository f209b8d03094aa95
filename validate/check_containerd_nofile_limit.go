package validate

import (
	"context"
	"fmt"
	"strconv"
	"strings"
)

// maxSoftNoFile is the highest soft limit of open files that does no harm to
// programs which close, or walk, every descriptor that they could have.
const maxSoftNoFile = 1 << 20

func containerdNoFileLimit() Check {
	return Check{
		ID:    "containerd-nofile-limit",
		Title: "containers inherit a harmful limit of open files from containerd",
		Why: `Containers inherit containerd's limit. LimitNOFILE=infinity, as containerd 1.x ships it, is 1073741816
under systemd 240 and later: programs that close every descriptor before they start another (old Java,
rpm, Python 2) burn minutes of CPU time. containerd 2.0 dropped the line, which gives 1024:524288. A hard
limit below that is too low for databases and proxies.`,
		Reads:      "LimitNOFILE of containerd.service with its drop-ins",
		Scope:      "nodes with containerd.service",
		Fix:        "LimitNOFILE=1024:524288 in containerd.service",
		Severity:   Warning,
		References: []string{"containerd/containerd#8924", "kubernetes-sigs/image-builder#2122"},
		AppliesTo:  hasContainerdUnit,
		Run: func(_ context.Context, n *Node) ([]Finding, error) {
			svc, err := n.service(containerdUnit)
			if err != nil || svc.LimitNOFILE.Value == "" {
				return nil, err
			}
			soft, hard, both := strings.Cut(svc.LimitNOFILE.Value, ":")
			if !both {
				hard = soft
			}
			s, okSoft := noFile(soft)
			h, okHard := noFile(hard)
			const want = "a soft limit of at most 1048576 and a hard one of at least 524288"
			f := unitSetting(svc, svc.LimitNOFILE, want, "1024:524288")
			switch {
			case !okSoft || !okHard:
				f.Got += ", which is no limit"
			case s > maxSoftNoFile:
				f.Got += fmt.Sprintf(", a soft limit of %d in every container", s)
			case h < 524288:
				f.Got += fmt.Sprintf(", a hard limit of %d in every container", h)
			default:
				return nil, nil
			}
			return []Finding{f}, nil
		},
	}
}

// noFile reads one number of LimitNOFILE. systemd makes of infinity the
// kernel's fs.nr_open, which it raises to this.
func noFile(s string) (uint64, bool) {
	if s == "infinity" {
		return 1073741816, true
	}
	shift := 0
	if i := strings.IndexAny(s, "KMG"); i > 0 && i == len(s)-1 {
		shift = map[byte]int{'K': 10, 'M': 20, 'G': 30}[s[i]]
		s = s[:i]
	}
	n, err := strconv.ParseUint(s, 10, 33)
	return n << shift, err == nil
}
