r"""y[n, o] = act(bias[o] + sum_{k<K} weight[o, k] * x[n, (start[o] + k) mod C]): the channel transform.

One story in reading order: public functions, the check, packed weights, what gradients are made of (by
trilinear), registration.
"""

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor
from torch.nn import functional as F

from multipath_gcn.ops import reference
from multipath_gcn.ops.autocast import autocast
from multipath_gcn.ops.native import OPS
from multipath_gcn.ops.trilinear import Trilinear
from multipath_gcn.windows import ChannelWindows

TRANSFORM = OPS.channel_transform.default
INPUT_GRAD = OPS.channel_transform_input_grad.default
WEIGHT_GRAD = OPS.channel_transform_weight_grad.default
PACK = OPS.channel_transform_pack.default
PACKED = OPS.channel_transform_packed.default

DTYPES = (torch.float32, torch.bfloat16, torch.float64, torch.float16)
ROWS, IMAGES = -1, 1  # where the channels are
_AVX512 = torch.backends.cpu.get_cpu_capability() == "AVX512"
_AVX512_BF16 = _AVX512 and torch.cpu._is_avx512_bf16_supported()


def channel_transform(
    x: Tensor,
    weight: "Tensor | PackedWeight",
    windows: ChannelWindows,
    bias: Tensor | None = None,
    activation: str | None = None,
) -> Tensor:
    r"""Every filter applied to its own window of the channels of every row.

    .. math::
        y_{no} = \phi\Big(b_o + \sum_{k<K} W_{ok} \, x_{n, (s_o + k) \bmod C}\Big)

    Dense windows give ``F.linear(x, weight, bias)``, and are computed by it. Autocast acts as on ``F.linear``.

    Args:
        x: rows (\*, C) in any memory layout: float32, float64, bfloat16 or, on CUDA, float16.
        weight: (O, K), of the type of ``x``, or the result of :func:`pack_weight`, for inference.
        windows: which channels a filter reads; holds C, O, K and the starts :math:`s`.
        bias: (O).
        activation: :math:`\phi`: None or ``"relu"``.

    Shapes:
        - **output:** (\*, O), contiguous.

    Raises:
        ValueError: when shapes, types or devices do not fit, or a gradient is wanted with a packed weight.
    """
    return _transform(x, weight, windows, bias, activation, ROWS)


def channel_transform_2d(
    x: Tensor,
    weight: "Tensor | PackedWeight",
    windows: ChannelWindows,
    bias: Tensor | None = None,
    activation: str | None = None,
) -> Tensor:
    r"""The same transform of every pixel: a 1x1 convolution whose filters read windows of the channels.

    Args and errors are those of :func:`channel_transform`.

    Shapes:
        - **input:** images (N, C, H, W), contiguous or channels-last
        - **output:** (N, O, H, W) in the memory format of ``x``
    """
    return _transform(x, weight, windows, bias, activation, IMAGES)


def pack_weight(weight: Tensor, windows: ChannelWindows) -> "PackedWeight":
    """``weight`` (O, K) rearranged once for this machine, to be given to :func:`channel_transform` in its place.

    Raises:
        ValueError: when ``weight`` does not fit ``windows``, or is of a type that no kernel has.
    """
    return PackedWeight(weight, windows)


def _transform(x, weight, windows, bias, activation, channel_dim) -> Tensor:
    if activation is not None and activation != "relu":
        raise ValueError(f'activation must be None or "relu", got {activation!r}')
    relu = activation is not None
    if isinstance(weight, PackedWeight):
        return weight.transform(x, windows, bias, relu, channel_dim)
    _check_kinds(windows, x, weight, bias)
    x, weight, bias = autocast(x, weight, bias)
    check(x, weight, bias, windows.in_channels, windows.out_channels, windows.width, channel_dim)
    if stock_is_best(x, windows, channel_dim):
        return _stock(x, weight, bias, relu, channel_dim)
    start, order = _starts(windows, x)
    if torch.compiler.is_compiling():
        return TRANSFORM(x, weight, bias, start, order, channel_dim, relu)
    return OPERATORS.derive("y", x, weight, (start, order, windows.in_channels, windows.width, channel_dim), bias, relu)


