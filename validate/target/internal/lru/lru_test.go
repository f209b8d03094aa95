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
