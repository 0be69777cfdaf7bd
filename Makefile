# `make demo` and `make test` are all a newcomer needs; each makes the environment it runs in.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test check clean

demo: .venv/.installed
	$(BIN)/longvid demo

test: .venv/.installed
	scripts/test

check: .venv/.installed
	scripts/check

# Made again when what is installed could have changed, native sources included.
.venv/.installed: pyproject.toml setup.py constraints.txt $(wildcard cuda_ops/*/*)
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

clean:
	rm -rf .venv build demo *.egg-info longvid/ops/*.so
