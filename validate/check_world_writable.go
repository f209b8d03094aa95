package validate

import (
	"context"
	"io/fs"
)

func worldWritable() Check {
	return Check{
		ID:         "world-writable",
		Title:      "anybody may write to a file, or replace files of a directory",
		Why:        `A process that gets out of a container as any user, or any service's account, changes what root runs or reads.`,
		Reads:      "the modes of all files and directories",
		Fix:        "chmod o-w FILE; chmod +t DIRECTORY",
		Severity:   Error,
		References: []string{"https://manpages.debian.org/trixie/manpages/inode.7.en.html"},
		Run: func(_ context.Context, n *Node) ([]Finding, error) {
			all, err := n.inventory()
			if err != nil {
				return nil, err
			}
			var found []Finding
			for _, i := range all {
				if i.mode.Perm()&0o002 == 0 {
					continue
				}
				f := Finding{File: i.path, Got: i.mode.String(), Want: "not writable for all", Fix: "chmod o-w " + shellWord(i.path)}
				switch {
				case i.mode.IsRegular():
				case i.mode.IsDir() && i.mode&fs.ModeSticky == 0:
					f.Want, f.Fix = "not writable for all, or sticky", "chmod +t "+shellWord(i.path)
				default:
					continue
				}
				found = append(found, f)
			}
			return several(found, 20), nil
		},
	}
}
