# make image   sets everything up and builds the default image
# make test    sets everything up and passes every test, the booted suite included

PROFILE ?= debian-13
OUT     ?= build
SOAK    ?= 5m
# Specs of the booted suite by label, in Ginkgo's language; empty runs them all.
E2E_FILTER ?=
# Packages whose integration tests run: those that have some.
INTEGRATION ?= $(shell grep -rl --include='*_test.go' '^//go:build integration$$' . | xargs -n1 dirname | sort -u)
PACKER  ?= packer

GO      ?= go
# Building an image needs root for mounts and chroot; the suite does not.
SUDO    := $(shell [ "$$(id -u)" = 0 ] || echo sudo --preserve-env=PATH,HOME,GOPROXY,GOSUMDB,GOFLAGS,CGO_ENABLED,HTTP_PROXY,HTTPS_PROXY,NO_PROXY,NODEIMAGE_MIRRORS,NODEIMAGE_CACHE,NODEIMAGE_SCRATCH,XDG_CACHE_HOME)
LDFLAGS := -s -w
# One way to compile for programs, tests, vet and staticcheck, so that each
# package is compiled once; the components of an image have the same two.
export CGO_ENABLED = 0
export GOFLAGS := $(strip $(GOFLAGS) $(if $(findstring -trimpath,$(GOFLAGS)),,-trimpath))

.DEFAULT_GOAL := help

.PHONY: help
help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 18

.PHONY: image
image: setup-build bin/nodeimage ## build build/$(PROFILE).qcow2, doing all the set-up
	$(SUDO) bin/nodeimage build $(PROFILE) -o $(OUT)

.PHONY: test
test: setup-build setup-test setup-browser check integration packer-test image validate faults-offline e2e faults-live ## every test, doing all the set-up
	@echo "all tests passed"

.PHONY: check
check: lint drift unit ## lint and unit tests: no root, no network once modules are there

.PHONY: lint
lint:
	@unformatted=$$(gofmt -l $$(git ls-files '*.go')); [ -z "$$unformatted" ] || { echo "gofmt: run 'gofmt -w' on:"; echo "$$unformatted"; exit 1; }
	$(GO) vet ./...
	$(GO) vet -tags integration,slow ./...
	$(GO) vet -tags e2e ./e2e/...
	$(GO) tool staticcheck -tags integration,slow,e2e ./...
	@# Without the linters for shell and Python that a machine may have or not.
	$(GO) tool actionlint -shellcheck= -pyflakes=

.PHONY: unit
unit:
	$(GO) test ./...

# Generated files must be what their generators print now.
.PHONY: drift
drift:
	.ci/drift

.PHONY: generate
generate: ## regenerate HCL2 specs and docs
	$(GO) generate ./...

.PHONY: integration
integration: setup-build setup-test setup-browser bin/packer
	$(SUDO) $(GO) test -tags integration -p 1 -timeout 30m $(INTEGRATION)

# What only confirms on other ground what the suite shows on the image itself:
# builds of many containerd releases, boots of hand-made systems, jobs in the
# cluster of a booted image.
.PHONY: slow
slow: setup-build setup-test bin/packer image ## the tests that take longer than the rest together
	$(SUDO) env NODEIMAGE_TEST_IMAGE=$(abspath $(OUT)/$(PROFILE).qcow2) $(GO) test -tags integration,slow -p 1 -timeout 90m ./builder/... ./e2e/machine/... ./internal/matrix/engine/... ./internal/pipeline/... ./internal/ubuntutest/... ./validate/...

.PHONY: packer-test
packer-test: setup-build bin/packer bin/packer-plugin-nodeimage
	@# plugin-check takes the path for the name, so it must not hold a folder.
	cd bin && $$(cd .. && $(GO) tool -n packer-sdc) plugin-check packer-plugin-nodeimage

.PHONY: validate
validate: bin/nodeimage ## check $(OUT)/$(PROFILE).qcow2 offline
	bin/nodeimage validate $(OUT)/$(PROFILE).qcow2 --profile $(PROFILE)

.PHONY: faults-offline
faults-offline: setup-build bin/nodeimage ## see every fault caught that can be known without a boot
	bin/nodeimage faults run --all --stage validate --image $(OUT)/$(PROFILE).qcow2 --profile $(PROFILE) -o $(OUT)/faults-offline

# The two faults that this project is for: in both, kubeadm succeeds.
LIVE := a1-cgroup-driver-mismatch b1-apparmor-runc-signal-denied
.PHONY: faults-live
faults-live: setup-build setup-test bin/nodeimage ## boot the two main faults and see each caught
	bin/nodeimage faults run $(LIVE) --stage e2e --image $(OUT)/$(PROFILE).qcow2 --profile $(PROFILE) -o $(OUT)/faults-live

# One after the other; each costs a boot and the time to its first symptom.
.PHONY: faults
faults: setup-test faults-offline ## every fault, the booted ones included
	bin/nodeimage faults run --all --stage e2e --image $(OUT)/$(PROFILE).qcow2 --profile $(PROFILE) -o $(OUT)/faults

.PHONY: e2e
e2e: setup-test bin/nodeimage ## boot $(OUT)/$(PROFILE).qcow2 and run the suite against it
	bin/nodeimage e2e $(OUT)/$(PROFILE).qcow2 --soak $(SOAK) --label-filter '$(E2E_FILTER)' -o $(OUT)/e2e

# What the fast specs say about one good image, again and again. A run that is
# there already counts, so an interrupted series goes on.
RUNS ?= 10
.PHONY: flake-check
flake-check: setup-test bin/nodeimage ## run the fast specs RUNS times and sum up
	bin/nodeimage e2e $(OUT)/$(PROFILE).qcow2 --label-filter '!slow' --firmware uefi --repeat $(RUNS) -o $(OUT)/flake-check

.PHONY: bench
bench: setup-build setup-bench image ## ratios against floors and other tools, measured in the same run
	$(SUDO) $(GO) run ./internal/bench -profile $(PROFILE) -e2e $(OUT)/e2e/summary.json -json $(OUT)/bench.json -history docs/bench/history.jsonl
	$(GO) generate ./internal/bench/benchlog

.PHONY: install-plugin
install-plugin: bin/packer-plugin-nodeimage ## put the plugin where Packer looks
	.ci/install-plugin bin/packer-plugin-nodeimage $(PACKER)

.PHONY: clean
clean: ## remove what make made here (not the cache)
	rm -rf bin $(OUT)

.PHONY: setup-build setup-test setup-browser setup-bench
setup-build:
	@.ci/setup build
setup-test:
	@.ci/setup test
setup-browser:
	@.ci/setup browser
setup-bench:
	@.ci/setup bench

.PHONY: bin/nodeimage bin/packer-plugin-nodeimage
bin/nodeimage:
	$(GO) build -ldflags '$(LDFLAGS)' -o $@ ./cmd/nodeimage
bin/packer-plugin-nodeimage:
	$(GO) build -ldflags '$(LDFLAGS)' -o $@ .

# The real packer, for tests only: it is BUSL-licensed, so it is run and never
# imported. Its module cannot be installed by name because of its replace.
bin/packer:
	.ci/packer $@
