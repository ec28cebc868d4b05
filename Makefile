# Everything for a developer; users need `pip install .` only. See README.md and CONTRIBUTING.md.
#
#   make demo [STEPS=n]   set up, build, train a small NeurST model, translate, compare with stock
#   make test             set up, build, lint, C++ tests (twice: with sanitizers), Python tests on the
#                         newest and the oldest supported TensorFlow
#   make build            set up .venv, build, install into it
#   make lint, make format, make clean
#
# PYTHON=...       the interpreter of the virtual environments (default: python3.11)
# PYTEST_ARGS=...  more arguments for pytest
# PYTEST_WORKERS=n processes that run Python tests side by side (3: two leave two processors idle a third
#                  of the time)

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := build
.DELETE_ON_ERROR:
.PHONY: demo test test-cc test-python test-python-tf212 build lint format clean system system-tests

VENV := .venv
VENV_TF212 := .venv-tf212
PYTHON ?=
STEPS ?=
PYTEST_ARGS ?=
PYTEST_WORKERS ?= 3
export PYTHON

REQUIREMENTS := tools/requirements
# Lazy: nothing is asked of Bazel before it is installed.
BAZEL = $(or $(TF_LS_BAZEL),$(shell command -v bazel || command -v bazelisk))
SOURCES := $(shell find cc tf_ls third_party -type f \
    -not -name '*.pyc' -not -name '*_test.cc' -not -name '_build_info.py') \
    setup.py configure.py pyproject.toml BUILD WORKSPACE .bazelrc
CC_SOURCES = $(shell find cc examples -name "*.h" -o -name "*.cc")

demo: build
	$(VENV)/bin/python examples/translation/demo.py $(if $(STEPS),--steps $(STEPS))

test: lint test-cc test-python test-python-tf212

build: $(VENV)/.installed

# --- Set-up. Each stamp file says that a step was done with the files it depends on.

system:
	@tools/setup_system.sh

system-tests:
	@tools/setup_system.sh --tests

$(VENV)/.ready: $(REQUIREMENTS)/tf2.21.txt $(REQUIREMENTS)/tf2.21-nodeps.txt tools/setup_venv.sh | system
	@tools/setup_venv.sh $(VENV) $(filter %.txt,$^)
	@touch $@

$(VENV_TF212)/.ready: $(REQUIREMENTS)/tf2.12.txt $(REQUIREMENTS)/tf2.12-nodeps.txt tools/setup_venv.sh | system
	@tools/setup_venv.sh $(VENV_TF212) $(filter %.txt,$^)
	@touch $@

$(VENV)/.test-ready: $(REQUIREMENTS)/test.txt $(REQUIREMENTS)/test-models.txt $(REQUIREMENTS)/lint.txt | $(VENV)/.ready
	@tools/setup_venv.sh $(VENV) $^
	@touch $@

$(VENV_TF212)/.test-ready: $(REQUIREMENTS)/test.txt | $(VENV_TF212)/.ready
	@tools/setup_venv.sh $(VENV_TF212) $^
	@touch $@

# One recipe for both environments; the wheel fits the TensorFlow of the one it is made in.
%/.installed: %/.ready tools/install.sh $(SOURCES) | system
	@tools/install.sh $*
	@touch $@

# --- Tests

lint: $(VENV)/.test-ready
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/clang-format --dry-run -Werror $(CC_SOURCES)

format: $(VENV)/.test-ready
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .
	$(VENV)/bin/clang-format -i $(CC_SOURCES)

test-cc: $(VENV)/.ready | system-tests
	$(VENV)/bin/python configure.py
	$(BAZEL) test //cc/... //examples/...
	$(BAZEL) test --config=asan //cc/... //examples/...
	@if grep -q tf_ls_cuda=true .tf_ls_configure.bazelrc; then set -x; $(BAZEL) build //cc:gpu_tests; \
	else echo "No CUDA toolkit here: its code is not compiled (see docs/gpu.md)"; fi

test-python: $(VENV)/.installed $(VENV)/.test-ready | system-tests
	$(VENV)/bin/pytest --numprocesses $(PYTEST_WORKERS) --dist loadfile --slow $(PYTEST_ARGS) tests

test-python-tf212: $(VENV_TF212)/.installed $(VENV_TF212)/.test-ready | system-tests
	$(VENV_TF212)/bin/pytest --numprocesses $(PYTEST_WORKERS) --dist loadfile $(PYTEST_ARGS) tests

clean:
	rm -rf build dist *.egg-info $(VENV) $(VENV_TF212) .tf_ls_configure.bazelrc
