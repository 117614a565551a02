# Each target runs the set-up first, which does nothing once it is complete.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.SILENT:
.PHONY: setup test test-windows test-slow test-gpu soak lint format demo docs bench clean

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

# Packages that Qt and OpenGL need without a desktop, and a virtual display for the tests.
DEBIAN_PACKAGES := python3-venv xvfb xauth libgl1 libegl1 libgl1-mesa-dri libglib2.0-0 libdbus-1-3 \
	libfontconfig1 fonts-dejavu-core libxkbcommon-x11-0 libxcb-cursor0 libxcb-icccm4 libxcb-image0 \
	libxcb-keysyms1 libxcb-randr0 libxcb-render-util0 libxcb-shape0 libxcb-xfixes0 libxcb-xinerama0 \
	libxcb-xkb1

# Without an NVIDIA GPU the CPU build saves gigabytes. It comes from the index that pip is configured
# to use, or from TORCH_CPU_INDEX if set, such as the index of CPU builds that pytorch.org lists.
TORCH := torch>=2.6
TORCH_CPU := torch==2.13.0+cpu
TORCH_CPU_INDEX ?=

# Expanded after the set-up, which may have installed xvfb-run.
SCREEN = $(if $(DISPLAY)$(WAYLAND_DISPLAY),,$(if $(shell command -v xvfb-run),xvfb-run -a))
PYTEST = $(SCREEN) $(BIN)/python -m pytest

setup: $(READY)

$(READY): pyproject.toml Makefile
	missing=()
	if command -v apt-get >/dev/null; then
		for package in $(DEBIAN_PACKAGES); do
			dpkg-query -W -f '$${Status}' $$package 2>/dev/null | grep -q 'ok installed' || missing+=($$package)
		done
	fi
	if [ $${#missing[@]} -gt 0 ]; then
		if [ "$$(id -u)" = 0 ]; then root=(env)
		elif sudo -n true 2>/dev/null; then root=(sudo env)
		else root=(); fi
		if [ $${#root[@]} -gt 0 ]; then
			echo "Installing Debian packages: $${missing[*]}"
			apt=("$${root[@]}" DEBIAN_FRONTEND=noninteractive apt-get -q -o Dpkg::Use-Pty=0)
			"$${apt[@]}" update >/dev/null
			"$${apt[@]}" install -y --no-install-recommends "$${missing[@]}" >/dev/null
		else
			echo "If napari or the tests fail to start, run: sudo apt-get install $${missing[*]}"
		fi
	fi
	[ -x $(BIN)/python ] || $(PYTHON) -m venv .venv
	pip() { $(BIN)/python -m pip install --quiet --disable-pip-version-check "$$@"; }
	if ! $(BIN)/python -c 'import torch' 2>/dev/null; then
		echo "Installing PyTorch"
		if [ "$$(uname)" != Linux ] || nvidia-smi >/dev/null 2>&1; then
			pip '$(TORCH)'
		else
			pip '$(TORCH_CPU)' $(if $(TORCH_CPU_INDEX),--index-url $(TORCH_CPU_INDEX)) 2>/dev/null || pip '$(TORCH)'
		fi
	fi
	echo "Installing napari-graphflow and its dependencies"
	pip --editable '.[window,train,export,dicom-seg,pyqt5,pyqt6,dev]'
	touch $(READY)

FAST := -m "not slow and not soak"

# Both bindings run in parallel, because window tests mostly wait. They share the tests that are not
# marked both_bindings; `make test-windows` runs all with both.
test: setup
	$(PYTEST) $(FAST) --numprocesses 2 --dist worksteal --ignore=tests/plugin
	logs=$$(mktemp -d)
	trap 'rm -rf "$$logs"' EXIT
	for binding in pyqt5 pyqt6; do
		QT_API=$$binding PYTEST_QT_API=$$binding $(PYTEST) $(FAST) --share-with-other-binding $$binding tests/plugin >"$$logs/$$binding" 2>&1 &
		declare "$$binding=$$!"
		sleep 3  # otherwise both virtual displays get the same number
	done
	failed=0
	for binding in pyqt5 pyqt6; do
		wait "$${!binding}" || failed=1
		echo "Window tests with $$binding"
		cat "$$logs/$$binding"
	done
	exit $$failed

test-windows: setup
	for binding in pyqt5 pyqt6; do QT_API=$$binding PYTEST_QT_API=$$binding $(PYTEST) $(FAST) tests/plugin; done

# With Ray and submitit, whose tests start a cluster on this computer.
test-slow: setup
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[ray,slurm]'
	$(BIN)/python -c 'import ray, submitit'
	$(PYTEST) -m "slow and not soak"

# Says so where there is no CUDA device.
test-gpu: setup
	timeout 480 $(BIN)/python benchmarks/gpu.py

soak: setup
	$(PYTEST) -m soak

lint: setup
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

format: setup
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

demo: setup
	$(BIN)/napari-graphflow demo

# A site in site/, checked for broken links; its reference is made from the commands and docstrings.
docs: setup
	$(BIN)/python -c 'import mkdocstrings_handlers.python' 2>/dev/null || $(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

bench: setup
	for benchmark in inference loss_cost volume_reading window_heartbeat next_case; do $(SCREEN) $(BIN)/python benchmarks/$$benchmark.py; done

clean:
	rm -rf build dist demo site .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
