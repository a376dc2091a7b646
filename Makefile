# Two commands do it all: `sudo make demo` and `sudo make test`. Under sudo everything is built as the invoking user and
# only what must be privileged runs as root; plain root (a container) works too.
SHELL := /bin/bash
AS_USER := scripts/as-user

.PHONY: demo test bench soak build build-tests fmt clippy deny tools

build:
	@$(AS_USER) cargo build --release --locked

demo: build
	@scripts/demo

build-tests: build
	@$(AS_USER) cargo nextest run --workspace --locked --no-run

test: tools build-tests
	@scripts/test

soak: tools build-tests
	@SCALEBED_TIER=soak scripts/test

bench: build
	@target/release/scalebed bench

fmt:
	@$(AS_USER) cargo fmt --all --check

clippy:
	@$(AS_USER) cargo clippy --workspace --all-targets --locked -- -D warnings

deny:
	@scripts/deny

tools:
	@$(AS_USER) scripts/tools
