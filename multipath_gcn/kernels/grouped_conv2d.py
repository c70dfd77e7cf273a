r"""y[n, gK + k] = act(b + sum_{c, r, s} W[gK + k, c, r, s] x[n, gC + c, ...]) on NumPy arrays."""

import numpy as np

from multipath_gcn.conv_geometry import Padding, Pair, known_geometry, out_size
from multipath_gcn.kernels.arrays import check_activation, check_like, check_threads, check_type, images_like, raw
from multipath_gcn.kernels.native import _kernels


def grouped_conv2d(
    x: np.ndarray,
    weight: np.ndarray,
    bias: np.ndarray | None = None,
    stride: Pair = 1,
    padding: Padding = 0,
    dilation: Pair = 1,
    groups: int = 1,
    activation: str | None = None,
    threads: int = 1,
) -> np.ndarray:
    r"""Convolution of images whose filters read the channels of their own group.

    .. math::
        y_{n, gK+k, i, j} = \phi\Big(b_{gK+k} + \sum_{c<C} \sum_{r<R} \sum_{s<S} W_{gK+k, c, r, s} \,
            x_{n, gC+c,\; i s_h + r d_h - p_h,\; j s_w + s d_w - p_w}\Big)

    with C = in_channels / groups, K = out_channels / groups and 0 outside of x.

    Args:
        x: images (N, in_channels, H, W) or (in_channels, H, W).
        weight: (out_channels, in_channels / groups, R, S), of the type of ``x``.
        bias: (out_channels).
        stride, dilation: s and d: one number, or (vertical, horizontal).
        padding: p: one number, (vertical, horizontal), ((top, bottom), (left, right)), ``"valid"`` for none, or
            ``"same"`` for an output of the input's size: of an odd total, the larger half is below and to the right.
        groups: G, a divisor of both numbers of channels; ``in_channels`` for a depthwise convolution.
        activation: :math:`\phi`: None or ``"relu"``.
        threads: how many to share the images among.

    Shapes:
        - **output:** (N, out_channels, H', W') or (out_channels, H', W') with
          :math:`H' = \lfloor (H + p_{top} + p_{bottom} - d_h (R - 1) - 1) / s_h \rfloor + 1`, channels-last in memory
          where the input is, else contiguous.

    Raises:
        ValueError: when arguments are of the wrong kind, shape or type.
    """
    check_activation(activation)
    check_threads(threads)
    check_type("x", x)
    check_like("weight", weight, x)
    if bias is not None:
        check_like("bias", bias, x)
    of = known_geometry(x.shape, weight.shape, stride, padding, dilation, groups, None if bias is None else bias.shape)
    images = x if x.ndim == 4 else x[None]
    y = images_like(images, len(weight), out_size(x.shape[-2:], weight.shape[2:], of))
    bias = None if bias is None else raw(bias)
    _kernels.grouped_conv2d(raw(images), raw(weight), bias, *of, activation is not None, raw(y), threads)
    return y if x.ndim == 4 else y[0]
