"""setup.py and what it built: flags, symbols and instructions."""

import os
import platform
import re
import shutil
import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest
from setuptools import Distribution

from multipath_gcn._build_info import TORCH_TARGET, find_library

ROOT = Path(__file__).parents[1]
WIDER = {  # what a function of a namespace may hold: the registers and the encodings of its instruction set
    "avx512": "xyz",
    "avx512_bf16": "xyz",
    "avx2": "xy",
}
# AVX and later begin with v, masks with k; the others are BMI, which a compiler adds once it may use AVX2
NOT_BASELINE = re.compile(
    r"v[a-z]|k(mov|or|and|xor|not|shift|add|test|unpck)[a-z]*[bwdq]\b"
    r"|(andn|bextr|bls[a-z]*|bzhi|mulx|pdep|pext|rorx|sarx|shlx|shrx|tzcnt|lzcnt)\b"
)

needs_binutils = pytest.mark.skipif(not shutil.which("objdump"), reason="no binutils")


@pytest.fixture
def build(monkeypatch):
    """The command build_ext as setup.py defines it, ready to compile."""
    monkeypatch.chdir(ROOT)
    spec = spec_from_file_location("multipath_gcn_setup", "setup.py")
    setup = module_from_spec(spec)
    spec.loader.exec_module(setup)
    command = setup.BuildLibraries(Distribution())
    command.find_tools()
    return command


def library(name):
    path = find_library(name)
    assert path, f"{name} is not built"
    return path


