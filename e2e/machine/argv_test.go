package machine

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files anew")

func testVM() vm {
	return vm{
		arch: AMD64, accel: AccelTCG, cpus: 2, memoryMiB: 4096,
		overlay: "/scratch/overlay.qcow2", seed: "/scratch/seed.iso", qmp: "/scratch/qmp",
		console: "/evidence/a,b/console.log", journal: "/evidence/a,b/journal-stream.log",
		mac:  newMAC([3]byte{1, 2, 0xff}),
		uuid: newUUID([16]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4, 5, 6}),
	}
}

func TestArgv(t *testing.T) {
	t.Parallel()
	bios := testVM()
	uefi := testVM()
	uefi.accel = AccelKVM
	uefi.firmware = firmwareFiles{code: "/usr/share/OVMF/OVMF_CODE_4M.fd", vars: "/scratch/vars.fd", format: "raw"}
	arm := testVM()
	arm.arch = ARM64
	arm.firmware = firmwareFiles{code: "/usr/share/AAVMF/AAVMF_CODE.fd", vars: "/scratch/vars.fd", format: "raw"}
	armKVM := arm
	armKVM.accel = AccelKVM
	direct := testVM()
	direct.kernel = directKernel{"/k", "/i", "root=/dev/vda rw"}
	for name, v := range map[string]vm{"bios-tcg": bios, "uefi-kvm": uefi, "direct-kernel": direct, "arm64-tcg": arm, "arm64-kvm": armKVM} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			// An option and its value on one line.
			got := strings.ReplaceAll(strings.Join(v.argv(), "\n")+"\n", "\n-", "\x00-")
			got = strings.ReplaceAll(strings.ReplaceAll(got, "\n", " "), "\x00", "\n") + "\n"
			golden := filepath.Join("testdata", "argv", name+".txt")
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("argv (-want +got):\n%s", diff)
			}
		})
	}
}

func TestIdentities(t *testing.T) {
	t.Parallel()
	if got, want := newMAC([3]byte{1, 2, 0xff}), "52:54:00:01:02:ff"; got != want {
		t.Errorf("MAC %q: want %q", got, want)
	}
	if got, want := testVM().uuid, "ffffffff-ffff-4fff-bfff-010203040506"; got != want {
		t.Errorf("UUID %q: want %q (version 4)", got, want)
	}
}

func TestForwardedPort(t *testing.T) {
	t.Parallel()
	const head = "Hub -1 (net):\r\n  Protocol[State]    FD  Source Address  Port   Dest. Address  Port RecvQ SendQ\r\n"
	for _, test := range []struct {
		name, info string
		want       int
	}{
		{"one", head + "  TCP[HOST_FORWARD]  12       127.0.0.1 41233       10.0.2.15    22     0     0\r\n", 41233},
		{"beside a connection", head + "  TCP[ESTABLISHED]   20       127.0.0.1 50000       10.0.2.15    22     0     0\r\n  TCP[HOST_FORWARD]  12       127.0.0.1   999       10.0.2.15    22     0     0\r\n", 999},
		{"to another port", head + "  TCP[HOST_FORWARD]  12       127.0.0.1 41233       10.0.2.15    80     0     0\r\n", 0},
		{"port zero", head + "  TCP[HOST_FORWARD]  12       127.0.0.1 0       10.0.2.15    22     0     0\r\n", 0},
		{"none", head, 0},
		{"nothing", "", 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got, err := forwardedPort(test.info)
			if got != test.want || (err != nil) != (test.want == 0) {
				t.Errorf("got %d, %v; want %d", got, err, test.want)
			}
		})
	}
}
