"""What was built and what runs: the first thing to print when a kernel is missing or slow."""

import importlib
import os
import sys
from dataclasses import dataclass, fields
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

TORCH_TARGET = "2.10"  # setup.py compiles for this version of LibTorch's stable ABI


@dataclass(frozen=True)
class BuildInfo:
    """The build of this installation. What does not exist here is None or, where there is a reason, the reason.

    libraries: the file of each native library (`_C`, `_C_cuda`, `_kernels`), None for one that was not built
    isas: the compiled instruction sets that this CPU has, narrowest first
    isa, isa_chosen_by: the one that runs: the widest the CPU has, or the one `MULTIPATH_GCN_ISA` asks for
    """

    version: str
    python: str
    libraries: dict[str, Path | None]
    compiler: str | None
    isas: tuple[str, ...]
    isa: str | None
    isa_chosen_by: str
    torch_target: str
    torch: str | None
    torch_cuda: str | None
    cuda_available: bool

    def __str__(self) -> str:
        width = max(len(field.name) for field in fields(self))
        lines = []
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, dict):
                value = f"\n{'':{width + 2}}".join(f"{name}: {path or 'not built'}" for name, path in value.items())
            elif isinstance(value, tuple):
                value = ", ".join(value)
            lines.append(f"{field.name:{width}}  {value}")
        return "\n".join(lines)


def build_info() -> BuildInfo:
    """What was built and what runs. Works without torch, and says so; never raises for a part that is missing.

    >>> print(multipath_gcn.build_info())
    """
    return BuildInfo(
        version=importlib.import_module("multipath_gcn").__version__,
        python=sys.version.split()[0],
        libraries={name: find_library(name) for name in ("_C", "_C_cuda", "_kernels")},
        torch_target=TORCH_TARGET,
        **_kernels(),
        **_torch(),
    )


def find_library(name: str, folder: Path = Path(__file__).parent) -> Path | None:
    """The file of a native library for this interpreter: of several, the one that import would choose."""
    return next((path for suffix in EXTENSION_SUFFIXES if (path := folder / f"{name}{suffix}").is_file()), None)


def _kernels() -> dict:
    try:
        kernels = importlib.import_module("multipath_gcn._kernels")
    except ImportError as reason:
        return {"compiler": None, "isas": (), "isa": None, "isa_chosen_by": str(reason)}
    try:
        isa = kernels.isa()
    except RuntimeError as reason:  # the variable names one that this CPU lacks
        isa, chosen_by = None, str(reason)
    else:
        chosen_by = "MULTIPATH_GCN_ISA" if os.environ.get("MULTIPATH_GCN_ISA") else "the CPU"
    return {"compiler": kernels.compiler(), "isas": tuple(kernels.isas()), "isa": isa, "isa_chosen_by": chosen_by}


def _torch() -> dict:
    try:
        torch = importlib.import_module("torch")
    except ImportError as reason:
        return {"torch": str(reason), "torch_cuda": None, "cuda_available": False}
    return {"torch": torch.__version__, "torch_cuda": torch.version.cuda, "cuda_available": torch.cuda.is_available()}
