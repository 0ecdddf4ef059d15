# Vermilion: the two commands of a newcomer are `make demo` and `make test`.
# Everything is built in the release profile, in one target directory outside the checkout.

SHELL := /bin/bash
export CARGO_TARGET_DIR ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/vermilion/target
# RocksDB takes minutes to compile; ccache makes the second time short. Always set, and the same:
# cargo compiles RocksDB anew when these change.
export CC := ccache cc
export CXX := ccache c++
BIN := $(CARGO_TARGET_DIR)/release
DEMO_DIR ?=

.PHONY: demo test lint build packages bench interop

build: packages
	cargo build --release --locked --workspace --bins

demo: build
	$(BIN)/vermilion-testnet demo $(if $(DEMO_DIR),--dir $(DEMO_DIR)) $(if $(filter 1,$(KEEP)),--keep)

# The programs first: tests of processes start them.
test: build
	cargo test --release --locked --workspace

lint: packages
	cargo fmt --all -- --check
	cargo clippy --release --locked --workspace --all-targets -- --deny warnings

bench: build
	./scripts/packages etcd-server
	$(BIN)/vermilion-testnet bench --etcd

# Verifiers that we did not write, from the Python registry, against a running ledger.
interop: build
	./scripts/interop $(BIN) $(CARGO_TARGET_DIR)/interop

packages:
	@./scripts/packages