def stock_is_best(x: Tensor, windows: ChannelWindows, channel_dim: int) -> bool:
    """The one place that decides where PyTorch's own operator computes: dense windows, which skip nothing.

    Not on CPU with AVX-512 in float32 from 256 rows or pixels on, where ours takes 0.4 to 1 times as long (cg = 1 in
    benchmarks/results/channel_transform), nor for fewer pixels of many channels: 0.15 to 0.8 times; nor in bfloat16 on
    images of few channels: 0.55 to 0.7 times. Nor where deterministic algorithms are asked for, which ours are; nor on
    empty images, which convolution refuses. While tracing, sizes may be unknown: a graph keeps PyTorch's operator.
    """
    if not windows.is_dense or x.numel() == 0 or torch.are_deterministic_algorithms_enabled():
        return False
    if x.device.type != "cpu" or torch.compiler.is_compiling():
        return True
    points, weights = x.numel() // windows.in_channels, windows.in_channels * windows.out_channels
    images = channel_dim == IMAGES
    if x.dtype is torch.float32 and _AVX512:
        large_weight = images and (points * weights >= 2**23 or (points <= 8 and weights >= 2**18))
        return points < 256 and not large_weight
    return not (x.dtype is torch.bfloat16 and _AVX512_BF16 and images and points >= 256 and weights <= 2**14)


def _stock(x, weight, bias, relu, channel_dim) -> Tensor:
    y = F.linear(x, weight, bias) if channel_dim == ROWS else F.conv2d(x, weight[:, :, None, None], bias)
    return y.relu_() if relu else y


def _starts(windows: ChannelWindows, x: Tensor) -> tuple[Tensor, Tensor]:
    """The starts beside ``x``: fake ones for a fake tensor whose mode takes no other."""
    if isinstance(x, FakeTensor) and not x.fake_mode.allow_non_fake_inputs:
        start, order = (x.fake_mode.from_tensor(host).to(x.device) for host in windows.on("cpu"))
        return start, order
    return windows.on(x.device)


# Meaning


def check(x, weight, bias, in_channels: int, out_channels: int, width: int, channel_dim: int) -> None:
    """What must hold of the tensors of a transform, whoever asks: a caller, or a trace of the operator alone."""
    _check_input("x", x, channel_dim)
    if x.shape[channel_dim] != in_channels:
        raise ValueError(f"x must have {int(in_channels)} channels, got shape {_shape(x)}")
    if weight is not None:
        _check_operand("weight", weight, (out_channels, width), x)
    if bias is not None:
        _check_operand("bias", bias, (out_channels,), x)


def _check_kinds(windows, x, weight, bias=None) -> None:
    if not isinstance(windows, ChannelWindows):
        raise ValueError(f"windows must be ChannelWindows, got {type(windows).__name__}")
    if not isinstance(weight, Tensor):
        raise ValueError(f"weight must be a tensor or a PackedWeight, got {type(weight).__name__}")
    if not isinstance(x, Tensor):
        raise ValueError(f"x must be a tensor, got {type(x).__name__}")
    if bias is not None and not isinstance(bias, Tensor):
        raise ValueError(f"bias must be a tensor or None, got {type(bias).__name__}")


def _check_input(name: str, x: Tensor, channel_dim: int) -> None:
    if x.dtype not in DTYPES or (x.dtype is torch.float16 and x.device.type == "cpu"):
        names = "float32, float64, bfloat16" + (" or float16" if x.device.type != "cpu" else "")
        raise ValueError(f"{name} must be of type {names} on {x.device.type}, got {x.dtype}")
    if x.layout is not torch.strided:
        raise ValueError(f"{name} must be a dense tensor, got layout {x.layout}")
    if (x.dim() != 4) if channel_dim == IMAGES else (x.dim() == 0):
        rule = "[N, C, H, W]" if channel_dim == IMAGES else "[*, C]"
        raise ValueError(f"{name} must have shape {rule}, got {_shape(x)}")


