package machine

import (
	"testing"
	"time"
)

func TestParseBootTimes(t *testing.T) {
	t.Parallel()
	ms := time.Millisecond
	for _, test := range []struct {
		name, text string
		want       BootTimes
	}{
		{"BIOS without an initrd", "FirmwareTimestampMonotonic=0\nLoaderTimestampMonotonic=0\nInitRDTimestampMonotonic=0\nUserspaceTimestampMonotonic=7000000\nFinishTimestampMonotonic=32000000\n",
			BootTimes{Kernel: 7000 * ms, Userspace: 25000 * ms}},
		{"UEFI with all", "FirmwareTimestampMonotonic=5000000\nLoaderTimestampMonotonic=2000000\nInitRDTimestampMonotonic=1500000\nUserspaceTimestampMonotonic=4000000\nFinishTimestampMonotonic=9000000\n",
			BootTimes{Firmware: 3000 * ms, Loader: 2000 * ms, Kernel: 1500 * ms, Initrd: 2500 * ms, Userspace: 5000 * ms}},
		{"not finished", "UserspaceTimestampMonotonic=7000000\nFinishTimestampMonotonic=0\n", BootTimes{Kernel: 7000 * ms}},
	} {
		if got, err := parseBootTimes(test.text); err != nil || got != test.want {
			t.Errorf("%s: got %+v, %v; want %+v", test.name, got, err, test.want)
		}
	}
	for _, text := range []string{"", "Finish=1\n", "UserspaceTimestampMonotonic=soon\n"} {
		if got, err := parseBootTimes(text); err == nil {
			t.Errorf("%q gave %+v", text, got)
		}
	}
}
