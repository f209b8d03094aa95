// Package nodediff says in what two nodes differ: packages, kernel,
// components, container images, the configuration in effect, sizes and files.
//
// A side is an image, a directory or a tar that is a root file system, the
// manifest of an image, a lock, or a profile. Each says what it can; what only
// one of them can tell is not compared, and the report says that instead of
// taking silence for a difference or for none.
package nodediff

import (
	"context"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/treediff"
	"github.com/nodeimage/packer-plugin-nodeimage/validate/dpkg"
	"github.com/nodeimage/packer-plugin-nodeimage/validate/target"
)

// Fact is one thing that a side says.
type Fact struct {
	Value string
	// Sum is what else decides, where both sides have it: the same version
	// with another sum is a difference.
	Sum string
	// From is the file and line that say so, "" where there is none.
	From string
	// Bytes is the value as a number of bytes, for sizes.
	Bytes int64
}

// facts are what a side says of one topic, by key.
type facts map[string]Fact

// topics are those of the report, in its order. Configuration comes between.
func topics() []string {
	return []string{"os", "base", "kernel", "packages", "components", "programs", "container images",
		"containerd", "kubelet", "kernel command line", "sysctl", "modules", "systemd", "fstab", "disk", "sizes"}
}

// Subject is one of the two sides.
type Subject struct {
	Path string `json:"path"`
	Kind string `json:"kind"` // qcow2, raw, directory, tar, manifest, lock, profile
	// SHA256 of the file as it lies there; "" for a directory.
	SHA256 string `json:"sha256,omitempty"`
}

// Change is one fact that differs.
type Change struct {
	Key  string        `json:"key"`
	Kind treediff.Kind `json:"kind"`
	A    string        `json:"a,omitempty"`
	B    string        `json:"b,omitempty"`
	// FromA and FromB are the files and lines in the images that say so.
	FromA string `json:"fromA,omitempty"`
	FromB string `json:"fromB,omitempty"`
	// Delta is B less A in bytes, for sizes.
	Delta int64 `json:"delta,omitempty"`
}

// Topic is what differs in one topic that both sides tell of.
type Topic struct {
	Name    string   `json:"name"`
	Total   int      `json:"total"` // keys of either side
	Changes []Change `json:"changes"`
}

// Left is a topic that was not compared.
type Left struct {
	Topic  string `json:"topic"`
	Reason string `json:"reason"`
}

// FileChange is a file that differs.
type FileChange struct {
	treediff.Change
	// Owner is what brought the file: "package NAME", "component NAME",
	// "dpkg's database", "containerd's store"; "" if nothing is known to have.
	Owner string `json:"owner,omitempty"`
}

// Files are the differences of two trees.
type Files struct {
	Changes []FileChange `json:"changes"`
	Total   int          `json:"total"` // more than listed, if there were too many
	CountA  int          `json:"countA"`
	CountB  int          `json:"countB"`
	// MetadataOnly says that content was not read.
	MetadataOnly bool `json:"metadataOnly,omitempty"`
}

// Report is all in which A and B differ.
type Report struct {
	A      Subject              `json:"a"`
	B      Subject              `json:"b"`
	Same   bool                 `json:"same"` // nothing that was compared differs
	Topics []Topic              `json:"topics"`
	Left   []Left               `json:"notCompared,omitempty"`
	Files  *Files               `json:"files,omitempty"`
	Disk   *treediff.DiskResult `json:"disk,omitempty"`
}

// Depth is how closely files are looked at.
type Depth string

// The depths. Content reads every file of both sides.
const (
	Content  Depth = "content"
	Metadata Depth = "metadata" // type, mode, owner, size, link
	None     Depth = "none"
)

// Options says what is compared.
type Options struct {
	Files Depth // "" stands for Content
	Times bool  // times of files are a difference
	// Disk compares the bytes of the disks, and not only their tables.
	Disk bool
}

