r"""y[n, o] = act(bias[o] + sum_{k<K} weight[o, k] * x[n, (start[o] + k) mod C]) on NumPy arrays."""

import numpy as np

from multipath_gcn.kernels.arrays import (
    check_activation,
    check_kind,
    check_like,
    check_threads,
    check_type,
    images_like,
    raw,
)
from multipath_gcn.kernels.native import _kernels
from multipath_gcn.windows import ChannelWindows

ROWS, IMAGES = -1, 1  # where the channels are


def channel_transform(
    x: np.ndarray,
    weight: "np.ndarray | PackedWeight",
    windows: ChannelWindows,
    bias: np.ndarray | None = None,
    activation: str | None = None,
    threads: int = 1,
) -> np.ndarray:
    r"""Every filter applied to its own window of the channels of every row.

    .. math::
        y_{no} = \phi\Big(b_o + \sum_{k<K} W_{ok} \, x_{n, (s_o + k) \bmod C}\Big)

    Args:
        x: rows (\*, C).
        weight: (O, K), or the result of :func:`pack_weight`.
        windows: which channels a filter reads; holds C, O, K and the starts :math:`s`.
        bias: (O).
        activation: :math:`\phi`: None or ``"relu"``.
        threads: how many to share the rows among.

    Shapes:
        - **output:** (\*, O), contiguous.

    Raises:
        ValueError: when arguments are of the wrong kind, shape or type.
    """
    return _transform(x, weight, windows, bias, activation, threads, ROWS)


def channel_transform_2d(
    x: np.ndarray,
    weight: "np.ndarray | PackedWeight",
    windows: ChannelWindows,
    bias: np.ndarray | None = None,
    activation: str | None = None,
    threads: int = 1,
) -> np.ndarray:
    """The same transform of every pixel: a 1x1 convolution whose filters read windows of the channels.

    Args and errors are those of :func:`channel_transform`.

    Shapes:
        - **input:** images (N, C, H, W)
        - **output:** (N, O, H, W), channels-last in memory where the input is, else contiguous
    """
    return _transform(x, weight, windows, bias, activation, threads, IMAGES)


def channel_transform_input_grad(
    grad: np.ndarray, weight: np.ndarray, windows: ChannelWindows, threads: int = 1
) -> np.ndarray:
    r"""Gradient of a loss in ``x`` from its gradient in ``y`` (before the activation): (\*, O) -> (\*, C).

    .. math::
        \frac{\partial L}{\partial x_{nc}}
        = \sum_{o, k:\, (s_o + k) \bmod C = c} W_{ok} \frac{\partial L}{\partial y_{no}}

    Args and errors are those of :func:`channel_transform`; a packed weight has no gradient.
    """
    return _input_grad(grad, weight, windows, threads, ROWS)


def channel_transform_2d_input_grad(
    grad: np.ndarray, weight: np.ndarray, windows: ChannelWindows, threads: int = 1
) -> np.ndarray:
    """:func:`channel_transform_input_grad` of images: (N, O, H, W) -> (N, C, H, W), in the layout of ``grad``."""
    return _input_grad(grad, weight, windows, threads, IMAGES)


def channel_transform_weight_grad(
    grad: np.ndarray, x: np.ndarray, windows: ChannelWindows, threads: int = 1
) -> np.ndarray:
    r"""Gradient of a loss in ``weight`` from its gradient in ``y`` (before the activation): (\*, O), (\*, C) -> (O, K).

    .. math::
        \frac{\partial L}{\partial W_{ok}} = \sum_n \frac{\partial L}{\partial y_{no}} \, x_{n, (s_o + k) \bmod C}

    Args and errors are those of :func:`channel_transform`. The gradient in the bias is ``grad`` summed over all rows.
    """
    return _weight_grad(grad, x, windows, threads, ROWS)


def channel_transform_2d_weight_grad(
    grad: np.ndarray, x: np.ndarray, windows: ChannelWindows, threads: int = 1
) -> np.ndarray:
    """:func:`channel_transform_weight_grad` of images: (N, O, H, W), (N, C, H, W) -> (O, K)."""
    return _weight_grad(grad, x, windows, threads, IMAGES)


def pack_weight(weight: np.ndarray, windows: ChannelWindows, threads: int = 1) -> "PackedWeight":
    """``weight`` (O, K) rearranged once for this machine, to be given to :func:`channel_transform` in its place.

    Raises:
        ValueError: when ``weight`` does not fit ``windows``, or is of a type that no kernel has.
    """
    return PackedWeight(weight, windows, threads)


