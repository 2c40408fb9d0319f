# make demo     repeat the 2017 experiment on this machine (root)
# make demo-vm  the same in a guest whose network card has queues (root); KERNEL=6.1 for another
# make test     lint, types and every test: unit, live on this kernel, other kernels in QEMU (root)
# make setup    only install what the three above need
# make bench    benchmarks on this machine, ratios first

PYTHON := .venv/bin/python
KERNEL := 6.12
PROBES := $(wildcard locality/probes/*.[ch])

.PHONY: setup demo demo-vm test unit bench lint format probes clean

demo: setup
	.venv/bin/locality demo

demo-vm: setup
	$(PYTHON) -m tests.vm.demo_vm $(KERNEL)

test: lint
	$(PYTHON) -m pytest

setup: .venv/.ready probes

.venv/.ready: pyproject.toml tools/setup tools/apt-packages.txt
	tools/setup
	@touch $@

probes: .venv/.ready
	@$(PYTHON) hatch_build.py

unit: setup
	$(PYTHON) -m pytest tests/unit

bench: setup
	$(PYTHON) -m benchmarks

lint: setup
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy

format: setup
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

clean:
	rm -rf .venv .cache build dist locality/probes/*.bpf.o