def lines(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()


def undefined(name):
    return [line.split(maxsplit=1)[1] for line in lines("nm", "-DC", "--undefined-only", library(name))]


def needed(name):
    return re.findall(r"NEEDED.*\[(.*?)\]", "\n".join(lines("readelf", "-d", library(name))))


@needs_binutils
@pytest.mark.parametrize("name", ["_C", "_C_cuda"])
def test_operators_hold_no_unstable_symbol_and_no_python(name):
    if name == "_C_cuda" and find_library(name) is None:
        pytest.skip("_C_cuda is not built")
    names = undefined(name)
    assert any(symbol.startswith(("aoti_torch_", "torch_")) for symbol in names)  # the C functions of the stable ABI
    assert [symbol for symbol in names if re.search(r"\b(at|c10|torch|caffe2)::", symbol)] == []
    assert [symbol for symbol in names if re.match(r"_?Py[A-Z_]", symbol)] == []
    assert not any(re.match(r"libtorch_python|libc10|libpython", other) for other in needed(name))


@needs_binutils
def test_numpy_module_holds_no_torch():
    assert [symbol for symbol in undefined("_kernels") if "torch" in symbol] == []
    assert [other for other in needed("_kernels") if "torch" in other or "c10" in other or "omp" in other] == []


def test_every_source_of_an_operator_is_compiled_for_the_target(build):
    assert TORCH_TARGET == "2.10"
    assert f"torch>={TORCH_TARGET}" in re.search(
        r"^dependencies = \[(.*?)^\]", (ROOT / "pyproject.toml").read_text(), re.S | re.M
    ).group(1)
    sources = [
        path
        for folder in (".", "cpu", "cuda")
        for path in (ROOT / "csrc" / folder).glob("*.c*")
        if path.suffix in (".cpp", ".cu")
    ]
    for source in {str(path.relative_to(ROOT)) for path in sources} - {"csrc/numpy_module.cpp"}:
        assert "-DTORCH_TARGET_VERSION=0x020a000000000000" in build.command(source), source
    assert not any("torch" in flag.lower() for flag in build.command("csrc/numpy_module.cpp")[1:])


def test_instruction_sets_come_from_function_attributes_only(build):
    files = [str(path.relative_to(ROOT)) for path in (ROOT / "csrc").rglob("*.c*") if path.suffix in (".cpp", ".cu")]
    assert files
    for source in files:
        assert [flag for flag in build.command(source) if re.match(r"-m[a-z]|-Xcompiler=.*-m", flag)] == []


def functions(path):
    """Name -> instructions, as text."""
    name, found = None, {}
    for line in lines("objdump", "-dC", "--no-show-raw-insn", path):
        if title := re.match(r"[0-9a-f]+ <(.*)>:$", line):
            name = title[1]
        elif instruction := re.match(r"\s+[0-9a-f]+:\s+(.+)", line):
            found.setdefault(name, []).append(instruction[1])
    return found


@needs_binutils
@pytest.mark.skipif(platform.machine() != "x86_64", reason="x86-64 only")
@pytest.mark.parametrize("name", ["_C", "_kernels"])
def test_wide_instructions_stay_in_their_namespace(name):
    seen = set()
    for function, code in functions(library(name)).items():
        home = re.match(r"(?:[^(]*\W)?multipath_gcn::(avx2|avx512|avx512_bf16)::", function)
        allowed = WIDER[home[1]] if home else ""
        text = "\n".join(code)
        registers = set(re.findall(r"%([yz])mm", text))
        assert registers <= set(allowed), function
        if home:
            seen |= {(home[1], register) for register in registers}
        else:
            assert not [line for line in code if NOT_BASELINE.match(line)], function
    assert {("avx2", "y"), ("avx512", "z")} <= seen  # the test does see them


@pytest.mark.parametrize("missing", ["torch", "pybind11"])
def test_isolated_build_says_what_to_do(missing, tmp_path):
    answer = subprocess.run(
        [sys.executable, "-c", without(missing), "build_ext", "--build-temp", tmp_path],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert answer.returncode
    assert "an isolated build does not see" in answer.stderr and "--no-build-isolation" in answer.stderr
    assert "Traceback" not in answer.stderr


def test_source_distribution_needs_neither_torch_nor_pybind11(tmp_path):
    for name in ("multipath_gcn", "conf", "csrc"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    for name in ("setup.py", "pyproject.toml", "MANIFEST.in", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path)
    command = [sys.executable, "-c", without("torch", "pybind11"), "-q", "sdist", "--formats=gztar"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    (archive,) = (tmp_path / "dist").iterdir()
    shutil.unpack_archive(archive, tmp_path / "unpacked")
    (top,) = (tmp_path / "unpacked").iterdir()
    sources = {path.relative_to(ROOT) for path in (ROOT / "csrc").rglob("*") if path.is_file()}
    assert {path.relative_to(top) for path in (top / "csrc").rglob("*") if path.is_file()} == sources
    assert (top / "setup.py").exists()


def without(*names):
    """Python code that runs setup.py as if some packages were not installed."""
    blocked = "".join(f"sys.modules[{name!r}] = None; " for name in names)
    return f"import sys, runpy; {blocked}sys.argv[0] = 'setup.py'; runpy.run_path('setup.py', run_name='__main__')"


def test_build_requirements_never_list_torch():
    text = (ROOT / "pyproject.toml").read_text()
    assert "torch" not in re.search(r"^requires = \[(.*?)\]", text, re.M).group(1)


@pytest.mark.parametrize(
    ("wanted", "flags"),
    [
        (None, ["80,code=sm_80", "90,code=sm_90", "90,code=compute_90"]),
        ("8.6", ["86,code=sm_86"]),
        ("9.0a 12.0+PTX", ["90a,code=sm_90a", "120,code=sm_120", "120,code=compute_120"]),
    ],
)
def test_cuda_architectures(build, monkeypatch, wanted, flags):
    monkeypatch.delenv("TORCH_CUDA_ARCH_LIST", raising=False)
    if wanted:
        monkeypatch.setenv("TORCH_CUDA_ARCH_LIST", wanted)
    command = build.command("csrc/cuda/any.cu")
    assert [flag for flag in command if "gencode" in str(flag)] == [f"-gencode=arch=compute_{flag}" for flag in flags]


def test_wrong_cuda_architecture_is_named(build, monkeypatch):
    monkeypatch.setenv("TORCH_CUDA_ARCH_LIST", "Hopper")
    with pytest.raises(SystemExit, match=r"TORCH_CUDA_ARCH_LIST .* 9\.0\+PTX, got 'Hopper'"):
        build.command("csrc/cuda/any.cu")


@pytest.mark.parametrize(
    ("cuda", "release", "reason"),
    [
        (None, "13.0", "this torch has no CUDA"),
        ("13.0", None, "no nvcc"),
        ("12.8", "13.0", "nvcc is of CUDA 13, torch of CUDA 12.8"),
        ("13.0", "13.2", None),
    ],
)
def test_cuda_is_built_where_torch_has_it_and_nvcc_agrees(build, tmp_path, cuda, release, reason):
    build.torch_cuda, build.nvcc = cuda, None
    if release:
        build.nvcc = str(tmp_path / "nvcc")
        Path(build.nvcc).write_text(f"#!/bin/sh\necho 'Cuda compilation tools, release {release}, V{release}.1'\n")
        os.chmod(build.nvcc, 0o755)
    absent = build.why_no_cuda()
    assert absent is None if reason is None else absent.startswith(reason)


def test_an_object_is_made_again_when_a_header_changes(build, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    source, header = Path("csrc/kernels/f.cpp"), Path("csrc/kernels/f.h")
    source.parent.mkdir(parents=True)
    source.write_text('#include "f.h"\nint f() { return N; }\n')
    header.write_text("#define N 1\n")

    def made():
        return os.stat(build.compile(str(source))).st_mtime_ns

    first = made()
    assert made() == first
    header.write_text("#define N 2\n")
    second = made()
    assert second > first
    monkeypatch.setenv("CXXFLAGS", "-DOTHER")
    assert made() > second
    monkeypatch.delenv("CXXFLAGS")
    assert made() == second  # the old one is still there


def test_a_compiler_that_fails_leaves_nothing(build, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("csrc/kernels").mkdir(parents=True)
    Path("csrc/kernels/f.cpp").write_text("int f( {")
    with pytest.raises(Exception, match="returned non-zero exit status"):
        build.compile("csrc/kernels/f.cpp")
    assert list(tmp_path.rglob("*.o")) == []
