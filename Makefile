# `make demo` and `make test` are all a newcomer needs; each makes the environment it runs in.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test check clean

demo: .venv/.demo
	$(BIN)/longvid demo

test: .venv/.installed
	scripts/test

check: .venv/.installed
	scripts/check

# Made again when what is installed could have changed, native sources included.
INSTALLED_FROM := pyproject.toml setup.py constraints.txt $(wildcard cuda_ops/*/*)

# longvid and what it needs to run; the tools of development are not among it.
.venv/.demo: $(INSTALLED_FROM)
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[demo]'
	touch $@

.venv/.installed: $(INSTALLED_FROM)
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch .venv/.demo $@

clean:
	rm -rf .venv build demo *.egg-info longvid/ops/*.so
