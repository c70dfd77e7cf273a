"""A trained convolution network on NumPy arrays, as :func:`multipath_gcn.models.save_arrays` wrote it."""

import json
import math
import zipfile
from collections.abc import Callable
from os import PathLike
from typing import Any

import numpy as np

from multipath_gcn.kernels.arrays import check_threads, check_type
from multipath_gcn.kernels.channel_transform import channel_transform, channel_transform_2d, pack_weight
from multipath_gcn.kernels.grouped_conv2d import grouped_conv2d
from multipath_gcn.windows import ChannelWindows

VERSION = 1  # of the files that can be read
Step = Callable[[np.ndarray, int], np.ndarray]  # (images, threads) -> images


class Network:
    """Inference of a stored network, without PyTorch.

    Args:
        path: a file of :func:`multipath_gcn.models.save_arrays`.

    Attributes:
        facts: what was stored beside the network, such as the mean and the names of the classes.

    Raises:
        ValueError: for a file that is none of these.
    """

    def __init__(self, path: str | PathLike):
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
            content = json.loads(str(arrays.pop("network")))
            if content["version"] != VERSION:
                raise ValueError(f"its version is {content['version']}, not {VERSION}")
            self.facts: dict[str, Any] = content["facts"]
            self._steps = [_step(step, arrays) for step in content["steps"]]
        except (ValueError, LookupError, TypeError, OSError, EOFError, zipfile.BadZipFile) as error:
            raise ValueError(f"path must name a file of save_arrays, {path} is none: {error}") from error

    def __call__(self, images: np.ndarray, threads: int = 1) -> np.ndarray:
        """Scores (N, classes) of images (N, C, H, W) of the type of the weights.

        Args:
            images: normalised as in training; channels-last memory is kept by convolutions and transforms.
            threads: how many to share each layer among.

        Raises:
            ValueError: when the images do not fit the first layer.
        """
        check_type("images", images)
        check_threads(threads)
        return _run(self._steps, images, threads)


def _run(steps: list[Step], x: np.ndarray, threads: int) -> np.ndarray:
    for step in steps:
        x = step(x, threads)
    return x


def _step(step: dict[str, Any], arrays: dict[str, np.ndarray]) -> Step:
    if step["op"] not in _MAKERS:
        raise ValueError(f"op of a step must be one of {sorted(_MAKERS)}, got {step['op']!r}")
    return _MAKERS[step["op"]](step, arrays)


def _operands(step: dict[str, Any], arrays: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray | None]:
    return arrays[step["weight"]], None if step["bias"] is None else arrays[step["bias"]]


def _conv(step: dict[str, Any], arrays: dict[str, np.ndarray]) -> Step:
    weight, bias = _operands(step, arrays)
    options = [_tuples(step[name]) for name in _GEOMETRY]
    activation = "relu" if step["relu"] else None
    return lambda x, threads: grouped_conv2d(x, weight, bias, *options, activation, threads)


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


_GEOMETRY = ("stride", "padding", "dilation", "groups")


def _transform(step: dict[str, Any], arrays: dict[str, np.ndarray]) -> Step:
    weight, bias = _operands(step, arrays)
    windows = ChannelWindows(arrays[step["start"]], weight.shape[1], step["in_channels"])
    packed, activation = pack_weight(weight, windows), "relu" if step["relu"] else None
    return lambda x, threads: channel_transform_2d(x, packed, windows, bias, activation, threads)


def _linear(step: dict[str, Any], arrays: dict[str, np.ndarray]) -> Step:
    weight, bias = _operands(step, arrays)
    windows = ChannelWindows.dense(weight.shape[1], weight.shape[0])
    packed, activation = pack_weight(weight, windows), "relu" if step["relu"] else None
    return lambda x, threads: channel_transform(x, packed, windows, bias, activation, threads)


def _residual(step: dict[str, Any], arrays: dict[str, np.ndarray]) -> Step:
    body, shortcut = ([_step(inner, arrays) for inner in step[part]] for part in ("body", "shortcut"))

    def run(x: np.ndarray, threads: int) -> np.ndarray:
        y = _run(body, x, threads)
        y += _run(shortcut, x, threads)
        return np.maximum(y, 0, out=y)

    return run


def _max_pool(step: dict[str, Any], arrays: dict[str, np.ndarray]) -> Step:
    size, stride, padding = step["size"], step["stride"], step["padding"]

    def run(x: np.ndarray, threads: int) -> np.ndarray:
        around = ((0, 0), (0, 0), (padding, padding), (padding, padding))
        padded = np.pad(x, around, constant_values=-np.inf) if padding else x
        windows = np.lib.stride_tricks.sliding_window_view(padded, (size, size), (2, 3))[:, :, ::stride, ::stride]
        return windows.max((4, 5))

    return run


_MAKERS: dict[str, Callable[[dict[str, Any], dict[str, np.ndarray]], Step]] = {
    "conv": _conv,
    "transform": _transform,
    "linear": _linear,
    "residual": _residual,
    "max_pool": _max_pool,
    "average": lambda step, arrays: lambda x, threads: x.mean((2, 3), dtype=x.dtype, keepdims=True),
    "flatten": lambda step, arrays: lambda x, threads: x.reshape(len(x), math.prod(x.shape[1:])),
}
