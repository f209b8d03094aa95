package bisect

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// scripted counts the runs of a test that is a function of the changes.
type scripted struct {
	judge func(set []int) Verdict
	known map[string]Verdict
	runs  int
}

func (s *scripted) ask(_ context.Context, set []int, again bool) (Verdict, error) {
	key := fmt.Sprint(set)
	if v, ok := s.known[key]; ok && !again {
		return v, nil
	}
	s.runs++
	v := s.judge(set)
	if s.known == nil {
		s.known = map[string]Verdict{}
	}
	s.known[key] = v
	return v, nil
}

// allOf is bad once all of these are taken over.
func allOf(needed ...int) func([]int) Verdict {
	return func(set []int) Verdict {
		for _, n := range needed {
			if !slices.Contains(set, n) {
				return Good
			}
		}
		return Bad
	}
}

func TestSearch(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		n     int
		judge func([]int) Verdict
		want  [][]int
		most  int // runs
		other bool
	}{
		"the only one":      {1, allOf(0), [][]int{{0}}, 4, false},
		"the first of many": {300, allOf(0), [][]int{{0}}, 15, false},
		"the last of many":  {300, allOf(299), [][]int{{299}}, 15, false},
		"one of many":       {300, allOf(137), [][]int{{137}}, 15, false},
		"two together":      {300, allOf(20, 250), [][]int{{250}, {20}}, 26, false},
		"three together":    {300, allOf(1, 2, 299), [][]int{{299}, {2}, {1}}, 38, false},
		"one of two": {10, func(set []int) Verdict {
			if slices.Contains(set, 3) || slices.Contains(set, 8) {
				return Bad
			}
			return Good
		}, [][]int{{3}}, 12, true},
		// 4 and 5 are of no use without each other.
		"two that cannot be told apart": {10, func(set []int) Verdict {
			if slices.Contains(set, 4) != slices.Contains(set, 5) {
				return Skip
			}
			return allOf(5)(set)
		}, [][]int{{4, 5}}, 14, false},
		// 7 cures what 2 breaks, and 9 breaks it again.
		"not monotone": {10, func(set []int) Verdict {
			if slices.Contains(set, 2) && (!slices.Contains(set, 7) || slices.Contains(set, 9)) {
				return Bad
			}
			return Good
		}, [][]int{{2}}, 20, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := &scripted{judge: tt.judge}
			f, err := search(t.Context(), tt.n, s.ask)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, f.sets); diff != "" {
				t.Errorf("culprits: %s", diff)
			}
			if s.runs > tt.most || f.others != tt.other {
				t.Errorf("%d runs, want at most %d; others %v, want %v", s.runs, tt.most, f.others, tt.other)
			}
			// What the result means: bad with all of it, and not with less.
			if v := tt.judge(f.members()); v != Bad {
				t.Errorf("the result is %s", v)
			}
			for _, set := range f.sets {
				if v := tt.judge(without(f.members(), set)); v == Bad {
					t.Errorf("%v is not needed", set)
				}
			}
		})
	}
}

// Whatever the test says, the answer is bad by itself or there is an error.
func TestSearchOfAnyTest(t *testing.T) {
	t.Parallel()
	for seed := range uint64(400) {
		judge := func(set []int) Verdict {
			h := seed*0x9e3779b97f4a7c15 + 1
			for _, i := range set {
				h = (h ^ uint64(i+1)) * 0x100000001b3
			}
			switch {
			case len(set) == 0:
				return Good
			case len(set) == 6:
				return Bad
			}
			return []Verdict{Good, Bad, Skip}[h>>33%3]
		}
		f, err := search(t.Context(), 6, (&scripted{judge: judge}).ask)
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		if v := judge(f.members()); v != Bad {
			t.Errorf("seed %d: the result %v is %s", seed, f.sets, v)
		}
	}
}

func TestSearchRefuses(t *testing.T) {
	t.Parallel()
	for name, judge := range map[string]func([]int) Verdict{
		"always good": func([]int) Verdict { return Good },
		"always bad":  func([]int) Verdict { return Bad },
		"never":       func([]int) Verdict { return Skip },
	} {
		if _, err := search(t.Context(), 3, (&scripted{judge: judge}).ask); !errors.Is(err, errNoContrast) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	flaky := 0
	s := &scripted{judge: func(set []int) Verdict {
		if len(set) == 0 {
			if flaky++; flaky > 1 {
				return Bad
			}
		}
		return allOf(1)(set)
	}}
	if _, err := search(t.Context(), 3, s.ask); !errors.Is(err, errDisagree) {
		t.Errorf("a test that flakes: got %v", err)
	}
}
