package lru

import "testing"

func TestCacheForgetsTheLeastRecentlyUsed(t *testing.T) {
	t.Parallel()
	c := New[int](30)
	for i := range 3 {
		c.Put(i, make([]byte, 10))
	}
	if _, ok := c.Get(0); !ok { // 0 is now the most recent, 1 the oldest
		t.Fatal("0 was forgotten below the limit")
	}
	c.Put(3, make([]byte, 10))
	if _, ok := c.Get(1); ok {
		t.Error("1 is still there: the least recently used was not forgotten")
	}
	for _, k := range []int{0, 2, 3} {
		if _, ok := c.Get(k); !ok {
			t.Errorf("%d was forgotten", k)
		}
	}
}

func TestCacheKeepsItsByteLimit(t *testing.T) {
	t.Parallel()
	c := New[int](100)
	c.Put(0, make([]byte, 101))
	if _, ok := c.Get(0); ok {
		t.Error("a value larger than the cache was kept")
	}
	for i := range 1000 {
		c.Put(i%7, make([]byte, i%60)) // replacing must be accounted for too
		if u := c.Used(); u < 0 || u > 100 {
			t.Fatalf("after put %d: %d bytes held, the limit is 100", i, u)
		}
	}
}

func TestBuffersComeBackFromTheCache(t *testing.T) {
	t.Parallel()
	c := New[int](20)
	first, second := []byte("0123456789"), []byte("abcdefghij")
	if free := c.Exchange(0, first); free != nil {
		t.Errorf("got %q back from an empty cache", free)
	}
	if free := c.Exchange(0, second); &free[0] != &first[0] {
		t.Errorf("got %q back, want the value that was replaced", free)
	}
	c.Exchange(1, make([]byte, 10))
	if free := c.Exchange(2, make([]byte, 10)); &free[0] != &second[0] {
		t.Errorf("got %q back, want the value used longest ago", free)
	}
	big := make([]byte, 21)
	if free := c.Exchange(3, big); &free[0] != &big[0] {
		t.Error("a value larger than the cache did not come back")
	}
}

func TestCopyAt(t *testing.T) {
	t.Parallel()
	c := New[int](20)
	c.Put(0, []byte("0123456789"))
	p := make([]byte, 4)
	if n, ok := c.CopyAt(p, 0, 3); n != 4 || !ok || string(p) != "3456" {
		t.Errorf("got %d bytes %q, %v; want 3456", n, p, ok)
	}
	if n, ok := c.CopyAt(p, 0, 8); n != 2 || !ok {
		t.Errorf("got %d bytes, %v at the end; want 2", n, ok)
	}
	if n, ok := c.CopyAt(p, 0, 11); n != 0 || !ok {
		t.Errorf("got %d bytes, %v behind the end; want 0", n, ok)
	}
	if _, ok := c.CopyAt(p, 1, 0); ok {
		t.Error("a value that was never put is there")
	}
}