def _check_operand(name: str, tensor: Tensor, shape: tuple[int, ...], x: Tensor) -> None:
    if tensor.shape != shape:
        raise ValueError(f"{name} must have shape {_sizes(shape)}, got {_shape(tensor)}")
    if tensor.dtype is not x.dtype:
        raise ValueError(f"{name} must be of the type of x ({x.dtype}), got {tensor.dtype}")
    if tensor.device != x.device:
        raise ValueError(f"{name} must be on the device of x ({x.device}), got {tensor.device}")
    if tensor.layout is not torch.strided:
        raise ValueError(f"{name} must be a dense tensor, got layout {tensor.layout}")


def _check_bare(name: str, x: Tensor, start: Tensor, order: Tensor, width: int, most: int, channel_dim: int) -> None:
    """What the functions above make sure of, for a trace of an operator called by its bare name."""
    if channel_dim not in (ROWS, IMAGES):
        raise ValueError(f"channel_dim must be {ROWS} (rows) or {IMAGES} (images), got {channel_dim}")
    _check_input(name, x, channel_dim)
    for of, tensor in (("start", start), ("order", order)):
        if tensor.dtype is not torch.int32 or tensor.shape != (start.numel(),) or tensor.device != x.device:
            got = f"{tensor.dtype} {_shape(tensor)} on {tensor.device}"
            raise ValueError(f"{of} must be int32 of shape [{start.numel()}] on {x.device}, got {got}")
    if not 1 <= width <= most:
        raise ValueError(f"the width of the windows must be from 1 to {int(most)}, got {int(width)}")


def _shape(x: Tensor) -> str:
    return _sizes(x.shape)


def _sizes(sizes) -> str:
    return f"[{', '.join(f'{int(size)}' for size in sizes)}]"  # symbols of a trace are shown as numbers, too


# Packed weights


class PackedWeight:
    """A weight in the order in which the kernels of this machine read it. Has no gradient; is not for storing."""

    def __init__(self, weight: Tensor, windows: ChannelWindows):
        _check_kinds(windows, weight, weight)
        _check_input("weight", weight, ROWS)
        _check_operand("weight", weight, (windows.out_channels, windows.width), weight)
        self.windows, self.dtype, self.device = windows, weight.dtype, weight.device
        self.native = weight.device.type == "cpu" and not windows.is_dense
        if self.native:
            self.data = PACK(weight.detach(), *_starts(windows, weight), windows.in_channels)
        else:  # F.linear and the CUDA kernels take it as it is
            self.data = weight.detach().clone(memory_format=torch.contiguous_format)

    def transform(self, x, windows, bias, relu, channel_dim) -> Tensor:
        _check_kinds(windows, x, self.data, bias)
        if windows is not self.windows and windows != self.windows:
            raise ValueError(f"windows must be those that the weight was packed for, {self.windows}, got {windows}")
        if torch.is_grad_enabled() and (x.requires_grad or (bias is not None and bias.requires_grad)):
            raise ValueError("x and bias must not require a gradient with a packed weight: call it under no_grad")
        x, bias = autocast(x, bias, dtype=self.dtype)
        check(x, None, bias, windows.in_channels, windows.out_channels, windows.width, channel_dim)
        if x.dtype is not self.dtype or x.device != self.device:
            got = f"{x.dtype} on {x.device}"
            raise ValueError(f"x must be like the packed weight ({self.dtype} on {self.device}), got {got}")
        if stock_is_best(x, windows, channel_dim):
            return _stock(x, self.data, bias, relu, channel_dim)
        start, order = _starts(windows, x)
        if not self.native:
            return TRANSFORM(x, self.data, bias, start, order, channel_dim, relu)
        out, width = windows.out_channels, windows.width
        return PACKED(x, self.data, bias, start, order, out, width, channel_dim, relu)

    def __deepcopy__(self, memo) -> "PackedWeight":
        return self

    def __reduce__(self):
        raise TypeError("a packed weight is of use on this machine only: store the weight, and pack it after loading")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.windows!r}, dtype={self.dtype}, device={self.device})"


