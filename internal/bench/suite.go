package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/nodeimage/packer-plugin-nodeimage/e2e"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/bench/benchlog"
)

// suite compares what a run of the suite took with what anybody has to wait
// for who boots the image and runs kubeadm. It reads the result that a run
// left: measuring it anew would be that run.
func suite(path string) (table []benchlog.Measurement, note string, err error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, "no time of the suite: no result in " + path + "; run make e2e first", nil
	}
	if err != nil {
		return nil, "", err
	}
	var r e2e.Result
	if err := json.Unmarshal(data, &r); err != nil {
		return nil, "", fmt.Errorf("%s: %w", path, err)
	}
	init := r.Measured[e2e.InitReturned]
	if init <= 0 || r.Seconds < init {
		return nil, fmt.Sprintf("no time of the suite: kubeadm did not return in the run of %s", path), nil
	}
	soak, err := time.ParseDuration(r.Soak)
	if err != nil {
		return nil, "", fmt.Errorf("%s: soak: %w", path, err)
	}
	return []benchlog.Measurement{
		{Name: "floor: boot and kubeadm init", Seconds: init},
		{Name: fmt.Sprintf("the suite, less its soak of %s", soak), Seconds: max(r.Seconds-soak.Seconds(), 0)},
		{Name: "the suite", Seconds: r.Seconds},
	}, "", nil
}
