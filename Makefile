# Every target makes its own .venv; a second call installs nothing.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
export PYTHONUNBUFFERED := 1
# Idle OpenMP threads must not spin: where cores are shared a step takes a hundred times as long.
export OMP_WAIT_POLICY := PASSIVE

.PHONY: quickstart gpu test lint systems bench bench-gpu faults real clean

quickstart: .venv/run.stamp
	$(BIN)/python -m jobs.quickstart

# PyPI's torch for Linux is a CUDA build; the CPU build sees no GPU.
gpu: .venv/run.stamp
	$(PIP) install -q -c constraints.txt --group qlora
	@$(BIN)/python -c 'import sys, torch; ok = torch.cuda.is_available(); \
	  print(torch.cuda.get_device_name() if ok else f"error: torch {torch.__version__} sees no GPU; install the NVIDIA driver, or a CUDA build of torch 2.13.0 into .venv"); \
	  sys.exit(0 if ok else 2)'

test: .venv/dev.stamp
	$(BIN)/python -m pytest tests --ignore=tests/benchmarks -m "slice or not fault" -n 2 --dist loadfile

lint: .venv/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy jobs tune trainers datasets_src cluster tests

systems: .venv/run.stamp
	$(BIN)/python -m tests.systems

# The step; others by name: make bench BENCH="generate resume", or BENCH=all.
bench: .venv/dev.stamp
	$(BIN)/python -m tests.benchmarks.run $(BENCH)

bench-gpu: .venv/dev.stamp
	$(BIN)/python -m tests.gpu.bench_step_gpu

faults: .venv/dev.stamp
	$(BIN)/python -m pytest tests/faults

# Published tokenizers and templates, each exported as after a training: the table of docs/models.md.
real: .venv/dev.stamp
	$(BIN)/python -m tests.real.fetch
	$(BIN)/python -m tests.real.table $(KINDS)

clean:
	rm -rf .venv runs .mypy_cache .pytest_cache .ruff_cache

.venv/pip.stamp:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "error: $(PYTHON) is older than 3.11; call make PYTHON=python3.11"; exit 2; }
	$(PYTHON) -m venv .venv
	$(PIP) install -q pip==26.3
	@touch $@

.venv/run.stamp: pyproject.toml constraints.txt | .venv/pip.stamp
	@echo "installing what a run needs into .venv (a few minutes, once)"
	$(PIP) install -q -c constraints.txt --group run --group gguf
	@touch $@

.venv/dev.stamp: .venv/run.stamp
	@echo "installing what tests need into .venv (once)"
	$(PIP) install -q -c constraints.txt --group dev
	@touch $@
