// Package lru is a cache that forgets what was used longest ago once the
// values it holds exceed a number of bytes. Counting bytes and not entries is
// the point: a hostile image chooses how large its tables and clusters are.
package lru

import (
	"container/list"
	"sync"
)

// Cache maps keys to byte slices. It is safe for concurrent use. Callers must
// not write to a slice that they have put in or got out.
type Cache[K comparable] struct {
	mu    sync.Mutex
	limit int64
	used  int64
	order *list.List // front is the most recent; values are *entry[K]
	items map[K]*list.Element
}

type entry[K comparable] struct {
	key K
	val []byte
}

// New returns a cache that holds at most limit bytes of values.
func New[K comparable](limit int64) *Cache[K] {
	return &Cache[K]{limit: limit, order: list.New(), items: map[K]*list.Element{}}
}

// Get returns the value stored under k and marks it as just used.
func (c *Cache[K]) Get(k K) ([]byte, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	el, ok := c.items[k]
	if !ok {
		return nil, false
	}
	c.order.MoveToFront(el)
	return el.Value.(*entry[K]).val, true
}

// Put stores v under k. A value larger than the whole cache is not kept.
func (c *Cache[K]) Put(k K, v []byte) { c.put(k, v) }

// put returns the last value that it dropped.
func (c *Cache[K]) put(k K, v []byte) (dropped []byte) {
	if int64(len(v)) > c.limit {
		return v
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if el, ok := c.items[k]; ok {
		e := el.Value.(*entry[K])
		c.used += int64(len(v)) - int64(len(e.val))
		e.val, dropped = v, e.val
		c.order.MoveToFront(el)
	} else {
		c.items[k] = c.order.PushFront(&entry[K]{k, v})
		c.used += int64(len(v))
	}
	for c.used > c.limit {
		el := c.order.Back()
		e := c.order.Remove(el).(*entry[K])
		delete(c.items, e.key)
		c.used -= int64(len(e.val))
		dropped = e.val
	}
	return dropped
}

// CopyAt copies from byte off of the value under k into p, and tells how much
// that was and whether the value was there. Nothing of the value is handed out:
// so a cache that is read by CopyAt alone can give buffers back, see Exchange.
func (c *Cache[K]) CopyAt(p []byte, k K, off int64) (n int, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	el, ok := c.items[k]
	if !ok {
		return 0, false
	}
	c.order.MoveToFront(el)
	v := el.Value.(*entry[K]).val
	return copy(p, v[min(off, int64(len(v))):]), true
}

// Exchange is Put, and returns a buffer that the cache has no more use for, nil
// if there is none. Only where no value was ever handed out by Get.
func (c *Cache[K]) Exchange(k K, v []byte) (free []byte) {
	return c.put(k, v)
}

// Used returns the number of bytes of values held now.
func (c *Cache[K]) Used() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.used
}
