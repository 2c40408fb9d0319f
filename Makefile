# make demo          repeat the 2017 experiment on this machine (root)
# make demo-vm       the same in a guest whose network card has queues (root); KERNEL=6.1
# make test          lint, types and tests: unit, live on this kernel, their core in QEMU (root)
# make test-kernel   all live tests in QEMU on one kernel: its column of docs/generated/compatibility.md
#                    (root); KERNEL=6.1, KERNEL=arm64
# make test-core     their core in QEMU on one kernel: its column, too (root); KERNEL=6.1
# make test-kernels  their core in QEMU on all kernels: docs/generated/compatibility.md (root)
# make test-packages install it on bare Debian 12, 13 and sid and in a container, and measure (root)
# make wheel         what pip installs; also make deb, and make zipapp: one file. All go to dist/
# make setup         only install what these need; make clean removes what was built
# make unit          quick tests without privileges; also make lint, make format, make probes
# make accuracy      let the rungs count the same packets: docs/generated/accuracy.md (root)
# make definitions   consumed, freed and the script of 2017: docs/generated/definitions.md (root)
# make trial-statistics  judge made-up trials: docs/generated/trial-statistics.md
# make trial         whether the map helps nginx, here and in a guest: docs/generated/trial.md (root)
# make spill         hash, map and spill under the same load: docs/generated/spill.md (root)
# make duty-windows  shares from random windows: docs/generated/duty-windows.md (root)
# make commands      write docs/reference/commands.md from the help texts
# make bench         beside bcc and bpftrace, here and in QEMU: docs/generated/performance.md (root)
# make growth        costs of large machines and long runs: docs/generated/growth.md; BASE=DIR

PYTHON := .venv/bin/python
KERNEL := 6.12
PROBES := $(wildcard locality/probes/*.[ch])

.PHONY: setup demo demo-vm test test-kernel test-core test-kernels test-packages wheel deb zipapp unit \
	bench growth accuracy definitions trial-statistics trial spill duty-windows commands lint format probes clean

demo: setup
	.venv/bin/locality demo

demo-vm: setup
	$(PYTHON) -m tests.vm.demo_vm $(KERNEL)

# Side by side; what each part says is in .cache/test.
test: setup
	$(PYTHON) -m tests.run

# Kernels of another architecture need more packages.
test-kernel: setup $(if $(filter arm64%,$(KERNEL)),.venv/.arm64-ready)
	LOCALITY_REQUIRE_LIVE=1 $(PYTHON) -m pytest tests/vm --kernels $(KERNEL) \
		--table docs/generated/compatibility.md

test-core: setup $(if $(filter arm64% all,$(KERNEL)),.venv/.arm64-ready)
	LOCALITY_REQUIRE_LIVE=1 $(PYTHON) -m pytest tests/vm/test_debian_kernels.py \
		--kernels $(KERNEL) --core --table docs/generated/compatibility.md

test-kernels:
	$(MAKE) test-core KERNEL=all

test-packages: setup .venv/.package-ready
	$(PYTHON) -m pytest tests/packages --packages --table docs/generated/install.md

wheel: setup
	rm -rf dist
	$(PYTHON) -m hatchling build -t wheel -d dist

deb: wheel
	$(PYTHON) -m install.debian dist/*.whl dist

zipapp: wheel .venv/.package-ready
	$(PYTHON) -m install.one_file dist/*.whl dist/locality.pyz

.venv/.package-ready: .venv/.ready tools/package-packages.txt
	tools/setup tools/package-packages.txt
	$(PYTHON) -m pip install --quiet --group package
	@touch $@

# Other goals need this, too, and go on: only who asked for it is told what comes next.
setup: .venv/.ready probes
	$(if $(filter setup,$(MAKECMDGOALS)),@echo "done: .venv/bin/locality check")

.venv/.ready: pyproject.toml tools/setup tools/apt-packages.txt
	tools/setup
	@touch $@

probes: .venv/.ready
	@$(PYTHON) hatch_build.py

unit: setup
	$(PYTHON) -m pytest tests/unit

accuracy: setup
	$(PYTHON) -m validation.accuracy --csv .cache/accuracy.csv >.cache/accuracy.md
	mv .cache/accuracy.md .cache/accuracy.csv docs/generated

bench: setup .venv/.bench-ready
	$(PYTHON) -m benchmarks.side_by_side

growth: setup
	$(PYTHON) -m benchmarks.growth --before $(BASE)

.venv/.bench-ready: .venv/.ready tools/bench-packages.txt
	tools/setup tools/bench-packages.txt
	@touch $@

.venv/.arm64-ready: .venv/.ready tools/arm64-packages.txt
	tools/setup tools/arm64-packages.txt
	@touch $@

definitions: setup
	$(PYTHON) -m validation.definitions_page

# One thread for each process: more would only wait for each other.
trial-statistics: setup
	OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(PYTHON) -m validation.trial_statistics \
		--csv .cache/trial-statistics.csv >.cache/trial-statistics.md
	mv .cache/trial-statistics.md .cache/trial-statistics.csv docs/generated

trial: setup
	$(PYTHON) -m validation.trial_page

spill: setup
	$(PYTHON) -m validation.spill_page

duty-windows: setup
	$(PYTHON) -m validation.duty_windows >.cache/duty-windows.md
	mv .cache/duty-windows.md docs/generated

commands: setup
	$(PYTHON) -m validation.commands_page

lint: setup
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy

format: setup
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

clean:
	rm -rf .venv .cache build dist locality/probes/*.bpf.o locality/lab/tap_wire
