# Usual ways to start. Everything is built by CMake; see docs/development.md.
#
#   make            the program, in build/release/bin/aleph
#   make demo       build it, train a small model, let it write
#   make test       build and run all tests

PRESET ?= release
BUILD := build/$(PRESET)
# JOBS=N limits parallel compilations (default: all cores).
PARALLEL := $(if $(JOBS),--parallel $(JOBS))
TEST_JOBS ?= $(shell n=$$(nproc 2>/dev/null || echo 2); echo $$((n < 4 ? n : 4)))
SETUP_PART := build
PROGRAM := $(if $(wildcard aleph/cli/main.cc),aleph,all)
SOURCES := $(shell git ls-files '*.h' '*.cc' 2>/dev/null)

.PHONY: all demo test bench install clean format help setup
.DEFAULT_GOAL := all

all: setup $(BUILD)/build.ninja
	@cmake --build $(BUILD) $(PARALLEL) --target $(PROGRAM)
	@test ! -x $(BUILD)/bin/aleph || echo "built $(BUILD)/bin/aleph"

demo: all
	@tools/demo.sh $(BUILD)/bin/aleph

test: SETUP_PART := test
test: setup $(BUILD)/build.ninja
	@! grep -q GTest_DIR-NOTFOUND $(BUILD)/CMakeCache.txt || cmake --preset $(PRESET) >$(BUILD).log
	@cmake --build $(BUILD) $(PARALLEL)
	@cd $(BUILD) && ctest --output-on-failure -j $(TEST_JOBS)

bench: setup $(BUILD)/build.ninja
	@cmake -DALEPH_BENCH=ON $(BUILD) >/dev/null
	@cmake --build $(BUILD) $(PARALLEL) --target bench/all
	@echo "built $(BUILD)/bin/*_bench"

install: all
	@cmake --install $(BUILD)

clean:
	rm -rf build

format:
	@clang-format-14 -i $(SOURCES)

help:
	@echo 'make          set up what is missing and build build/release/bin/aleph'
	@echo 'make demo     build, then train a small model and let it write'
	@echo 'make test     build and run all tests'
	@echo 'make bench    build the benchmarks (build/release/bin/*_bench)'
	@echo 'make install  install the program (cmake --install; DESTDIR is honoured)'
	@echo 'make format   format all sources with clang-format-14'
	@echo 'make clean    remove build/'
	@echo
	@echo 'PRESET=release|dev|asan|tsan|minimal  which build (see CMakePresets.json)'
	@echo 'JOBS=N                                parallel compilations'
	@echo 'NO_SETUP=1                            do not look for or install system packages'

setup:
	@$(if $(NO_SETUP),:,tools/setup.sh $(SETUP_PART))

$(BUILD)/build.ninja: CMakePresets.json | setup
	@mkdir -p build
	@cmake --preset $(PRESET) >$(BUILD).log 2>&1 || { cat $(BUILD).log; exit 1; }
	@sed -n 's/^-- \(io_uring\|CUDA\|MPI\|tests\): /\1: /p' $(BUILD).log
	@touch $@
