# Two commands on a fresh machine:
#   make train              installs into .venv, trains plain, residual and multipath GCN, prints one table
#   make train DATA=cora    the same on another data set (any of conf/data)
#   make test               installs into .venv and runs the tests
# PYTHON chooses the interpreter (3.10-3.13). TORCH chooses PyTorch's build: it is installed first and by itself, so
# that no other package decides which one it is.
PYTHON ?= python3
TORCH ?= torch==2.13.0
DATA ?= digits
SEEDS ?= 3

BIN := .venv/bin
RUNS := runs/first_light
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: train test clean
train: .venv/installed
	$(BIN)/multipath-gcn -m experiment=first_light data=$(DATA) model=gcn,resgcn,multipath \
	    'seed=range(0,$(SEEDS))' runs=$(RUNS)
	$(BIN)/multipath-gcn-report $(RUNS)/$(DATA)

test: .venv/installed-test
	$(BIN)/python -m pytest

.venv/torch:
	$(PYTHON) -c "import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 14) and 'Python 3.10-3.13 is needed')"
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q '$(TORCH)' 'setuptools>=77' wheel
	touch $@

# No isolated build: it would fetch a second PyTorch once the package has native code.
.venv/installed: .venv/torch pyproject.toml
	$(BIN)/python -m pip install -q --no-build-isolation -e .
	touch $@

.venv/installed-test: .venv/installed
	$(BIN)/python -m pip install -q --no-build-isolation -e '.[test]'
	touch $@

clean:
	rm -rf .venv build *.egg-info