// Compare compares what lies at the paths a and b. Errors carry exit code 2 if
// one of them is nothing that can be compared, and 75 if it could not be read.
func Compare(ctx context.Context, a, b string, opts Options) (Report, error) {
	sideA, err := open(ctx, a)
	if err != nil {
		return Report{}, err
	}
	defer sideA.close()
	sideB, err := open(ctx, b)
	if err != nil {
		return Report{}, err
	}
	defer sideB.close()
	report := Report{A: sideA.subject, B: sideB.subject, Same: true}
	for _, name := range topics() {
		inA, inB := sideA.facts[name], sideB.facts[name]
		if inA == nil || inB == nil {
			report.leave(name, sideA, sideB)
			continue
		}
		topic := compare(name, inA, inB)
		report.Topics = append(report.Topics, topic)
		// The size of a file that holds the same system in another form is
		// told, and is no difference of the system.
		if len(topic.Changes) > 0 && name != "sizes" {
			report.Same = false
		}
	}
	if sideA.target == nil || sideB.target == nil {
		report.leave("files", sideA, sideB)
		return report, nil
	}
	if err := report.files(ctx, sideA, sideB, opts); err != nil {
		return Report{}, err
	}
	return report, report.disk(ctx, sideA, sideB, opts)
}

// leave notes why a topic is not compared. What neither side tells of is not
// worth a word.
func (r *Report) leave(topic string, a, b *side) {
	var reasons []string
	for _, s := range []*side{a, b} {
		told := s.facts[topic] != nil || topic == "files" && s.target != nil
		if told {
			continue
		}
		reason := s.absent[topic]
		if reason == "" {
			reason = fmt.Sprintf("the %s %s does not tell", s.subject.Kind, s.subject.Path)
		} else {
			reason = s.subject.Path + ": " + reason
		}
		reasons = append(reasons, reason)
	}
	if len(reasons) == 1 || a.absent[topic] != "" || b.absent[topic] != "" {
		r.Left = append(r.Left, Left{topic, strings.Join(reasons, "; ")})
	}
}

// compare compares the facts of one topic.
func compare(name string, a, b facts) Topic {
	all := maps.Clone(a)
	maps.Copy(all, b)
	topic := Topic{Name: name, Total: len(all), Changes: []Change{}}
	for _, key := range slices.Sorted(maps.Keys(all)) {
		x, inA := a[key]
		y, inB := b[key]
		c := Change{Key: key, A: x.Value, B: y.Value, FromA: x.From, FromB: y.From, Delta: y.Bytes - x.Bytes}
		switch {
		case !inB:
			c.Kind = treediff.Removed
		case !inA:
			c.Kind = treediff.Added
		case x.Value != y.Value:
			c.Kind = treediff.Changed
		case x.Sum != "" && y.Sum != "" && x.Sum != y.Sum:
			c.Kind = treediff.Changed
			c.A, c.B = x.Value+" ("+shortSum(x.Sum)+")", y.Value+" ("+shortSum(y.Sum)+")"
		default:
			continue
		}
		topic.Changes = append(topic.Changes, c)
	}
	return topic
}

// shortSum is enough of a sum to tell two apart by eye.
func shortSum(s string) string { return s[:min(len(s), 19)] }

