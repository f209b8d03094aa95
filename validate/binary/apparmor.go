package binary

import (
	"bytes"
	"debug/elf"
	"fmt"
	"io"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
)

// Template is what containerd's built-in AppArmor profile for containers
// (cri-containerd.apparmor.d) allows.
type Template struct {
	// Found is false for programs that hold no such template; nothing is
	// known then.
	Found bool
	// PeerRunc and PeerCrun let those runtimes signal containers where
	// AppArmor 4 gives them a label of their own. Without them no plain pod
	// ends (containerd#10542); in containerd from 1.6.32, 1.7.16 and 2.0 on.
	PeerRunc, PeerCrun bool
	// ABI says whether the profile is pinned to AppArmor's ABI 3.0, which
	// keeps kernels from 6.17 on from denying unix sockets (containerd#12726).
	ABI ABIPin
}

// ABIPin is how the template is pinned.
type ABIPin string

// The ways of pinning. PinIfPresent depends on /etc/apparmor.d/abi/3.0 being
// there when containerd loads the profile.
const (
	NotPinned    ABIPin = "none"
	PinFixed     ABIPin = "fixed"
	PinIfPresent ABIPin = "if-present"
)

// ABIFile is what PinIfPresent looks for.
const ABIFile = "/etc/apparmor.d/abi/3.0"

// ReadTemplate searches a containerd for its template.
func ReadTemplate(r io.ReaderAt) (Template, error) {
	f, err := elf.NewFile(r)
	if err != nil {
		return Template{}, exitcode.BadInput(fmt.Errorf("%w: %w", ErrNotGo, err))
	}
	var t Template
	s := section(f, ".rodata")
	if s == nil {
		return t, nil
	}
	if s.Size > maxSpool {
		return t, exitcode.BadInput(fmt.Errorf("section .rodata of %d bytes, want at most %d", s.Size, maxSpool))
	}
	const (
		anchor  = "# Host (privileged) processes may send signals to container processes."
		older   = "signal (receive) peer=unconfined," // the anchor's line in releases without the comment
		overlap = 128                                 // longer than any text looked for
	)
	found := map[string]bool{}
	texts := []string{anchor, older, "signal (receive) peer=runc,", "signal (receive) peer=crun,", "abi <abi/3.0>,", "{{if .Abi}}abi <"}
	buf := make([]byte, windowSize+overlap)
	for o := int64(0); o < int64(s.Size); o += windowSize {
		n, err := s.ReadAt(buf, o)
		if err != nil && err != io.EOF {
			return t, exitcode.BadInput(fmt.Errorf("section .rodata: %w", err))
		}
		for _, text := range texts {
			found[text] = found[text] || bytes.Contains(buf[:n], []byte(text))
		}
	}
	t.Found = found[anchor] || found[older]
	t.PeerRunc, t.PeerCrun = found[texts[2]], found[texts[3]]
	t.ABI = NotPinned
	switch {
	case found[texts[5]]:
		t.ABI = PinIfPresent
	case found[texts[4]]:
		t.ABI = PinFixed
	}
	return t, nil
}
