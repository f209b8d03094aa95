package cluster

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

func TestReleaseDeadLease(t *testing.T) {
	t.Parallel()
	taken := time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	manager := func(created time.Time, running bool) Container {
		return Container{ID: "c2", Name: controllerManager, Created: created, Running: running}
	}
	held := coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{UID: types.UID("u1"), ResourceVersion: "7"},
		Spec: coordinationv1.LeaseSpec{AcquireTime: &metav1.MicroTime{Time: taken}}}

	for name, c := range map[string]struct {
		containers []Container
		lease      *coordinationv1.Lease
		deletion   int // the server's answer to one; 200 if none is said
		holder     string
		deleted    bool
		err        string
	}{
		"taken by the one that runs": {containers: []Container{manager(taken.Add(-time.Second), true)}, lease: &held, holder: "c2"},
		"taken by one that is gone":  {containers: []Container{manager(taken.Add(time.Second), true)}, lease: &held, deleted: true},
		"by its forerunner, still listed": {containers: []Container{{ID: "c1", Name: controllerManager, Created: taken.Add(-time.Hour)},
			manager(taken.Add(time.Second), true)}, lease: &held, deleted: true},
		"renewed meanwhile":     {containers: []Container{manager(taken.Add(time.Second), true)}, lease: &held, deletion: http.StatusConflict, deleted: true},
		"the server refuses":    {containers: []Container{manager(taken.Add(time.Second), true)}, lease: &held, deletion: http.StatusForbidden, deleted: true, err: "releasing the controller manager's lease"},
		"none runs":             {containers: []Container{manager(taken.Add(time.Second), false)}, lease: &held},
		"another runs":          {containers: []Container{{ID: "x", Name: "kube-scheduler", Created: taken.Add(time.Second), Running: true}}, lease: &held},
		"no lease yet":          {containers: []Container{manager(taken, true)}},
		"a lease of nobody yet": {containers: []Container{manager(taken, true)}, lease: &coordinationv1.Lease{}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var deletions []string
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				status := func(code int) {
					w.WriteHeader(code)
					_ = json.NewEncoder(w).Encode(metav1.Status{TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: "Failure", Code: int32(code), Reason: reasons[code]})
				}
				w.Header().Set("Content-Type", "application/json")
				switch {
				case r.URL.Path != "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/kube-controller-manager":
					t.Errorf("asked for %s", r.URL.Path)
				case r.Method == http.MethodDelete:
					body, _ := io.ReadAll(r.Body)
					deletions = append(deletions, string(body))
					if c.deletion != 0 {
						status(c.deletion)
						return
					}
					_ = json.NewEncoder(w).Encode(metav1.Status{TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: "Success"})
				case c.lease == nil:
					status(http.StatusNotFound)
				default:
					lease := c.lease.DeepCopy()
					lease.TypeMeta = metav1.TypeMeta{Kind: "Lease", APIVersion: "coordination.k8s.io/v1"}
					_ = json.NewEncoder(w).Encode(lease)
				}
			}))
			defer server.Close()
			client, err := kubernetes.NewForConfig(&rest.Config{Host: server.URL, ContentConfig: rest.ContentConfig{ContentType: "application/json"}})
			if err != nil {
				t.Fatal(err)
			}
			holder, err := ReleaseDeadLease(t.Context(), client, c.containers)
			if (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
				t.Errorf("error %v, want %q", err, c.err)
			}
			if holder != c.holder {
				t.Errorf("holder %q, want %q", holder, c.holder)
			}
			if (len(deletions) > 0) != c.deleted {
				t.Errorf("deletions %q, want one: %t", deletions, c.deleted)
			}
			// Without them a lease that was renewed since would go, too.
			for _, d := range deletions {
				if !strings.Contains(d, `"uid":"u1"`) || !strings.Contains(d, `"resourceVersion":"7"`) {
					t.Errorf("the deletion %s is not bound to what was read", d)
				}
			}
		})
	}
}

var reasons = map[int]metav1.StatusReason{
	http.StatusNotFound: metav1.StatusReasonNotFound, http.StatusConflict: metav1.StatusReasonConflict, http.StatusForbidden: metav1.StatusReasonForbidden,
}
