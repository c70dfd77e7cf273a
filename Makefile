# Two commands on a fresh machine:
#   make train              installs into .venv, trains plain, residual and multipath GCN, prints one table
#   make train DATA=cora    the same on another data set (any of conf/data)
#   make train TASK=image   convolution networks on images: scanned digits, or DATA=cifar10
#   make test               installs into .venv and runs the tests
#   make test-ray           the tests of Ray's launcher, in an environment of its own
#   make docs               builds the user guide into build/html
#   make test-sparse        builds torch-scatter and torch-sparse too, minutes each, and runs the tests that need them
# And one for the native code:
#   make sanitize           runs the torch-free kernels under AddressSanitizer and UBSan, with every instruction set
# PYTHON chooses the interpreter (3.10-3.13). TORCH chooses PyTorch's build: it is installed first and by itself, so
# that no other package decides which one it is.
PYTHON ?= python3
TORCH ?= torch==2.13.0
TASK ?= node
SEEDS ?= 3

BIN := .venv/bin
ifeq ($(TASK),image)
DATA ?= digit_images
RUNS := runs/first_light_images
FIRST_LIGHT := experiment=first_light_images \
    model/convolution=standard,grouped,separable,separable_grouped,separable_sliding
else
DATA ?= digits
RUNS := runs/first_light
FIRST_LIGHT := experiment=first_light model=gcn,resgcn,multipath
endif
NATIVE := $(wildcard csrc/*.* csrc/*/*.*)
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: train test test-sparse test-ray docs sanitize clean
train: .venv/installed
	$(BIN)/multipath-gcn -m $(FIRST_LIGHT) data=$(DATA) 'seed=range(0,$(SEEDS))' runs=$(RUNS)
	$(BIN)/multipath-gcn-report $(RUNS)/$(DATA)

test: .venv/installed-test
	$(BIN)/python -m pytest

SPARSE_TESTS := tests/ops/test_scattered.py tests/graph tests/nn/test_sparse_tensor.py \
    $(wildcard tests/nn/test_gcn_conv*.py) tests/nn/test_multipath_gcn.py

test-sparse: .venv/installed-sparse
	$(BIN)/python -m pytest $(SPARSE_TESTS)

# Ray's launcher wants an older cloudpickle than joblib: beside .venv, whose packages it sees, not in it.
test-ray: .venv/installed-ray
	.venv-ray/bin/python -m pytest tests/test_sweep.py -k ray

.venv/installed-ray: .venv/installed-test
	$(PYTHON) -m venv .venv-ray
	echo "import site; site.addsitedir('$$($(BIN)/python -c 'import site; print(site.getsitepackages()[0])')')" \
	    > $$(.venv-ray/bin/python -c 'import site; print(site.getsitepackages()[0])')/below.pth
	.venv-ray/bin/python -m pip install -q 'cloudpickle<3' 'ray>=2.60,<3' 'hydra-ray-launcher>=1.2.2'
	touch $@

.venv/torch:
	$(PYTHON) -c "import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 14) and 'Python 3.10-3.13 is needed')"
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q '$(TORCH)'
	touch $@

# No isolated build: the native libraries are compiled against the torch that is installed here.
.venv/installed: .venv/torch pyproject.toml setup.py $(NATIVE)
	$(BIN)/python -m pip install -q 'setuptools>=77' wheel 'pybind11>=2.13'
	$(BIN)/python -m pip install -q --no-build-isolation -e .
	touch $@

.venv/installed-test: .venv/installed
	$(BIN)/python -m pip install -q --no-build-isolation -e '.[test]'
	touch $@

# They come as sources alone: 30 files of 20 to 35 seconds and up to 2 GB each. The two files of an extension are compiled
# side by side; several extensions at a time would write over each other's build.ninja.
.venv/installed-sparse: .venv/installed-test
	FORCE_ONLY_CPU=1 MAX_JOBS=$$(nproc) \
	    $(BIN)/python -m pip install -q --no-build-isolation torch-scatter torch-sparse
	touch $@

docs: .venv/installed
	$(BIN)/python -m pip install -q --no-build-isolation -e '.[docs]'
	$(BIN)/python -m sphinx -q -W --keep-going -c docs . build/html
	@echo build/html/docs/index.html

# CXX, RUN and FLAGS make it a check of another machine too: .ci/run uses them for aarch64.
FLAGS ?= -O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all
CHECK ?= build/sanitize
DRIVER := $(patsubst %.cpp,$(CHECK)/%.o,$(wildcard tests/csrc/*.cpp csrc/kernels/*.cpp))

sanitize:
	$(MAKE) --no-print-directory -j$$(nproc) $(CHECK)/driver
	$(RUN) $(CHECK)/driver

$(CHECK)/driver: $(DRIVER)
	$(CXX) $(FLAGS) $^ -o $@

$(CHECK)/%.o: %.cpp $(NATIVE) $(wildcard tests/csrc/*.h)
	@mkdir -p $(@D)
	$(CXX) -std=c++20 -Wall -Icsrc $(FLAGS) -c $< -o $@

clean:
	rm -rf .venv .venv-ray build *.egg-info multipath_gcn/*.so
