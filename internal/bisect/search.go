package bisect

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// Verdict is what a test says of a candidate.
type Verdict string

// The verdicts. Skip is none: the candidate could not be tested.
const (
	Good Verdict = "good"
	Bad  Verdict = "bad"
	Skip Verdict = "skip"
)

// ask tests GOOD with the changes of those numbers, which are sorted. again
// asks for a new run of a candidate whose verdict is known.
type ask func(ctx context.Context, set []int, again bool) (Verdict, error)

// found is what a search came to.
type found struct {
	// sets are the changes that together turn the verdict, in the order in
	// which they were found. A set of several could not be taken apart, since
	// candidates with a part of it cannot be tested.
	sets [][]int
	// unsure are those of the sets without which no candidate could be tested.
	unsure [][]int
	// others says that BAD stays bad without all of them.
	others bool
}

// errDisagree says that a candidate got both verdicts.
var errDisagree = errors.New("the test is not steady")

// errNoContrast says that GOOD is not good or BAD not bad.
var errNoContrast = errors.New("the test does not tell GOOD from BAD")

// search finds the smallest set of n changes that turns the verdict. Each turn
// halves the changes in question until one is left that the rest needs: for k
// changes that act together it takes about k·log2(n) tests, and for a single one
// it is the bisection that everybody knows.
//
// That rests on bad staying bad when more is taken over. What it finds is
// tested by itself in the end, so it is right even where that does not hold.
func search(ctx context.Context, n int, test ask) (*found, error) {
	all := numbers(n)
	if v, err := test(ctx, nil, false); err != nil || v != Good {
		return nil, cmpErr(err, fmt.Errorf("%w: GOOD as it is gets the verdict %s", errNoContrast, v))
	}
	if v, err := test(ctx, all, false); err != nil || v != Bad {
		return nil, cmpErr(err, fmt.Errorf("%w: BAD as it is gets the verdict %s", errNoContrast, v))
	}
	f := &found{}
	for rest := all; len(rest) > 0; {
		if len(f.sets) > 0 {
			v, err := test(ctx, f.members(), false)
			if err != nil {
				return f, err
			}
			if v == Bad {
				break
			}
		}
		// With found and rest[:hi] it is bad, with found and rest[:lo] not.
		lo, hi, err := narrow(ctx, f.members(), rest, test)
		if err != nil {
			return f, err
		}
		f.sets = append(f.sets, slices.Clone(rest[lo:hi]))
		rest = rest[:lo]
	}
	if err := f.shrink(ctx, test); err != nil {
		return f, err
	}
	return f, f.confirm(ctx, all, test)
}

func cmpErr(err, otherwise error) error {
	if err != nil {
		return err
	}
	return otherwise
}

func numbers(n int) []int {
	all := make([]int, n)
	for i := range all {
		all[i] = i
	}
	return all
}

// join is the sorted union.
func join(a, b []int) []int {
	all := slices.Concat(a, b)
	slices.Sort(all)
	return slices.Compact(all)
}

func without(a, b []int) []int {
	return slices.DeleteFunc(slices.Clone(a), func(i int) bool { return slices.Contains(b, i) })
}

func (f *found) members() []int { return join(nil, slices.Concat(f.sets...)) }

// narrow finds neighbours lo < hi such that base with rest[:lo] is not bad and
// base with rest[:hi] is. More than one lies between them only where nothing
// between can be tested.
func narrow(ctx context.Context, base, rest []int, test ask) (lo, hi int, err error) {
	lo, hi = 0, len(rest)
	skipped := map[int]bool{}
	for {
		mid := between(lo, hi, skipped)
		if mid < 0 {
			return lo, hi, nil
		}
		switch v, err := test(ctx, join(base, rest[:mid]), false); {
		case err != nil:
			return lo, hi, err
		case v == Bad:
			hi = mid
		case v == Good:
			lo = mid
		default:
			skipped[mid] = true
		}
	}
}

// between is the number nearest to the middle of lo and hi that was not
// skipped, -1 if there is none.
func between(lo, hi int, skipped map[int]bool) int {
	mid := (lo + hi) / 2
	for d := 0; mid-d > lo || mid+d < hi; d++ {
		for _, i := range []int{mid - d, mid + d} {
			if i > lo && i < hi && !skipped[i] {
				return i
			}
		}
	}
	return -1
}

// shrink drops what the verdict does not need: with a test that is not
// monotone, or that skipped, the search may have taken too much.
func (f *found) shrink(ctx context.Context, test ask) error {
	drop := func(set []int) (Verdict, error) {
		fewer := without(f.members(), set)
		if len(fewer) == 0 {
			return Good, nil
		}
		return test(ctx, fewer, false)
	}
	for i := 0; i < len(f.sets); i++ {
		v, err := drop(f.sets[i])
		if err != nil {
			return err
		}
		if v == Bad {
			f.sets = slices.Delete(f.sets, i, i+1)
			i--
			continue
		}
		if v == Skip {
			f.unsure = append(f.unsure, f.sets[i])
		}
		for j := 0; len(f.sets[i]) > 1 && j < len(f.sets[i]); j++ {
			v, err := drop(f.sets[i][j : j+1])
			if err != nil {
				return err
			}
			if v == Bad {
				f.sets[i] = slices.Delete(f.sets[i], j, j+1)
				j--
			}
		}
	}
	return nil
}

// confirm asks again, of what was found and of GOOD, and looks whether it is all.
func (f *found) confirm(ctx context.Context, all []int, test ask) error {
	for _, c := range []struct {
		set  []int
		want Verdict
	}{{f.members(), Bad}, {nil, Good}} {
		v, err := test(ctx, c.set, true)
		if err != nil {
			return err
		}
		if v != c.want && v != Skip {
			return fmt.Errorf("%w: the same candidate was %s before and is %s now", errDisagree, c.want, v)
		}
	}
	rest := without(all, f.members())
	if len(rest) == 0 {
		return nil
	}
	v, err := test(ctx, rest, false)
	f.others = v == Bad
	return err
}
