package target

import (
	"context"
	"io/fs"
)

// MaxWalk is how many names Walk visits at most. A node has some ten thousand.
const MaxWalk = 4 << 20

// Walk is fs.WalkDir that ends with ctx, and with an error of exit code 2 after
// MaxWalk names: the directories of a hostile image may share their content,
// and so show more files than it has bytes.
func Walk(ctx context.Context, fsys FS, root string, fn fs.WalkDirFunc) error {
	return walk(ctx, fsys, root, MaxWalk, fn)
}

func walk(ctx context.Context, fsys FS, root string, limit int, fn fs.WalkDirFunc) error {
	n := 0
	return fs.WalkDir(fsys, root, func(p string, d fs.DirEntry, err error) error {
		if n++; n > limit {
			return badf("walking %s: more than %d names", root, limit)
		}
		if n%1024 == 1 && ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return fn(p, d, err)
	})
}
