package component

import (
	"testing"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/fetch"
	"github.com/nodeimage/packer-plugin-nodeimage/profiles"
)

func TestParseURIs(t *testing.T) {
	t.Parallel()
	sources := []profiles.ArchiveSource{{URI: "http://deb.debian.org/debian"}}
	got, err := parseURIs(sources, nil, "'http://deb.debian.org/debian/pool/main/k/kmod/kmod_30%2b20221128-1_amd64.deb' kmod_30+20221128-1_amd64.deb 95180 MD5Sum:5cd0242bf374c46fdf3830f3a211dc6d\n")
	if err != nil || len(got) != 1 || got[0].Version != "30+20221128-1" || got[0].Path != "pool/main/k/kmod/kmod_30+20221128-1_amd64.deb" || got[0].Size != 95180 {
		t.Errorf("%+v, %v", got, err)
	}
	got, err = parseURIs(sources, nil, "'http://deb.debian.org/debian/pool/x_1_all.deb' x_1_all.deb 10\n")
	if err != nil || len(got) != 1 || got[0].Size != 10 {
		t.Errorf("an archive without MD5 sums: %+v, %v", got, err)
	}
	if _, err := parseURIs(sources, nil, "'http://elsewhere/x.deb' x_1_all.deb 1 MD5Sum:a\n"); err == nil {
		t.Error("a package from elsewhere was taken")
	}
	mirrors, err := fetch.ParseMirrors("deb.debian.org=https://mirror.example/apt")
	if err != nil {
		t.Fatal(err)
	}
	got, err = parseURIs(sources, mirrors, "'https://mirror.example/apt/debian/pool/x_1_all.deb' x_1_all.deb 10\n")
	if err != nil || len(got) != 1 || got[0].URI != "http://deb.debian.org/debian" || got[0].Path != "pool/x_1_all.deb" {
		t.Errorf("by a mirror: %+v, %v", got, err)
	}
}
