# Needs GNU make and Python 3.11 or newer; everything else lands in .venv.
#   make PYTHON=python3.12 tutorial    another interpreter
#   make CONSTRAINTS= test             the newest versions instead of the tested ones
#   make TORCH=cpu tutorial            PyTorch without CUDA (TORCH=pypi: the index's own build)
#   make tutorial ARGS="--only 03 -p epochs 5"
#   make test TRY=tests/unit LESSONS=notebooks/03_from_boundary_to_attention.ipynb    a part of the tests, and of the lessons
PYTHON ?= python3
CONSTRAINTS ?= constraints.txt
TORCH ?= auto
ARGS ?=
JOBS ?= 2
TRY ?= tests
LESSONS ?= notebooks
NEWEST ?= 3.13
REPO ?= $(shell git remote get-url origin 2> /dev/null)

# What a learner needs, and what the tests need beyond that (browsers' driver, dask, voila): 0.3 GB are spared without.
COURSE := .venv/.course
TESTS := .venv/.tests
RUN := .venv/bin/python
# Found before any kernel of the same name in the user's own Jupyter folders, which may belong to another Python.
export JUPYTER_PATH := $(CURDIR)/.venv/share/jupyter$(if $(JUPYTER_PATH),:$(JUPYTER_PATH))
# Tests run side by side: more threads than cores would slow both, and rounding must not depend on the machine's cores.
ONE_THREAD := OMP_NUM_THREADS=1
# Nothing listens on port 9, so that every download fails at once.
PROXIES := HTTP_PROXY HTTPS_PROXY ALL_PROXY http_proxy https_proxy all_proxy
OFFLINE := GSA_REQUIRE_DATA= GSA_DATA='$(CURDIR)/build/no-data' NO_PROXY= no_proxy= $(PROXIES:%=%=http://127.0.0.1:9)

.DEFAULT_GOAL := help
.PHONY: help install install-tests tutorial own lab test test-offline test-platforms notebooks course site wheel links check-links lint bench bench-guard gpu-check \
	constraints test-oldest test-newest clean

help:  ## list what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(COURSE)  ## make .venv with the tested versions, and PyTorch without CUDA where there is no GPU

install-tests: $(TESTS)  ## the same with what the tests need

# The builds of PyTorch without CUDA, 5 GB smaller on Linux, are on PyTorch's own index. uv knows it, and takes them where
# it finds no GPU (auto); where that index cannot be reached, pip takes what the usual one has.
UV_INSTALL = build/uv/bin/uv pip install --no-config --python .venv --torch-backend $(TORCH)
PIP_INSTALL = $(RUN) -m pip install
NOT_BY_UV = echo 'uv could not install it (above); pip goes on, with the build of PyTorch that its index has'
OR_BY_PIP = $(if $(filter auto,$(TORCH)),|| { $(NOT_BY_UV); $(PIP_INSTALL) $(1); })
INSTALL = $(if $(filter pypi,$(TORCH)),$(PIP_INSTALL) $(1),$(UV_INSTALL) $(1) $(OR_BY_PIP))

# What was not finished is begun anew: pip takes a half-copied package for an installed one.
$(COURSE): pyproject.toml $(CONSTRAINTS) | $(if $(filter pypi,$(TORCH)),,build/uv)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo 'Python 3.11 or newer is needed, and "$(PYTHON)" is not. Name one: make PYTHON=python3.11 ...' >&2; exit 1; }
	@if test -e $@; then rm $@; else $(PYTHON) -m venv --clear .venv; fi
	$(call INSTALL,$(addprefix -c ,$(CONSTRAINTS)) -e ".[course]")
	@touch $@

$(TESTS): $(COURSE)
	@mv $(COURSE) .venv/.unfinished
	$(PIP_INSTALL) $(addprefix -c ,$(CONSTRAINTS)) -e ".[course,test]"
	@mv .venv/.unfinished $(COURSE) && touch $@

tutorial: $(COURSE)  ## execute the lessons into build/tutorial/ and say what each one found
	$(RUN) notebooks/run.py tutorial $(ARGS)

own: $(COURSE)  ## examine a folder of your own images: make own DATA=my_images
	@test -n '$(DATA)' || { echo 'Name the folder or the CSV: make own DATA=my_images' >&2; exit 1; }
	$(RUN) -m gsa_utils.own own '$(DATA)' $(ARGS)

lab: $(COURSE)  ## open the lessons in JupyterLab, reachable from this machine only
	$(RUN) -m jupyterlab --ip=127.0.0.1 --ServerApp.root_dir='$(CURDIR)' --LabApp.default_url=/lab/tree/notebooks $(ARGS)

test: lint  ## lint, unit tests, exercises, lessons with other parameters, committed outputs
	$(ONE_THREAD) $(RUN) -m pytest $(TRY) -n $(JOBS) --dist loadfile --durations=5
	$(if $(LESSONS),$(ONE_THREAD) GSA_YOURS= $(RUN) -m pytest $(LESSONS) -n $(JOBS) --dist loadfile --durations=5 \
		--nbval-lax --nbval-current-env --nbval-cell-timeout=600)

# The other lessons ask for no real images: `make test` runs the same.
test-offline: $(TESTS)  ## the data tests, and the lessons on real images with no data and no network
	rm -rf build/no-data && mkdir -p build/no-data
	$(OFFLINE) $(RUN) -m pytest tests/unit/datasets
	$(OFFLINE) $(RUN) notebooks/run.py tutorial --only 01 04 05 06 07 10 --out build/tutorial-offline \
		--hold results/lessons.csv

