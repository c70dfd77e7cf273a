"""The native libraries; everything else about the package is in pyproject.toml.

    multipath_gcn._C        the operators on the CPU: LibTorch's stable ABI, no Python inside
    multipath_gcn._C_cuda   the same operators on CUDA, where torch has CUDA and nvcc is found
    multipath_gcn._kernels  the torch-free kernels on NumPy arrays (pybind11)

Object files stay in build/objects and serve every library, interpreter and kind of install with the same flags. CXX and
CXXFLAGS choose the compiler and add to its flags, TORCH_CUDA_ARCH_LIST names CUDA architectures, MAX_JOBS bounds the
compilers that run at once. `python setup.py compile_only --only='csrc/cuda/*.cu'` links nothing: it needs no GPU and no
torch with CUDA, and CXX may be a cross-compiler there.
"""

import hashlib
import os
import re
import shlex
import shutil
import subprocess
import sysconfig
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import CompileError, LinkError

ISOLATED = (
    "multipath_gcn is compiled against the torch it will run with, which an isolated build does not see: "
    "pip install 'torch>=2.10' 'setuptools>=77' 'pybind11>=2.13', then pip install --no-build-isolation multipath_gcn"
)
TARGET = re.search(r'TORCH_TARGET = "(\d+)\.(\d+)"', Path("multipath_gcn/_build_info.py").read_text())
COMMON = ["-std=c++20", "-O3", "-DNDEBUG", "-Icsrc"]
HOST = ["-fPIC", "-pthread", "-fvisibility=hidden"]


