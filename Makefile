# Needs python3.11 (with its venv module) and make; everything else is installed from the locks into .venv by pip alone.
#
#   make demo ARGS="--root /somewhere"     make test PYTEST_ARGS="tests/maskformer_model -k losses"

PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=
BENCH ?=
DATA ?= ../shared/data/coco_panoptic
PYTEST_ARGS ?=
PIP_ARGS ?=
# A process per core, and each file in one of them: its tests share what is costly to make. -n 0 in PYTEST_ARGS: none.
# The order of the files is tests/conftest.py's.
PYTEST := $(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder
# Reading all the others to find no slow test in them takes half a minute.
SLOW_FILES = $(shell grep -rl --include='test_*.py' 'mark\.slow' tests)
# In no lock: the build for CPUs weighs a tenth of the build with CUDA and has other hashes. Where pip is not set up to
# find it: TORCH_INDEX=https://download.pytorch.org/whl/cpu. What it imports is in parity.lock, so pip resolves nothing.
TORCH ?= torch==2.13.0
TORCH_INDEX ?=

# The locks hold every package, so pip resolves nothing; the build tools come from a lock of their own. PIP_ARGS is for
# .ci/run.
PIP_INSTALL := $(BIN)/python -m pip install --disable-pip-version-check -qq --no-deps --no-build-isolation $(PIP_ARGS)
FROM_LOCK := $(PIP_INSTALL) --require-hashes -r
COMPILE_PLAIN := $(BIN)/uv pip compile --quiet --no-header --no-annotate --no-emit-index-url --generate-hashes \
	--python-version 3.11 --python-platform x86_64-manylinux_2_28
COMPILE_LOCK := $(COMPILE_PLAIN) --override requirements/overrides.txt

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo demo-full overfit learn test test-slow bench sizes lint check docs env env-pipeline env-parity env-exports env-trackers env-labelling audit lock clean clean-env

help:  ## List the targets.
	@sed -nE 's/^([a-z-]+):.*## (.*)/  make \1|\2/p' $(firstword $(MAKEFILE_LIST)) | while IFS='|' read -r target text; do \
		printf '%-20s %s\n' "$$target" "$$text"; done

demo: env-pipeline  ## Run the pipeline on generated scenes (minutes), or with ARGS="--data DIR ...".
	$(BIN)/python pipeline/run_local.py $(ARGS)

demo-full: env-pipeline  ## The same with the longer experiment generated_scenes.
	$(BIN)/python pipeline/run_local.py --experiment generated_scenes $(ARGS)

# DATA is a folder in COCO's panoptic layout; the first eight of its train photos are learnt by heart.
overfit: env-pipeline  ## Prove the whole path: learn eight photos of DATA=DIR by heart and score them.
	$(BIN)/python pipeline/run_local.py --data "$(DATA)" --experiment coco_overfit --max_train_images 8 --evaluate_on_train \
		--root runs/overfit $(ARGS)

# DATA names a folder of ../shared/data, or is the path of one of the same name elsewhere.
learn: env-pipeline  ## Train DATA=nuclei or DATA=camvid from ImageNet's weights, through the whole pipeline.
	$(BIN)/python pipeline/run_local.py --data "$(if $(findstring /,$(DATA)),$(DATA),../shared/data/$(DATA))" \
		--experiment $(notdir $(patsubst %/,%,$(DATA)))_small --root runs/$(notdir $(patsubst %/,%,$(DATA))) $(ARGS)

test: env  ## Run all tests but the slow ones (at most 10 minutes on two cores).
	$(PYTEST) -m "not slow" $(PYTEST_ARGS)

test-slow: env env-trackers  ## Run the slow tests: end-to-end runs and injected faults.
	$(PYTEST) -m slow $(or $(PYTEST_ARGS),$(SLOW_FILES))

bench: env-parity env-exports  ## Measure against named peers, all or BENCH="NAME ...", and print one table.
	$(BIN)/python -m benchmarks $(BENCH)

sizes: env  ## Print the time of each command's --help and the size of the wheel; ARGS=--environment: also for serving.
	$(BIN)/python -m benchmarks.profiles.front_door $(ARGS)

# Where `make env` was not run, of an environment that holds the checkers alone and is set up in seconds.
CHECKERS := $(if $(wildcard $(VENV)/dev.installed),$(VENV),.venv-lint)
lint: $(CHECKERS)/$(if $(filter $(VENV),$(CHECKERS)),dev,lint).installed  ## Check style and types; needs no `make env`.
	$(CHECKERS)/bin/ruff check .
	$(CHECKERS)/bin/ruff format --check .
	$(CHECKERS)/bin/mypy

check: env lint  ## Check style and types and run all tests.
	$(PYTEST) $(PYTEST_ARGS)

# In an environment of its own, which needs nothing of .venv. The variable silences mkdocs-material's note on MkDocs 2.
docs: .venv-docs/docs.installed  ## Build the documentation as a site into site/; a warning or a broken link is an error.
	NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs build --strict --quiet
	@echo "Open site/index.html, or serve it: .venv-docs/bin/mkdocs serve"

.venv-docs/docs.installed: requirements/docs.lock
	$(PYTHON) -m venv .venv-docs
	.venv-docs/bin/python -m pip install --disable-pip-version-check -qq --no-deps --no-compile --require-hashes \
		-r requirements/docs.lock
	@touch $@

env: $(VENV)/dev.installed $(VENV)/project.installed  ## Set up .venv for the pipeline, tests and checks.

# Enough for `make demo`; dev.lock holds all of pipeline.lock, so `make env` sets it up as well.
env-pipeline: $(VENV)/pipeline.installed $(VENV)/project.installed  ## Set up .venv for the pipeline alone.

env-parity: env  ## Add what comparisons with PyTorch need (torch, transformers).
	$(FROM_LOCK) requirements/parity.lock
	$(PIP_INSTALL) $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) $(TORCH)

