"""The kernels of csrc/cuda compiled by g++ for the emulation: once per session, on all CPUs."""

import os
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from multipath_gcn import _native

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
TYPES = {"float32": "float", "float64": "double", "bfloat16": "__nv_bfloat16", "float16": "__half"}
FLAGS = ["-std=c++20", "-O1", "-fno-strict-aliasing", "-w", "-Icsrc", "-Itests/cuda"]


@pytest.fixture(scope="session")
def compile_all():
    """Runs g++ with each of several lists of arguments."""
    cxx = shutil.which("g++")
    if cxx is None:
        pytest.skip("no g++")

    def run(arguments):
        done = subprocess.run([cxx, *FLAGS, *map(str, arguments)], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-4000:]

    def every(commands):
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(run, commands))

    return every


@pytest.fixture(scope="session")
def programs(compile_all, tmp_path_factory):
    """emulated.cpp for every element type, as files."""
    folder = tmp_path_factory.mktemp("programs")
    files = {name: folder / name for name in TYPES}
    compile_all([[f"-DELEMENT={TYPES[name]}", "tests/cuda/emulated.cpp", "-o", file] for name, file in files.items()])
    return files


@pytest.fixture(scope="session")
def emulated_operators(compile_all, tmp_path_factory):
    """The operators of csrc/cuda on CPU tensors, as torch.ops.emulated."""
    folder, torch_root = tmp_path_factory.mktemp("operators"), Path(torch.__file__).parent
    flags = ["-x", "c++", "-fPIC", "-include", "tests/cuda/emulated_torch.h", "-isystem", torch_root / "include"]
    flags.append("-DTORCH_TARGET_VERSION=0x020a000000000000")
    sources = [*sorted((ROOT / "csrc/cuda").glob("*.cu")), ROOT / "csrc/library.cpp"]
    sources.sort(key=lambda source: not source.name.startswith("kernels"))  # the slowest first
    objects = [folder / f"{source.name}.o" for source in sources]
    compile_all([[*flags, "-c", source, "-o", object] for source, object in zip(sources, objects, strict=True)])
    library = folder / "emulated.so"
    compile_all([["-shared", *objects, f"-L{torch_root / 'lib'}", "-ltorch_cpu", "-o", library]])
    torch.ops.load_library(library)
    return torch.ops.emulated


@pytest.fixture
def cuda():
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    _native.load()
    return torch.device("cuda", torch.cuda.current_device())


@pytest.fixture
def our_convolution(stock_computes):
    """Ours for every shape: what the operators of convolution compute with above the dispatcher's autograd is a choice."""
    stock_computes()
