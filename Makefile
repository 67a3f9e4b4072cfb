# Two commands on a fresh machine: `make demo` and `make test`. The first use sets up .venv.
PYTHON ?= python3.11
BIN := .venv/bin

.PHONY: demo test test-slow check setup clean

setup: .venv/installed

# The lock lists every package, so --no-deps: nothing outside it is fetched (torch's CPU build included).
.venv/installed: requirements.lock pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

demo: setup
	$(BIN)/multidiff sample sfx "rain falling" --seed 7 --plot -o out
	$(BIN)/multidiff sample clips "a man walking left, grass green background" --seed 7 --plot -o out
	$(BIN)/multidiff complete shapes assets/inputs/half_chair.ply --prompt "a chair" --guidance 1.5 -n 2 --format ply,glb --plot -o out

# A worker for each core; every worker computes with one thread (tests/conftest.py).
test: check
	$(BIN)/python -m pytest -n auto --dist worksteal

test-slow: setup
	$(BIN)/python -m pytest -m slow

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf .venv out