test-platforms: $(TESTS) build/uv  ## lessons in Pythons that imitate Colab and Kaggle, in build/platforms (12 GB, half an hour)
	for platform in colab:3.13 kaggle:3.12; do \
		name=$${platform%:*} && folder=build/platforms/$$name && \
		build/uv/bin/uv venv --quiet --clear --seed --python $${platform#*:} $$folder && \
		build/uv/bin/uv pip install --quiet --no-config --python $$folder -r tests/platforms/$$name.txt && \
		$(ONE_THREAD) $(RUN) tests/platforms/imitate.py $$folder/bin/python $(ARGS) || exit; done

notebooks: $(COURSE)  ## re-execute the committed lessons in place and clean them (ARGS="--only 03")
	$(ONE_THREAD) $(RUN) notebooks/run.py refresh $(ARGS)

course: $(COURSE)  ## copies to teach from, in build/course: student (no solutions), instructor (executed), slides
	$(ONE_THREAD) $(RUN) notebooks/course.py $(ARGS)

# It reads the package without importing it, so that it needs none of what the lessons need.
site: build/site-env  ## lessons, pages and the reference as a site, in build/site/html
	rm -rf build/site && mkdir -p build/site/source/results build/site/source/data build/site/source/notebooks
	cp docs/site/index.md build/site/source
	cp -r docs build/site/source/docs && rm -r build/site/source/docs/site
	cp notebooks/*.ipynb build/site/source/notebooks && cp results/*.md build/site/source/results
	cp data/*.md build/site/source/data
	build/site-env/bin/python -m sphinx --fail-on-warning --keep-going -q -c docs/site build/site/source build/site/html

build/site-env: docs/site/requirements.txt
	$(PYTHON) -m venv --clear $@ && $@/bin/python -m pip install --quiet -r $< || { rm -rf $@; exit 1; }

wheel:  ## build the wheel, install it into an empty environment, and run what lesson 01 begins with
	rm -rf build/wheel build/wheel-env && $(PYTHON) -m pip wheel --quiet --no-deps --wheel-dir build/wheel .
	test $$(stat --format %s build/wheel/*.whl) -lt 1000000
	$(PYTHON) -m venv build/wheel-env && build/wheel-env/bin/python -m pip install --quiet -c constraints.txt build/wheel/*.whl
	cd build/wheel-env && bin/python $(CURDIR)/tests/wheel.py

links:  ## write the course's address on GitHub wherever it is named (REPO=owner/name; default: git's origin)
	$(PYTHON) notebooks/links.py '$(REPO)'

check-links: site  ## ask every address that the pages and lessons name whether it answers (needs a network)
	build/site-env/bin/python -m sphinx -b linkcheck -q -c docs/site build/site/source build/links

lint: $(TESTS)  ## ruff over the package, the tests and the lessons; spelling; arrows between the package's rooms
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	.venv/bin/codespell .
	.venv/bin/lint-imports --no-logo --no-cache

bench: $(COURSE)  ## remake the tables of costs in results/ (an hour of a machine that does nothing else)
	for name in pixel_features eigenvectors large_grids frozen_network step_cost inference start_up threads; do $(RUN) benchmarks/$$name.py || exit; done

# From a plain checkout with packages of its own: make gpu-check RUN=python3
gpu-check: $(if $(filter .venv/%,$(RUN)),$(COURSE))  ## on a GPU: is all as on a CPU, and what does it cost? 8 minutes, tables into results/gpu/
	$(RUN) benchmarks/gpu_check.py $(ARGS)

bench-guard: $(COURSE)  ## fail if a step gets dearer with more images, or if threads wait for each other beside busy processes
	$(RUN) benchmarks/step_cost.py --guard
	$(RUN) benchmarks/threads.py --guard

build/uv:
	$(PYTHON) -m venv --clear $@ && $@/bin/python -m pip install --quiet uv || { rm -rf $@; exit 1; }

# Packages that only a CUDA build of torch brings along are left to it: their names and versions differ by platform.
constraints: build/uv  ## regenerate constraints.txt: the newest versions, but for the pair in pyproject.toml [tool.uv]
	printf '# Tested together. Generated by `make constraints`.\n' > build/constraints.txt
	build/uv/bin/uv pip compile --universal --python-version 3.11 --fork-strategy fewest --all-extras --upgrade \
		--no-annotate --no-header --quiet pyproject.toml > build/compiled.txt
	grep -vE '^(nvidia|cuda|triton)' build/compiled.txt >> build/constraints.txt
	mv build/constraints.txt constraints.txt

test-oldest: build/uv  ## the unit tests on the lowest versions that pyproject.toml allows, in build/oldest
	build/uv/bin/uv venv --quiet --clear --python 3.11 build/oldest
	build/uv/bin/uv pip install --quiet --no-config --python build/oldest --resolution lowest-direct -e ".[course,test]"
	$(ONE_THREAD) build/oldest/bin/python -m pytest tests/unit -n $(JOBS) --dist loadfile

test-newest: build/uv  ## the unit tests and lessons 01 to 04 on Python 3.13 (NEWEST=3.14) and the newest versions, in build/newest
	build/uv/bin/uv venv --quiet --clear --seed --python $(NEWEST) build/newest
	build/uv/bin/uv pip install --quiet --no-config --python build/newest \
		$(if $(filter pypi,$(TORCH)),,--torch-backend $(TORCH)) -e ".[course,test]"
	$(ONE_THREAD) build/newest/bin/python -m pytest tests/unit -n $(JOBS) --dist loadfile
	$(ONE_THREAD) build/newest/bin/python notebooks/run.py tutorial --only 01 02 03 04 --out build/tutorial-newest

clean:  ## remove .venv, build/ and the tools' caches (downloaded images stay)
	rm -rf .venv build .pytest_cache .ruff_cache *.egg-info