# Gradients: sizes are start, order, C, K and channel_dim.


def _compute(place: str, a: Tensor, b: Tensor, sizes: tuple, bias: Tensor | None, relu: bool) -> Tensor:
    start, order, in_channels, width, channel_dim = sizes
    if place == "y":
        return TRANSFORM(a, b, bias, start, order, channel_dim, relu)
    if place == "x":
        return INPUT_GRAD(a, b, start, order, in_channels, channel_dim)
    return WEIGHT_GRAD(a, b, start, order, width, channel_dim)


def _bias_grad(grad: Tensor, sizes: tuple) -> Tensor:
    if sizes[-1] == IMAGES:  # in two steps: at once takes twice as long, and thirty times in bfloat16
        return grad.sum((2, 3)).sum(0)
    return grad.sum_to_size(grad.size(-1))


OPERATORS = Trilinear(_compute, _bias_grad)


# Registration

LIBRARY = torch.library.Library("multipath_gcn", "IMPL")


@torch.library.impl(LIBRARY, "channel_transform", "Autograd")
def _(x, weight, bias, start, order, channel_dim, relu):
    return OPERATORS.derive(
        "y", x, weight, (start, order, x.size(channel_dim), weight.size(1), channel_dim), bias, relu
    )


@torch.library.impl(LIBRARY, "channel_transform_input_grad", "Autograd")
def _(grad, weight, start, order, in_channels, channel_dim):
    return OPERATORS.derive("x", grad, weight, (start, order, in_channels, weight.size(1), channel_dim))


@torch.library.impl(LIBRARY, "channel_transform_weight_grad", "Autograd")
def _(grad, x, start, order, width, channel_dim):
    return OPERATORS.derive("weight", grad, x, (start, order, x.size(channel_dim), width, channel_dim))


@torch.library.register_fake("multipath_gcn::channel_transform")
def _(x, weight, bias, start, order, channel_dim, relu):
    width = weight.size(-1)
    _check_bare("x", x, start, order, width, x.size(channel_dim), channel_dim)
    check(x, weight, bias, x.size(channel_dim), start.size(0), width, channel_dim)
    return _empty(x, start.size(0), channel_dim)


@torch.library.register_fake("multipath_gcn::channel_transform_input_grad")
def _(grad, weight, start, order, in_channels, channel_dim):
    _check_bare("grad", grad, start, order, weight.size(-1), in_channels, channel_dim)
    _check_operand("weight", weight, (grad.size(channel_dim), weight.size(-1)), grad)
    return _empty(grad, in_channels, channel_dim)


@torch.library.register_fake("multipath_gcn::channel_transform_weight_grad")
def _(grad, x, start, order, width, channel_dim):
    _check_bare("x", x, start, order, width, x.size(channel_dim), channel_dim)
    shape = list(x.shape)
    shape[channel_dim] = start.size(0)
    _check_operand("grad", grad, tuple(shape), x)
    return x.new_empty(start.size(0), width)


@torch.library.register_fake("multipath_gcn::channel_transform_pack")
def _(weight, start, order, in_channels):
    return weight.new_empty(torch.library.get_ctx().new_dynamic_size(), dtype=torch.uint8)  # the machine's own order


@torch.library.register_fake("multipath_gcn::channel_transform_packed")
def _(x, packed, bias, start, order, out_channels, width, channel_dim, relu):
    _check_bare("x", x, start, order, width, x.size(channel_dim), channel_dim)
    check(x, None, bias, x.size(channel_dim), out_channels, width, channel_dim)
    return _empty(x, out_channels, channel_dim)


def _empty(x: Tensor, channels: int, channel_dim: int) -> Tensor:
    shape = list(x.shape)
    shape[channel_dim] = channels
    layout = reference.memory_format(x, channel_dim)
    return torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=layout)
