r"""A depthwise convolution and the channel transform of its result, as one operator.

    h[n, c, i, j] = act1(b1[c] + sum_{r, s} D[c, 0, r, s] x[n, c, i sh + r dh - ph, j sw + s dw - pw])
    y[n, o, i, j] = act2(b2[o] + sum_{k < K} W[o, k] h[n, (start[o] + k) mod C, i, j])

Together they are computed on the CPU, for inference, where that is faster than one after the other.
"""

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor

from multipath_gcn.conv_geometry import Padding, Pair, out_size
from multipath_gcn.ops import reference
from multipath_gcn.ops.autocast import autocast
from multipath_gcn.ops.channel_transform import IMAGES, PACK, channel_transform_2d, pack_weight
from multipath_gcn.ops.channel_transform import check as check_transform
from multipath_gcn.ops.conv_geometry import geometry, geometry_of
from multipath_gcn.ops.grouped_conv2d import grouped_conv2d
from multipath_gcn.ops.native import OPS
from multipath_gcn.ops.packed_conv2d import MOST_PLANS, as_packed, check_call, plan_key, prepack_conv2d
from multipath_gcn.ops.trilinear import has_gradient
from multipath_gcn.windows import ChannelWindows

PACKED = OPS.separable_conv2d_packed.default
PACK_CONV = OPS.grouped_conv2d_pack.default


def separable_conv2d(
    x: Tensor,
    depthwise: Tensor,
    pointwise: Tensor,
    windows: ChannelWindows,
    depthwise_bias: Tensor | None = None,
    bias: Tensor | None = None,
    stride: Pair = 1,
    padding: Padding = 0,
    dilation: Pair = 1,
    inner_activation: str | None = None,
    activation: str | None = None,
) -> Tensor:
    r"""A filter of its own for every channel, then every pixel's channels transformed.

    .. math::
        h_{n, c, i, j} = \phi_1\Big(b^1_c + \sum_{r<R} \sum_{s<S} D_{c, 0, r, s} \,
            x_{n, c,\; i s_h + r d_h - p_h,\; j s_w + s d_w - p_w}\Big), \qquad
        y_{n, o, i, j} = \phi_2\Big(b^2_o + \sum_{k<K} W_{ok} \, h_{n, (s_o + k) \bmod C, i, j}\Big)

    What :func:`grouped_conv2d` and :func:`channel_transform_2d` compute one after the other; together, so that h never
    leaves the cache, on the CPU where no gradient is wanted and it was measured to be faster.

    Args:
        x: images (N, C, H, W) or (C, H, W), in any memory layout: float32, float64 or bfloat16.
        depthwise: D (C, 1, R, S), of the type of ``x``.
        pointwise: W (O, K), of the type of ``x``.
        windows: which channels of h a filter reads; holds C, O, K and the starts.
        depthwise_bias, bias: (C) and (O).
        stride, padding, dilation: of the depthwise convolution, as in :func:`grouped_conv2d`.
        inner_activation, activation: :math:`\phi_1` and :math:`\phi_2`: None or ``"relu"``.

    Shapes:
        - **output:** (N, O, H', W') or (O, H', W'), H' and W' as of :func:`grouped_conv2d`, in the memory format of
          ``x``.

    Raises:
        ValueError: when shapes, types or devices do not fit.
    """
    _check_kinds(depthwise, pointwise, windows, inner_activation, activation)
    x, depthwise, pointwise, depthwise_bias, bias = autocast(x, depthwise, pointwise, depthwise_bias, bias)
    of = geometry(x, depthwise, depthwise_bias, stride, padding, dilation, windows.in_channels)
    images = x if x.dim() == 4 else x.unsqueeze(0)
    wanted = has_gradient(x, depthwise, depthwise_bias) or has_gradient(pointwise, pointwise, bias)
    if wanted or torch.compiler.is_compiling() or not together_is_faster(images, windows, packed=False):
        options = stride, padding, dilation, windows.in_channels, inner_activation
        h = grouped_conv2d(images, depthwise, depthwise_bias, *options)
        y = channel_transform_2d(h, pointwise, windows, bias, activation)
    else:
        check_transform(images, pointwise, bias, windows.in_channels, windows.out_channels, windows.width, IMAGES)
        start, order = windows.on("cpu")
        packed = PACK_CONV(depthwise, *of, inner_activation is not None)
        filters = PACK(pointwise, start, order, windows.in_channels)
        size = out_size(images.shape[2:], depthwise.shape[2:], of)
        y = _together(images, packed, depthwise_bias, filters, bias, windows, size, activation is not None)
    return y if x.dim() == 4 else y.squeeze(0)


def prepack_separable_conv2d(
    depthwise: Tensor,
    pointwise: Tensor,
    windows: ChannelWindows,
    depthwise_bias: Tensor | None = None,
    bias: Tensor | None = None,
    stride: Pair = 1,
    padding: Padding = 0,
    dilation: Pair = 1,
    inner_activation: str | None = None,
    activation: str | None = None,
) -> "PackedSeparableConv2d":
    """:func:`separable_conv2d` with weights rearranged once for this machine: a function of ``x``, for inference.

    Args and errors are those of :func:`separable_conv2d`.
    """
    return PackedSeparableConv2d(
        *(depthwise, pointwise, windows, depthwise_bias, bias, stride, padding, dilation, inner_activation, activation)
    )


