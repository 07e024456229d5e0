# Copyright (c) The oauthcc authors
# SPDX-License-Identifier: MPL-2.0

SHELL       := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

NAME   := vault-plugin-oauthcc
CACHE  := $(CURDIR)/.cache
TOOLS  := $(CACHE)/bin
BINARY := $(CURDIR)/bin/$(NAME)

# The plugin's version is what Vault shows beside the mount, so it must be one
# that Vault can parse: a tag, or v0.0.0-dev. The date is the commit's, so that
# the same source gives the same binary. Without git, or before the first
# commit, nothing fails.
VERSION ?= $(or $(shell git describe --tags --dirty --match 'v[0-9]*' 2>/dev/null),v0.0.0-dev)
COMMIT  ?= $(or $(shell git rev-parse --verify --short=12 HEAD 2>/dev/null),unknown)
DATE    ?= $(or $(shell TZ=UTC0 git log -1 --format=%cd --date=format-local:%Y-%m-%dT%H:%M:%SZ 2>/dev/null),unknown)
LDFLAGS := -s -w -X main.version=$(VERSION) -X main.commit=$(COMMIT) -X main.date=$(DATE)

# Extra arguments for go test, for instance TESTFLAGS='-run Lease -v'.
TESTFLAGS ?=
UNIT_PACKAGES := ./backend/... ./internal/... ./cmd/... ./scripts/...
export TESTFLAGS UNIT_PACKAGES

.PHONY: help
help: ## What can be made (the default)
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: ## The plugin, into bin/
	CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags '$(LDFLAGS)' -o $(BINARY) ./cmd/$(NAME)

.PHONY: dist-sha
dist-sha: build ## The plugin's SHA-256, and the line that registers it
	@source scripts/lib.sh; sum=$$(sha256 $(BINARY)); \
	echo "$$sum  bin/$(NAME)"; \
	echo; \
	echo "vault plugin register -sha256=$$sum -command=$(NAME) -version=$(VERSION) secret $(NAME)"

.PHONY: unit
unit: $(TOOLS)/gotestsum ## The unit tests, with the race detector
	@scripts/need.sh gcc libc6-dev
	@CGO_ENABLED=1 $(TOOLS)/gotestsum --format pkgname -- -race $(TESTFLAGS) $(UNIT_PACKAGES)

.PHONY: acceptance
acceptance: $(TOOLS)/gotestsum build servers ## The tests against a real Vault server (built when there is none)
	@VAULT_BIN=$$(scripts/vault-bin.sh); export VAULT_BIN PLUGIN_BIN=$(BINARY); \
	$(TOOLS)/gotestsum --format pkgname -- -count=1 -timeout=30m $(TESTFLAGS) ./tests/...

.PHONY: test
test: $(TOOLS)/gotestsum build servers ## All tests; Vault is built, if need be, during the unit tests
	@scripts/need.sh gcc libc6-dev
	@PLUGIN_BIN=$(BINARY) scripts/test.sh $(TOOLS)/gotestsum

# The servers that the acceptance tests start, beside Vault: two are installed,
# the other is compiled, so that no test has to wait for it.
.PHONY: servers
servers:
	@scripts/oidc-provider.sh >/dev/null
	@scripts/prometheus.sh >/dev/null
	@cd tests/fosite && CGO_ENABLED=0 GOWORK=off go build -trimpath -o /dev/null .

.PHONY: lint
lint: $(TOOLS)/golangci-lint ## Formatting, vet, the linters of .golangci.yml, the scripts' syntax
	@unformatted=$$(gofmt -l backend cmd internal scripts tests); \
	if [[ -n $$unformatted ]]; then printf 'gofmt -w is needed for:\n%s\n' "$$unformatted" >&2; exit 1; fi
	@for script in scripts/*.sh .ci/run; do bash -n "$$script"; done
	@if command -v shellcheck >/dev/null; then shellcheck -x scripts/*.sh .ci/run; \
	else echo 'lint: no shellcheck here, the scripts had their syntax checked only' >&2; fi
	go vet ./...
	cd tests/fosite && CGO_ENABLED=0 GOWORK=off go vet .
	$(TOOLS)/golangci-lint run ./...

.PHONY: demo
demo: build ## A dev server with the plugin and five sample providers, shown step by step
	@PLUGIN_BIN=$(BINARY) scripts/demo.sh

.PHONY: docs
docs: ## What is generated of the documentation: from the catalog, and from the declarations of the fields
	go run ./scripts/docs

.PHONY: provider
provider: ## Begins a provider of the catalog: make provider NAME=acme (CONTRIBUTING.md)
	@go run ./scripts/newprovider $(if $(findstring command,$(origin NAME)),$(NAME))

.PHONY: bench
bench: build ## The engine against the smallest plugin there can be (35 minutes; docs/performance.md has a quick one)
	@mkdir -p $(CACHE)/bench && cp $(BINARY) $(CACHE)/bench/ # one and the same to the end, whatever is built meanwhile
	@VAULT_BIN=$$(scripts/vault-bin.sh); export VAULT_BIN PLUGIN_BIN=$(CACHE)/bench/$(NAME); \
	go run ./scripts/bench

.PHONY: dashboard
dashboard: build ## The picture of the dashboard: a real Prometheus scrapes a real Vault for 10 minutes
	@scripts/need.sh python3-matplotlib
	@scripts/prometheus.sh >/dev/null
	@VAULT_BIN=$$(scripts/vault-bin.sh); export VAULT_BIN PLUGIN_BIN=$(BINARY); \
	go run ./scripts/dashboard

.PHONY: clean
clean: ## Removes bin/ and test leftovers (the built Vault and tools stay; they are in .cache/)
	rm -rf bin .cache/test .cache/test-logs .cache/vault-build.log .cache/{vault,oidcprovider,prometheus}.new.*

# The tools have modules of their own (scripts/tools), and are built rather
# than run by `go tool` so that one build serves every target. The order-only
# directory keeps its timestamp out of it.
$(TOOLS)/golangci-lint: TOOL := github.com/golangci/golangci-lint/v2/cmd/golangci-lint
$(TOOLS)/gotestsum: TOOL := gotest.tools/gotestsum
$(TOOLS)/%: scripts/tools/go.mod scripts/tools/go.sum | $(TOOLS)
	@echo 'building $(@F) (once; golangci-lint takes about two minutes)' >&2
	@cd scripts/tools && CGO_ENABLED=0 GOWORK=off go build -mod=readonly -buildvcs=false -trimpath -o $@ $(TOOL)

$(TOOLS):
	@mkdir -p $@
