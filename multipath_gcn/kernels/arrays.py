"""What the functions of this package have in common: the types of arrays, their memory, their checks."""

from collections.abc import Sequence
from numbers import Integral

import numpy as np

DTYPES = ("float32", "float64", "bfloat16")
MOST_THREADS = 1024


def raw(array: np.ndarray) -> np.ndarray:
    """A plain array; of bfloat16, which NumPy and pybind11 do not know, the bits."""
    array = np.asarray(array)
    return array.view(np.uint16) if array.dtype.name == "bfloat16" else array


def images_like(x: np.ndarray, channels: int, size: Sequence[int]) -> np.ndarray:
    """Images [N, channels, *size], not yet set: channels-last in memory where ``x`` is, else contiguous."""
    x = np.asarray(x)
    if x.transpose(0, 2, 3, 1).flags.c_contiguous and not x.flags.c_contiguous:
        return np.empty((len(x), *size, channels), x.dtype).transpose(0, 3, 1, 2)
    return np.empty((len(x), channels, *size), x.dtype)


def check_threads(threads) -> None:
    if isinstance(threads, bool) or not isinstance(threads, Integral) or not 1 <= threads <= MOST_THREADS:
        raise ValueError(f"threads must be an integer from 1 to {MOST_THREADS}, got {threads!r}")


def check_activation(activation) -> None:
    if activation is not None and activation != "relu":
        raise ValueError(f'activation must be None or "relu", got {activation!r}')


def check_kind(name: str, array) -> None:
    if not isinstance(array, np.ndarray):
        raise ValueError(f"{name} must be a NumPy array, got {type(array).__name__}")


def check_type(name: str, array) -> None:
    check_kind(name, array)
    if array.dtype.name not in DTYPES or not array.dtype.isnative:
        raise ValueError(f"{name} must be of type float32, float64 or bfloat16, got {array.dtype}")


def check_like(name: str, array, x: np.ndarray, of: str = "x") -> None:
    check_kind(name, array)
    if array.dtype != x.dtype:
        raise ValueError(f"{name} must be of the type of {of} ({x.dtype}), got {array.dtype}")
