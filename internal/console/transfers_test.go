package console

import (
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestTransfers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var lines []string
		all := NewTransfers(func(format string, args ...any) {
			mu.Lock()
			defer mu.Unlock()
			lines = append(lines, fmt.Sprintf(format, args...))
		})
		const mib = 1 << 20
		quick := all.Begin("runc 1.4.3", -1)
		time.Sleep(time.Second)
		quick.End() // too quick for a line
		a, b := all.Begin("kubelet 1.36.4", -1), all.Begin("containerd 2.2.7", -1)
		a.At(10*mib, 60*mib) // resumed
		b.At(0, -1)
		a.At(14*mib, 60*mib)
		time.Sleep(3 * time.Second)
		b.At(20*mib, 30*mib)
		c, d := all.Begin("kubectl 1.36.4", 1*mib), all.Begin("kubeadm 1.36.4", 2*mib)
		time.Sleep(10 * time.Second)
		for _, x := range []*Transfer{a, b, c, d, a} {
			x.End()
		}
		time.Sleep(time.Minute)
		want := []string{
			"downloading 2 files: 14 MiB, 2.0 MiB/s (kubelet 1.36.4, containerd 2.2.7)",
			"downloading 4 files: 34 of 93 MiB, 2.0 MiB/s, 30s left (kubelet 1.36.4, containerd 2.2.7, kubeadm 1.36.4 and 1 more)",
		}
		if diff := cmp.Diff(want, lines); diff != "" {
			t.Errorf("lines (-want +got):\n%s", diff)
		}
	})
}