class BuildLibraries(build_ext):
    def run(self):
        self.find_tools()
        if absent := self.why_no_cuda():
            print(f"multipath_gcn._C_cuda is not built: {absent}")
            (cuda,) = (extension for extension in self.extensions if extension.name == "multipath_gcn._C_cuda")
            self.extensions = [extension for extension in self.extensions if extension is not cuda]
            for folder in [self.build_lib, "."] if self.inplace else [self.build_lib]:  # left by another torch
                Path(folder, self.get_ext_filename(cuda.name)).unlink(missing_ok=True)
        super().run()

    def find_tools(self):
        try:
            import pybind11
            import torch
        except ModuleNotFoundError:
            raise SystemExit(ISOLATED) from None
        root = Path(torch.__file__).parent
        self.torch_cuda, self.torch_lib = torch.version.cuda, f"-L{root / 'lib'}"
        self.torch_flags = [
            "-DTORCH_TARGET_VERSION=0x{:02x}{:02x}000000000000".format(*map(int, TARGET.groups())),
            *("-isystem", str(root / "include")),
        ]
        self.python_flags = ["-isystem", pybind11.get_include(), "-isystem", sysconfig.get_path("include")]
        self.cxx = shlex.split(os.environ.get("CXX") or next(filter(shutil.which, ("c++", "g++", "clang++")), "c++"))
        homes = [os.environ[name] for name in ("CUDA_HOME", "CUDA_PATH") if os.environ.get(name)]
        folders = [*(f"{home}/bin" for home in homes), os.environ.get("PATH", os.defpath), "/usr/local/cuda/bin"]
        self.nvcc = shutil.which("nvcc", path=os.pathsep.join(folders))

    def why_no_cuda(self) -> str | None:
        if self.torch_cuda is None:
            return "this torch has no CUDA"
        if self.nvcc is None:
            return "no nvcc in CUDA_HOME, PATH or /usr/local/cuda"
        found = re.search(r"release (\d+)", subprocess.check_output([self.nvcc, "--version"], text=True)).group(1)
        if found != self.torch_cuda.split(".")[0]:
            return f"nvcc is of CUDA {found}, torch of CUDA {self.torch_cuda}"
        return None

    def build_extensions(self):
        every = {source for extension in self.extensions for source in extension.sources}
        objects = self.compile_all(sorted(every, key=lambda source: "/kernels/" not in source))  # the slowest first
        for extension in self.extensions:
            self.link(extension, [objects[source] for source in extension.sources])

    def compile_all(self, every: list[str]) -> dict[str, str]:
        with ThreadPoolExecutor(int(os.environ.get("MAX_JOBS") or os.cpu_count())) as pool:
            return dict(zip(every, pool.map(self.compile, every), strict=True))

    def command(self, source: str) -> list[str]:
        """The compiler and its flags. A kernel's do not depend on the library it is for: it is compiled once."""
        if source.endswith(".cu"):
            host = f"-Xcompiler={','.join(HOST)}"
            return [self.nvcc, *COMMON, host, *cuda_architectures(), "-DUSE_CUDA", *self.torch_flags]
        if "/kernels/" in source:
            extra = []
        elif source.endswith("numpy_module.cpp"):
            extra = self.python_flags
        else:
            extra = self.torch_flags
        return [*self.cxx, *COMMON, *HOST, "-Wall", *extra, *shlex.split(os.environ.get("CXXFLAGS", ""))]

    def compile(self, source: str) -> str:
        command = self.command(source)
        key = hashlib.sha256(shlex.join(command).encode()).hexdigest()[:12]
        target = Path("build/objects", key, source).with_suffix(".o")
        if not up_to_date(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            rule, part, begun = target.with_suffix(".d"), target.with_suffix(f".{os.getpid()}.o"), time.time()
            run([*command, "-MD", "-MF", str(rule), "-c", source, "-o", str(part)], CompileError)
            os.utime(part, (begun, begun))  # a source edited meanwhile is newer
            part.replace(target)  # an interrupted compiler leaves no object behind
        return str(target)

    def link(self, extension: Extension, objects: list[str]) -> None:
        target = self.get_ext_fullpath(extension.name)
        Path(target).parent.mkdir(parents=True, exist_ok=True)
        tool, flags = {
            "_C": (self.cxx, ["-pthread", "-Wl,-z,defs", self.torch_lib, "-ltorch_cpu"]),
            "_C_cuda": ([self.nvcc], ["--cudart=shared", self.torch_lib, "-ltorch_cuda", "-ltorch_cpu"]),
            "_kernels": (self.cxx, ["-pthread"]),
        }[extension.name.split(".")[-1]]
        extra = shlex.split(os.environ.get("LDFLAGS", ""))
        run([*tool, "-shared", *objects, *flags, *extra, "-o", target], LinkError)


class CompileOnly(BuildLibraries):
    description = "compile sources, link nothing"
    user_options = [*build_ext.user_options, ("only=", None, "patterns of the sources")]  # noqa: RUF012

    def initialize_options(self):
        super().initialize_options()
        self.only = "csrc/**/*.cpp"

    def run(self):
        self.find_tools()
        self.compile_all(sources(*self.only.split()))


def cuda_architectures() -> list[str]:
    """nvcc's flags for "8.0;9.0+PTX": machine code for each entry, and PTX for newer devices where +PTX asks for it."""
    flags = []
    for entry in re.split(r"[;,\s]+", os.environ.get("TORCH_CUDA_ARCH_LIST", "").strip() or "8.0;9.0+PTX"):
        if not (match := re.fullmatch(r"(\d+)\.(\d[af]?)(\+PTX)?", entry)):
            raise SystemExit(f"TORCH_CUDA_ARCH_LIST must hold entries like 8.0 or 9.0+PTX, got {entry!r}")
        number = match[1] + match[2]
        flags += [
            f"-gencode=arch=compute_{number},code={kind}_{number}" for kind in ["sm", "compute"][: 1 + bool(match[3])]
        ]
    return flags


def run(command: list[str], error: type[Exception]) -> None:
    print(shlex.join(command) + "\n", end="", flush=True)  # in one piece: compilers run side by side
    try:
        subprocess.run(command, check=True)
    except (OSError, subprocess.CalledProcessError) as reason:
        raise error(str(reason)) from None


def up_to_date(target: Path) -> bool:
    """Whether an object file is newer than all it was made from, by the list the compiler left beside it."""
    rule = target.with_suffix(".d")
    if not (target.exists() and rule.exists()):
        return False
    made = target.stat().st_mtime
    inputs = rule.read_text().replace("\\\n", " ").split(":", 1)[1].split()
    return all(os.path.exists(path) and os.stat(path).st_mtime < made for path in inputs)


def sources(*patterns: str) -> list[str]:
    return [str(path) for pattern in patterns for path in sorted(Path().glob(pattern))]


if __name__ == "__main__":
    kernels = sources("csrc/kernels/*.cpp")
    libraries = {
        "_C": ["csrc/library.cpp", *sources("csrc/cpu/*.cpp"), *kernels],
        "_C_cuda": sources("csrc/cuda/*.cu"),
        "_kernels": ["csrc/numpy_module.cpp", *kernels],
    }
    setup(
        ext_modules=[Extension(f"multipath_gcn.{name}", files) for name, files in libraries.items()],
        cmdclass={"build_ext": BuildLibraries, "compile_only": CompileOnly},
    )
