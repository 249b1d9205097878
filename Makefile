# The front door. `make help` lists the targets; each installs what it needs first (tools/setup.sh).
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
JOBS ?= $(shell nproc)
FUZZ_SECONDS ?= 60
CTEST := ctest --output-on-failure -j$(JOBS)

.PHONY: help demo build dev test checks test-all test-asan test-tsan bench fuzz format clean

help: ## this list
	@echo 'Headwater: AI where the data is born. Start with `make demo`.'; echo
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

demo: build ## builds and runs the main job on a real recording; about a minute once built
	@demo/run.sh

build: ## the release program, build/release/headwater
	@tools/setup.sh build
	@cmake --preset release >/dev/null
	@cmake --build --preset release -j$(JOBS)

dev: ## the development build, build/dev
	@tools/setup.sh build test
	@cmake --preset dev >/dev/null
	@cmake --build --preset dev -j$(JOBS)

checks: dev ## layers, format and generated documents, without the tests
	@tools/check_layers.py
	@python3 tools/check_layers_test.py
	@python3 demo/demo_test.py
	@python3 tools/perf_ab_test.py
	@tools/check_format.sh
	@tools/check_generated.sh build/dev/headwater

test: checks ## the checks, then unit and end-to-end tests
	@$(CTEST) --test-dir build/dev -LE slow

test-all: checks ## everything: also slow tests, and unit tests under both sanitizers
	@$(MAKE) --no-print-directory test-asan test-tsan
	@$(CTEST) --test-dir build/dev

test-asan: ## unit tests under AddressSanitizer and UBSan (clang)
	@tools/test_sanitized.sh asan

test-tsan: ## unit tests under ThreadSanitizer (clang)
	@tools/test_sanitized.sh tsan

bench: ## bench programs and whole-program figures; long, and 15 GB of disk for a while
	@tools/setup.sh build bench
	@cmake --preset bench >/dev/null
	@cmake --build --preset bench -j$(JOBS)
	@tools/bench.sh build/bench

fuzz: ## each fuzzer for FUZZ_SECONDS (60)
	@tools/setup.sh build test sanitize
	@cmake --preset fuzz >/dev/null
	@cmake --build --preset fuzz -j$(JOBS)
	@tools/fuzz.sh build/fuzz $(FUZZ_SECONDS)

format: ## clang-format on every tracked C++ file
	@tools/setup.sh test
	@tools/check_format.sh --fix

clean: ## removes build/
	@rm -rf build