class PackedWeight:
    """A weight in the order in which the kernels of this machine read it; copied, so that it no longer changes."""

    def __init__(self, weight: np.ndarray, windows: ChannelWindows, threads: int = 1):
        _check_call(windows, threads)
        check_type("weight", weight)
        _check_operand("weight", weight, (windows.out_channels, windows.width), weight)
        self.windows, self.dtype = windows, weight.dtype
        self.data = _kernels.pack(raw(weight), *_starts(windows), windows.in_channels, threads)


def _transform(x, weight, windows, bias, activation, threads, channel_dim):
    _check_call(windows, threads)
    check_activation(activation)
    _check_points("x", x, windows.in_channels, channel_dim)
    packed = isinstance(weight, PackedWeight)
    if not packed:
        _check_operand("weight", weight, (windows.out_channels, windows.width), x)
    elif weight.windows != windows:
        raise ValueError(f"windows must be those that the weight was packed for, {weight.windows}, got {windows}")
    elif weight.dtype != x.dtype:
        raise ValueError(f"weight must be of the type of x ({x.dtype}), got {weight.dtype}")
    if bias is not None:
        _check_operand("bias", bias, (windows.out_channels,), x)
        bias = raw(bias)
    y, points = _result(x, windows.out_channels, channel_dim)
    start, order = _starts(windows)
    x, relu = _points(x, channel_dim), activation is not None
    if packed:
        _kernels.transform_packed(x, weight.data, bias, start, order, windows.width, relu, points, threads)
    else:
        _kernels.transform(x, raw(weight), bias, start, order, relu, False, points, threads)
    return y


def _input_grad(grad, weight, windows, threads, channel_dim):
    _check_call(windows, threads)
    _check_points("grad", grad, windows.out_channels, channel_dim)
    _check_operand("weight", weight, (windows.out_channels, windows.width), grad, "grad")
    grad_x, points = _result(grad, windows.in_channels, channel_dim)
    grad = _points(grad, channel_dim)
    _kernels.transform(grad, raw(weight), None, *_starts(windows), False, True, points, threads)
    return grad_x


def _weight_grad(grad, x, windows, threads, channel_dim):
    _check_call(windows, threads)
    _check_points("x", x, windows.in_channels, channel_dim)
    shape = list(x.shape)
    shape[channel_dim] = windows.out_channels
    _check_operand("grad", grad, tuple(shape), x)
    grad_weight = np.empty((windows.out_channels, windows.width), x.dtype)
    grad, x = _points(grad, channel_dim), _points(x, channel_dim)
    _kernels.weight_grad(grad, x, *_starts(windows), raw(grad_weight), threads)
    return grad_weight


# Memory


def _starts(windows: ChannelWindows) -> tuple[np.ndarray, np.ndarray]:
    return windows.start.astype(np.int32), np.argsort(windows.start, kind="stable").astype(np.int32)


def _points(x: np.ndarray, channel_dim: int) -> np.ndarray:
    """Rows or images as [batch, channels, pixels]: a view wherever strides can say it."""
    x = raw(x)
    if channel_dim == ROWS:
        return x.reshape(-1, x.shape[-1]).T[None]
    return x.reshape(*x.shape[:2], x.shape[2] * x.shape[3])


def _result(x: np.ndarray, channels: int, channel_dim: int) -> tuple[np.ndarray, np.ndarray]:
    """An array like ``x`` with its own number of channels, and the same memory as [batch, channels, pixels]."""
    rows = channel_dim == ROWS
    y = np.empty((*x.shape[:-1], channels), x.dtype) if rows else images_like(x, channels, x.shape[2:])
    return y, _points(y, channel_dim)


# Meaning


def _check_call(windows, threads) -> None:
    if not isinstance(windows, ChannelWindows):
        raise ValueError(f"windows must be ChannelWindows, got {type(windows).__name__}")
    check_threads(threads)


def _check_points(name: str, x, channels: int, channel_dim: int) -> None:
    check_type(name, x)
    if (x.ndim != 4) if channel_dim == IMAGES else (x.ndim == 0):
        rule = "[N, C, H, W]" if channel_dim == IMAGES else "[*, C]"
        raise ValueError(f"{name} must have shape {rule}, got {list(x.shape)}")
    if x.shape[channel_dim] != channels:
        raise ValueError(f"{name} must have {channels} channels, got shape {list(x.shape)}")


def _check_operand(name: str, array, shape: tuple[int, ...], x: np.ndarray, of: str = "x") -> None:
    check_kind(name, array)
    if array.shape != shape:
        raise ValueError(f"{name} must have shape {list(shape)}, got {list(array.shape)}")
    check_like(name, array, x, of)
