// Package machine boots a node image in a throw-away virtual machine and hands
// out a [Node]: commands, files, connections and reboots, all over SSH.
//
// The image is only ever read: QEMU writes to an overlay that is deleted when
// the machine stops. The guest cannot reach any network but the one port that
// the host forwards to its SSH server, so whatever a spec sees working works
// offline. Identity and access come from a NoCloud seed with keys made for
// this one machine; the private halves never reach the evidence directory.
//
// Three ways of not coming up are told apart, since they have different
// culprits: [ErrNeverStarted] (the host), [ErrGuestDied] (the image panicked
// or powered off) and [ErrGuestHang] (the virtual machine runs, nobody
// answers). The evidence directory always holds the serial console from its
// first byte, QEMU's own log and command line, the QMP transcript and the
// journal as the guest streamed it over a virtio port.
package machine
