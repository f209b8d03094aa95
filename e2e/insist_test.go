package e2e

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

func TestInsist(t *testing.T) {
	t.Parallel()
	resource := schema.GroupResource{Resource: "pods"}
	lost := errors.New("http2: client connection lost")
	exists := apierrors.NewAlreadyExists(resource, "trap")
	for name, tc := range map[string]struct {
		answers []error // the last one stays
		want    error
		calls   int
	}{
		"at once":                         {[]error{nil}, nil, 1},
		"lost, then made":                 {[]error{lost, lost, nil}, nil, 3},
		"lost, but it had been made":      {[]error{lost, exists}, nil, 2},
		"there before":                    {[]error{exists}, exists, 1},
		"refused":                         {[]error{apierrors.NewForbidden(resource, "trap", lost)}, nil, 1},
		"too busy, then made":             {[]error{apierrors.NewTooManyRequests("later", 1), nil}, nil, 2},
		"never comes through, gives up":   {[]error{lost}, lost, int(insistFor/insistInterval) + 1},
		"service unavailable, gives that": {[]error{apierrors.NewServiceUnavailable("x"), exists}, nil, 2},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				calls := 0
				err := insist(t.Context(), func() error {
					answer := tc.answers[min(calls, len(tc.answers)-1)]
					calls++
					return answer
				}, apierrors.IsAlreadyExists)
				switch {
				case name == "refused":
					if !apierrors.IsForbidden(err) {
						t.Errorf("got %v", err)
					}
				case !errors.Is(err, tc.want) || tc.want == nil && err != nil:
					t.Errorf("got %v, want %v", err, tc.want)
				}
				if calls < tc.calls-1 || calls > tc.calls {
					t.Errorf("%d requests, want %d", calls, tc.calls)
				}
			})
		})
	}
}

func TestInsistEndsWithItsContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		err := insist(ctx, func() error { return errors.New("lost") }, nil)
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
	})
}