class PackedSeparableConv2d:
    """What :func:`prepack_separable_conv2d` returns. Holds copies: later changes of weights and biases are not seen."""

    def __init__(
        self,
        depthwise,
        pointwise,
        windows,
        depthwise_bias,
        bias,
        stride,
        padding,
        dilation,
        inner_activation,
        activation,
    ):
        _check_kinds(depthwise, pointwise, windows, inner_activation, activation)
        options = stride, padding, dilation, windows.in_channels, inner_activation
        self.convolution = prepack_conv2d(depthwise, depthwise_bias, *options)
        h = depthwise.new_empty(0, windows.in_channels, 0, 0)  # any
        check_transform(h, pointwise, bias, windows.in_channels, windows.out_channels, windows.width, IMAGES)
        self.windows, self.activation = windows, activation
        self.bias = None if bias is None else bias.detach().clone()
        self.pointwise = pack_weight(pointwise.detach(), windows)
        self._filters = None
        if self.convolution.native:  # dense weights are packed for this operator alone
            shared = self.pointwise.native
            self._filters = (
                self.pointwise.data if shared else PACK(pointwise.detach(), *windows.on("cpu"), windows.in_channels)
            )
        self._plans: dict[tuple, tuple | None] = {}  # by what there is to know of x: height and width of y, if together

    def __call__(self, x: Tensor) -> Tensor:
        """y of images (N, C, H, W) or (C, H, W), of the type and on the device of the weights.

        Raises:
            ValueError: when ``x`` does not fit, or requires a gradient.
        """
        check_call("x", x)
        if torch.compiler.is_compiling() or not self.convolution.native:
            return self._in_turn(x)
        key = plan_key(x)
        if key not in self._plans:
            return self._planned(x)
        size = self._plans[key]
        if size is None:
            return self._in_turn(x)
        of = self.convolution
        return _together(
            x, of.packed, of.bias, self._filters, self.bias, self.windows, size, self.activation is not None
        )

    def _in_turn(self, x: Tensor) -> Tensor:
        h = self.convolution(x)
        images = h if h.dim() == 4 else h.unsqueeze(0)
        y = channel_transform_2d(images, self.pointwise, self.windows, self.bias, self.activation)
        return y if h.dim() == 4 else y.squeeze(0)

    def _planned(self, x: Tensor) -> Tensor:
        """What is new, or does not fit."""
        weight = self.convolution.weight
        x = as_packed("x", x, weight)
        of = geometry_of(x.shape, weight.shape, *self.convolution.arguments)
        if x.dim() == 3:
            return self(x.unsqueeze(0)).squeeze(0)
        if plan_key(x) not in self._plans:
            if len(self._plans) == MOST_PLANS:
                self._plans.clear()
            size = tuple(out_size(x.shape[2:], weight.shape[2:], of))
            self._plans[plan_key(x)] = size if together_is_faster(x, self.windows, packed=True) else None
        return self(x)

    def __deepcopy__(self, memo) -> "PackedSeparableConv2d":
        return self

    def __reduce__(self):
        raise TypeError(
            "packed weights are of use on this machine only: store the weights, and pack them after loading"
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.convolution!r}, {self.windows!r}, activation={self.activation!r})"


def together_is_faster(x: Tensor, windows: ChannelWindows, packed: bool) -> bool:
    """The one place that decides where one operator computes both.

    benchmarks/results/separable_conv2d: on two cores with AVX-512 everywhere save in channels-last batches of many
    channels, whose tiles are turned there and back and fill no vectors (0.8 to 1 times as fast). Packing the weights
    has to be worth it, too.
    """
    if x.device.type != "cpu" or x.numel() == 0 or (not packed and x.numel() < 2**16) or isinstance(x, FakeTensor):
        return False
    last = reference.memory_format(x, IMAGES) is torch.channels_last
    return not (last and x.size(0) > 1 and windows.in_channels + windows.out_channels >= 2048)


def _together(x, depthwise, depthwise_bias, pointwise, bias, windows, size, relu) -> Tensor:
    start, order = windows.on(x.device)
    out, width = windows.out_channels, windows.width
    return PACKED(x, depthwise, depthwise_bias, pointwise, bias, start, order, out, width, *size, relu)


# Meaning


def _check_kinds(depthwise, pointwise, windows, inner_activation, activation) -> None:
    """What neither of the two operators checks, or not by these names."""
    for name, value in (("inner_activation", inner_activation), ("activation", activation)):
        if value is not None and value != "relu":
            raise ValueError(f'{name} must be None or "relu", got {value!r}')
    if not isinstance(windows, ChannelWindows):
        raise ValueError(f"windows must be ChannelWindows, got {type(windows).__name__}")
    for name, tensor in (("depthwise", depthwise), ("pointwise", pointwise)):
        if not isinstance(tensor, Tensor):
            raise ValueError(f"{name} must be a tensor, got {type(tensor).__name__}")
    if depthwise.dim() != 4 or depthwise.shape[:2] != (windows.in_channels, 1):
        raise ValueError(f"depthwise must have shape [{windows.in_channels}, 1, R, S], got {list(depthwise.shape)}")
    if pointwise.shape != (windows.out_channels, windows.width):
        raise ValueError(
            f"pointwise must have shape [{windows.out_channels}, {windows.width}], got {list(pointwise.shape)}"
        )
    if pointwise.dtype is not depthwise.dtype or pointwise.device != depthwise.device:
        wanted, got = f"{depthwise.dtype} on {depthwise.device}", f"{pointwise.dtype} on {pointwise.device}"
        raise ValueError(f"pointwise must be like depthwise ({wanted}), got {got}")


@torch.library.register_fake("multipath_gcn::separable_conv2d_packed")
def _(x, depthwise, depthwise_bias, pointwise, bias, start, order, out_channels, width, out_height, out_width, relu):
    check_transform(x, None, bias, x.size(1), out_channels, width, IMAGES)
    y = x.new_empty(x.size(0), out_channels, out_height, out_width)
    return y.contiguous(memory_format=reference.memory_format(x, IMAGES))
