package memory

import "testing"

func TestScratchVariable(t *testing.T) {
	for value, ok := range map[string]bool{"": true, OnDisk: true, "memory": false, "Disk": false} {
		t.Setenv(ScratchVariable, value)
		if err := Check(); (err == nil) != ok {
			t.Errorf("%q: %v", value, err)
		}
		if value == OnDisk && Room() != 0 {
			t.Errorf("%q: a build has %d bytes of memory", value, Room())
		}
	}
}

func TestRoom(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		meminfo string
		want    int64
	}{
		"plenty":     {"MemTotal: 33554432 kB\nMemAvailable:   16777216 kB\n", 8 << 30},
		"enough":     {"MemAvailable: 8388608 kB\n", 4 << 30},
		"too little": {"MemAvailable: 8388607 kB\n", 0},
		"other unit": {"MemAvailable: 8388608 MB\n", 0},
		"no number":  {"MemAvailable: lots kB\n", 0},
		"not there":  {"MemTotal: 33554432 kB\n", 0},
		"empty":      {"", 0},
	} {
		if got := room(test.meminfo); got != test.want {
			t.Errorf("%s: %d, want %d", name, got, test.want)
		}
	}
}
