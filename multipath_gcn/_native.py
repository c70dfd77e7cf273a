"""Loads the compiled operators, once.

``MULTIPATH_GCN_NATIVE=reference`` asks for the definitions in Python instead (:mod:`multipath_gcn.ops.reference`);
nothing else leads to them. Max and min on the CPU then are torch-scatter's where it is installed, with equal results.
"""

import os
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import torch

from multipath_gcn._build_info import find_library

VARIABLE = "MULTIPATH_GCN_NATIVE"
MODES = ("native", "reference")
_loaded: set[str] = set()


def mode() -> str:
    """``"native"`` or ``"reference"``, as the environment says.

    Raises:
        ValueError: for another value of ``MULTIPATH_GCN_NATIVE``.
    """
    value = os.environ.get(VARIABLE, MODES[0])
    if value not in MODES:
        raise ValueError(f"{VARIABLE} must be one of {list(MODES)} or unset, got {value!r}")
    return value


def load() -> None:
    """Loads ``_C`` and, where PyTorch has CUDA, ``_C_cuda`` if it was built.

    Raises:
        ImportError: if ``_C`` is missing or one of the files cannot be loaded.
    """
    _load("_C")
    if torch.version.cuda and find_library("_C_cuda"):
        _load("_C_cuda")


def _load(name: str) -> None:
    if name in _loaded:
        return
    try:
        path = find_library(name)
        if path is None:
            wanted = " or ".join(f"{name}{suffix}" for suffix in EXTENSION_SUFFIXES)
            raise FileNotFoundError(f"there is no {wanted} in {Path(__file__).parent}")
        torch.ops.load_library(path)
    except OSError as error:
        raise ImportError(
            f"the compiled operators of multipath_gcn cannot be loaded with PyTorch {torch.__version__}: {error}. "
            "To rebuild them: `pip install --no-build-isolation -e .` in the source folder. "
            f"To do without, slowly: {VARIABLE}=reference."
        ) from error
    _loaded.add(name)
