# make demo   repeat the 2017 experiment on this machine (root)
# make test   lint, types and every test: unit, live on this kernel, other kernels in QEMU (root)
# make test-kernels  the live tests on all kernels and rungs; writes docs/compatibility.md (root)
# make setup  only install what the two above need
# make accuracy  let the rungs count the same packets on other kernels: docs/accuracy.md
# make bench  benchmarks on this machine, ratios first
# make definitions  measure docs/definitions.md again, on other kernels in QEMU (root)

PYTHON := .venv/bin/python
PROBES := $(wildcard locality/probes/*.[ch])

.PHONY: setup demo test test-kernels unit bench accuracy definitions lint format probes clean

demo: setup
	.venv/bin/locality demo

test: lint
	$(PYTHON) -m pytest

test-kernels: setup
	LOCALITY_REQUIRE_LIVE=1 $(PYTHON) -m pytest tests/vm --kernels all \
		--table docs/compatibility.md

setup: .venv/.ready probes

.venv/.ready: pyproject.toml tools/setup tools/apt-packages.txt
	tools/setup
	@touch $@

probes: .venv/.ready
	@$(PYTHON) hatch_build.py

unit: setup
	$(PYTHON) -m pytest tests/unit

accuracy: setup
	$(PYTHON) -m benchmarks.accuracy >.cache/accuracy.md
	mv .cache/accuracy.md docs/accuracy.md

bench: setup
	$(PYTHON) -m benchmarks

definitions: setup
	$(PYTHON) -m benchmarks.definitions_page

lint: setup
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy

format: setup
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

clean:
	rm -rf .venv .cache build dist locality/probes/*.bpf.o