// files compares the trees and says to whom each file belongs.
func (r *Report) files(ctx context.Context, a, b *side, opts Options) error {
	if opts.Files == None {
		return nil
	}
	o := treediff.Options{Times: opts.Times, Metadata: opts.Files == Metadata}
	if a.running || b.running {
		// What the kernel and the boot make, and what others mount.
		o.Skip = func(p string) bool {
			return slices.Contains([]string{"/proc", "/sys", "/dev", "/run", "/tmp", "/mnt", "/media"}, p)
		}
		r.Left = append(r.Left, Left{"/proc, /sys, /dev, /run, /tmp, /mnt and /media", "one side is a running system"})
	}
	result, err := treediff.Trees(ctx, a.target.Root(), b.target.Root(), o)
	if err != nil {
		return fmt.Errorf("comparing the files of %s and %s: %w", a.subject.Path, b.subject.Path, err)
	}
	owners, err := owners(result.Changes, a, b)
	if err != nil {
		return err
	}
	r.Files = &Files{Changes: []FileChange{}, Total: result.Total, CountA: result.FilesA, CountB: result.FilesB, MetadataOnly: o.Metadata}
	for _, c := range result.Changes {
		r.Files.Changes = append(r.Files.Changes, FileChange{c, owners[c.Path]})
	}
	r.Same = r.Same && result.Same()
	return nil
}

// disk compares partition tables, and with Options.Disk every byte.
func (r *Report) disk(ctx context.Context, a, b *side, opts Options) error {
	diskA, _ := a.target.Disk()
	diskB, _ := b.target.Disk()
	if diskA == nil || diskB == nil {
		if opts.Disk {
			r.Left = append(r.Left, Left{"bytes of the disk", "only one of the two is a disk, or none"})
		}
		return nil
	}
	if !opts.Disk {
		return nil
	}
	result, err := treediff.Disks(ctx, a.target, b.target)
	if err != nil {
		return err
	}
	r.Disk = &result
	r.Same = r.Same && result.Same()
	return nil
}

// owners says what brought each changed file, as the side says that has it.
func owners(changes []treediff.Change, a, b *side) (map[string]string, error) {
	var inA, inB []string
	for _, c := range changes {
		if c.B == nil {
			inA = append(inA, c.Path)
		} else {
			inB = append(inB, c.Path)
		}
	}
	all := map[string]string{}
	for _, part := range []struct {
		side  *side
		paths []string
	}{{a, inA}, {b, inB}} {
		var names map[string]string
		if db := part.side.dpkg; db != nil {
			var err error
			if names, err = db.Owners(part.side.target.Root(), part.paths); err != nil {
				return nil, err
			}
		}
		for _, p := range part.paths {
			switch name, made := names[p], part.side.made[p]; {
			case made != "":
				all[p] = "component " + made
			case name != "":
				all[p] = "package " + name
			default:
				all[p] = place(p)
			}
		}
	}
	return all, nil
}

// place names what writes below a well-known directory.
func place(p string) string {
	for dir, name := range map[string]string{
		dpkg.Status: "dpkg's database", "/var/lib/dpkg": "dpkg's database", "/var/lib/containerd": "containerd's store",
		"/usr/lib/nodeimage": "nodeimage's record", "/var/lib/apt": "apt's state", "/var/lib/systemd": "systemd's state",
	} {
		if p == dir || strings.HasPrefix(p, dir+"/") {
			return name
		}
	}
	for _, dir := range []string{"/lib/modules/", "/usr/lib/modules/"} {
		if rest, ok := strings.CutPrefix(p, dir); ok && strings.HasPrefix(afterSlash(rest), "modules.") {
			return "depmod"
		}
	}
	if strings.HasPrefix(p, "/boot/initrd") {
		return "initramfs"
	}
	return ""
}

func afterSlash(s string) string {
	_, after, _ := strings.Cut(s, "/")
	return after
}

// rootBytes is the sum of all regular files of a tree, in bytes, each once
// however many names it has.
func rootBytes(ctx context.Context, root target.FS) (int64, error) {
	var sum int64
	seen := map[uint64]bool{}
	err := target.Walk(ctx, root, ".", func(_ string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		fi, err := d.Info()
		if err != nil {
			return err
		}
		if sys, ok := target.SysOf(fi); ok && sys.Links > 1 && sys.Inode != 0 {
			if seen[sys.Inode] {
				return nil
			}
			seen[sys.Inode] = true
		}
		sum += fi.Size()
		return nil
	})
	return sum, err
}
