# make repro | test | test-avx2 | ui | lint | bench | gpu-check | coverage: each sets up what it needs. A second run with nothing changed takes seconds.
# macOS's make 3.81 looks for a recipe's program in its own PATH, unless a shell does
SHELL := bash
export PATH := $(CURDIR)/.venv/bin:$(PATH)
export MLFLOW_DISABLE_TELEMETRY := true
export MLFLOW_SERVER_ENABLE_JOB_EXECUTION := false
# it would hide benchmarks/ and tests/ from `python -m`
unexport PYTHONSAFEPATH
PYTHON ?= python3
export PYTHON
PORT ?= 5000
DEVICE ?= cuda

.PHONY: repro test test-avx2 ui lint bench gpu-check coverage setup check-git

repro: check-git setup
	@vocalremix params
	dvc repro

test: setup
	@scripts/install-programs chromium
	python -m pytest

# as most laptops and older servers compute
test-avx2: setup
	ONEDNN_MAX_CPU_ISA=AVX2 ATEN_CPU_CAPABILITY=avx2 python -m pytest \
		tests/models tests/training/test_loop.py tests/training/test_devices.py tests/test_separation.py tests/test_benchmarks.py

ui: setup
	mlflow ui --backend-store-uri "$${MLFLOW_TRACKING_URI:-sqlite:///mlflow.db}" --host 127.0.0.1 --port $(PORT) --workers 1

lint: setup
	ruff check .
	ruff format --check .
	mypy

bench: setup
	python -m benchmarks
	python -m benchmarks.scale

gpu-check: setup
	@PYTHONPATH=src:tests python -m benchmarks.gpu_check --device $(DEVICE)

coverage: setup
	python -m benchmarks.coverage

check-git:
	@scripts/check-git

setup: .venv/ready
	@scripts/install-programs

.venv/ready: requirements.txt pyproject.toml scripts/make-venv
	@scripts/make-venv
