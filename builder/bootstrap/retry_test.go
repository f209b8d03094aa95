package bootstrap

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/run"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/run/runtest"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/store"
)

const asked = "I: running apt-get update...\nI: downloading packages with apt...\n"

// What apt and mmdebstrap 1.3.5 print when a mirror answers so.
const (
	refused = asked + "E: Failed to fetch http://m/pool/a.deb  503  Service Unavailable [IP: 192.0.2.1 80]\n" +
		"E: Failed to fetch http://m/pool/b.deb  Connection failed [IP: 192.0.2.1 80]\n" +
		"E: Unable to fetch some archives, maybe run apt-get update or try with --fix-missing?\n" +
		"E: apt download failed: E: apt-get --yes install x failed\n" +
		"I: main() received signal PIPE: waiting for setup...\nE: mmdebstrap failed to run\n"
	noIndex = "Ign:1 http://m trixie InRelease\nErr:1 http://m trixie InRelease\n  Could not connect to m:80 (192.0.2.1). - connect (111: Connection refused)\n" +
		"E: Some index files failed to download. They have been ignored, or old ones used instead.\n" +
		"E: apt-get update --error-on=any -oAPT::Status-Fd=<$fd> failed\nE: mmdebstrap failed to run\n"
	silent   = asked + "E: apt download failed: E: apt-get --yes install x failed\nE: mmdebstrap failed to run\n"
	packaged = asked + "E: Unable to locate package nosuch\nE: apt download failed: E: apt-get --yes install nosuch failed\nE: mmdebstrap failed to run\n"
	unsigned = "Err:1 http://m trixie InRelease\n  The following signatures couldn't be verified because the public key is not available: NO_PUBKEY 6ED0E7B82643E131\n" +
		"E: Failed to fetch http://m/dists/trixie/InRelease  The following signatures couldn't be verified because the public key is not available: NO_PUBKEY 6ED0E7B82643E131\n" +
		"E: apt-get update --error-on=any failed\nE: mmdebstrap failed to run\n"
)

// attempts makes a base with an mmdebstrap that says these things, one each
// time, and works where that is empty.
func attempts(t *testing.T, says ...string) (slept []time.Duration, told []string, err error) {
	t.Helper()
	srv := mirror(t, map[string]string{"trixie": "one", "trixie-updates": "two"})
	s, err := store.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	host := runtest.New(t)
	host.Expect("mmdebstrap", "--version").Returns("mmdebstrap 1.5\n")
	for _, said := range says {
		call := host.ExpectFunc("mmdebstrap", func(c run.Cmd) bool { return strings.Contains(run.Quote(c.Argv), "mmdebstrap --mode=root") })
		call.Does(func(_ context.Context, c run.Cmd) error {
			out, scratch := c.Argv[len(c.Argv)-2], filepath.Dir(c.Argv[len(c.Argv)-1])
			if _, err := os.Stat(out); err == nil && said == "" {
				t.Error("the part of a tar that an attempt left is still there")
			}
			if said != "" {
				return os.WriteFile(out, []byte("half a tar"), 0o644)
			}
			return errors.Join(
				os.WriteFile(out, []byte("tar"), 0o644),
				os.WriteFile(filepath.Join(scratch, statusName), []byte(status), 0o644),
				os.WriteFile(filepath.Join(scratch, listsName), listsTar(t, goodLists()), 0o644),
			)
		})
		if said != "" {
			call.Fails(25, said)
		}
	}
	m := Maker{
		Host: host, Store: s, Progress: func(line string) { told = append(told, line) },
		sleep: func(_ context.Context, d time.Duration) error { slept = append(slept, d); return nil },
	}
	_, err = m.Make(t.Context(), profile(t, srv.URL+"/debian"))
	return slept, told, err
}

func TestANetworkThatFailsIsTriedAgain(t *testing.T) {
	t.Parallel()
	slept, told, err := attempts(t, refused, "")
	if err != nil {
		t.Errorf("the second attempt did not make it: %v", err)
	}
	if diff := cmp.Diff([]time.Duration{pauses[0]}, slept); diff != "" {
		t.Errorf("pauses (-want +got):\n%s", diff)
	}
	if len(told) == 0 || !slices.ContainsFunc(told, func(line string) bool {
		return strings.Contains(line, "another attempt in 5s") && strings.Contains(line, "503")
	}) {
		t.Errorf("nobody was told why it takes longer: %q", told)
	}
}

func TestANetworkThatIsDownEndsIt(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		said string
		want []string
		not  string
	}{
		"packages": {refused, []string{"a.deb  503  Service Unavailable", "b.deb  Connection failed", "3 attempts"}, "apt download failed"},
		"index":    {noIndex, []string{"Err:1 http://m trixie InRelease", "connect (111: Connection refused)", "3 attempts"}, "mmdebstrap failed"},
		"silent":   {silent, []string{"apt download failed", "3 attempts"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			slept, _, err := attempts(t, tc.said, tc.said, tc.said)
			if exitcode.Of(err) != exitcode.Infrastructure || len(slept) != 2 {
				t.Fatalf("code %d after %d pauses: %v", exitcode.Of(err), len(slept), err)
			}
			for _, want := range tc.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("the error lacks %q: %v", want, err)
				}
			}
			if tc.not != "" && strings.Contains(err.Error(), tc.not) {
				t.Errorf("the error has the noise %q: %v", tc.not, err)
			}
		})
	}
}

func TestWhatNoRetryMendsIsNotTriedAgain(t *testing.T) {
	t.Parallel()
	for name, said := range map[string]string{"package": packaged, "signature": unsigned} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			// A second command would be unexpected, and fail the test.
			if slept, _, err := attempts(t, said); exitcode.Of(err) != exitcode.Usage || len(slept) > 0 {
				t.Errorf("code %d after %d pauses: %v", exitcode.Of(err), len(slept), err)
			}
		})
	}
}

func TestAnIndexThatComesLater(t *testing.T) {
	t.Parallel()
	var asked atomic.Int32
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if asked.Add(1) == 1 {
			http.Error(w, "", http.StatusServiceUnavailable)
		}
	}))
	t.Cleanup(srv.Close)
	m, _, _ := newMaker(t, nil, packaged)
	// The archive answers the second time, and mmdebstrap is asked.
	if _, err := m.Make(t.Context(), profile(t, srv.URL)); exitcode.Of(err) != exitcode.Usage {
		t.Errorf("code %d: %v", exitcode.Of(err), err)
	}
}

func TestReasonsAreFew(t *testing.T) {
	t.Parallel()
	var said strings.Builder
	for _, name := range []string{"a", "b", "c", "d", "d", "e"} {
		said.WriteString("E: Failed to fetch http://m/" + name + ".deb  404  Not Found\n")
	}
	want := "E: Failed to fetch http://m/a.deb  404  Not Found; E: Failed to fetch http://m/b.deb  404  Not Found; E: Failed to fetch http://m/c.deb  404  Not Found (and 2 more)"
	if got := reasons(said.String()); got != want {
		t.Errorf("got %s", got)
	}
}