env-exports: env  ## Add the converters and runtimes of other formats (ONNX, LiteRT, OpenVINO).
	$(FROM_LOCK) requirements/exports.lock

env-trackers: $(VENV)/trackers.installed  ## Add the clients of MLflow and Weights & Biases, and MLflow's server.

# Needs nothing of .venv, so `make --jobs=2 env env-labelling` sets up both at once.
env-labelling:  ## Set up .venv-labelling: the packages of labelling tools, for tests of exports and pre-annotations.
	$(PYTHON) -m venv .venv-labelling
	.venv-labelling/bin/python -m pip install --disable-pip-version-check -qq --no-deps --no-compile --require-hashes \
		-r requirements/labelling.lock

$(VENV)/build.installed: requirements/build.lock
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11) and "Python 3.11 is needed. Received: " + sys.version)'
	$(PYTHON) -m venv $(VENV)
	$(FROM_LOCK) requirements/build.lock
	@touch $@

$(VENV)/pipeline.installed: requirements/pipeline.lock $(VENV)/build.installed
	@echo "Installing requirements/pipeline.lock into $(VENV): a few minutes the first time."
	$(FROM_LOCK) requirements/pipeline.lock
	@touch $@

$(VENV)/dev.installed: requirements/dev.lock $(VENV)/build.installed
	@echo "Installing requirements/dev.lock into $(VENV): a few minutes the first time."
	$(FROM_LOCK) requirements/dev.lock
	@touch $(VENV)/pipeline.installed $@

$(VENV)/trackers.installed: requirements/trackers.lock $(VENV)/dev.installed
	$(FROM_LOCK) requirements/trackers.lock
	@touch $@

.venv-lint/lint.installed: requirements/lint.lock
	$(PYTHON) -m venv .venv-lint
	.venv-lint/bin/python -m pip install --disable-pip-version-check -qq --no-deps --require-hashes -r requirements/lint.lock
	@touch $@

# Editable, so that scripts, tests and Beam's workers find the packages from any directory.
$(VENV)/project.installed: setup.py $(VENV)/build.installed
	$(PIP_INSTALL) --editable .
	@touch $@

# The bills need no network. The advisories do: if their database cannot be reached, that is said and is no failure.
audit:  ## Write bills of materials (CycloneDX) into build/sbom and look the locks up among known advisories.
	$(PYTHON) -m venv .venv-audit
	.venv-audit/bin/python -m pip install --disable-pip-version-check -qq --no-deps --require-hashes -r requirements/audit.lock
	.venv-audit/bin/python scripts/audit_locks.py requirements build/sbom

lock: env  ## Write the locks anew, keeping versions where they still fit (UPGRADE="--upgrade" takes the newest).
	$(COMPILE_LOCK) $(UPGRADE) setup.py --extra pipeline --extra imagenet --extra jax --extra serve --extra completion requirements/dev.in -o requirements/dev.lock
	$(COMPILE_LOCK) -c requirements/dev.lock setup.py --extra pipeline --extra imagenet --extra completion -o requirements/pipeline.lock
	$(COMPILE_LOCK) -c requirements/dev.lock setup.py -o requirements/train.lock
	$(COMPILE_LOCK) -c requirements/dev.lock requirements/build.in -o requirements/build.lock
	$(COMPILE_LOCK) -c requirements/dev.lock requirements/parity.in -o requirements/parity.lock
	$(COMPILE_LOCK) -c requirements/dev.lock setup.py --extra exports -o requirements/exports.lock
	$(COMPILE_PLAIN) requirements/audit.in -o requirements/audit.lock
	$(COMPILE_LOCK) --override requirements/trackers_overrides.txt -c requirements/dev.lock setup.py --extra trackers requirements/trackers.in -o requirements/trackers.lock
	$(COMPILE_PLAIN) -c requirements/dev.lock requirements/lint.in -o requirements/lint.lock
	$(COMPILE_PLAIN) requirements/docs.in -o requirements/docs.lock
	$(COMPILE_PLAIN) --override requirements/labelling_overrides.txt requirements/labelling.in -o requirements/labelling.lock
	$(COMPILE_PLAIN) -c requirements/dev.lock requirements/cuda.in -o requirements/cuda.lock
	$(subst manylinux_2_28,manylinux_2_31,$(COMPILE_PLAIN)) requirements/tpu.in -o requirements/tpu.lock

clean:  ## Remove caches and built packages; runs/ and .venv stay.
	rm -rf build dist site *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -path ./$(VENV) -prune -o -name __pycache__ -type d -exec rm -rf {} +

clean-env:  ## Remove .venv, .venv-docs and .venv-lint.
	rm -rf $(VENV) .venv-docs .venv-lint
