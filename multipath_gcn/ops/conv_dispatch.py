"""Who computes a grouped convolution and its gradients: our kernels, or PyTorch's operator where it is faster."""

from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from multipath_gcn.conv_geometry import Geometry, out_size
from multipath_gcn.ops.native import OPS
from multipath_gcn.ops.reference.channel_transform import memory_format
from multipath_gcn.ops.stock_conv2d import stock_conv2d, stock_gradients

CONV = OPS.grouped_conv2d.default
INPUT_GRAD = OPS.grouped_conv2d_input_grad.default
WEIGHT_GRAD = OPS.grouped_conv2d_weight_grad.default
GRADIENTS = OPS.grouped_conv2d_gradients.default
PLACES = "y", "x", "weight"
_VECTORS = torch.backends.cpu.get_cpu_capability()


class Plan(NamedTuple):
    """What is decided once for tensors of such shapes and layouts, for the outputs and for all gradients of them."""

    of: Geometry
    size: torch.Size  # height and width of x
    kernel: torch.Size  # and of the weight
    stock: dict[str, str | None]  # by place: why PyTorch's operator computes it; None where ours does


def plan_of(x: Tensor, weight: Tensor, of: Geometry) -> Plan:
    """Who computes the outputs and the gradients of a convolution."""
    last = memory_format(x, 1) is torch.channels_last
    facts = x.shape, last, x.dtype, x.device.type, weight.shape, of, torch.are_deterministic_algorithms_enabled()
    if torch.compiler.is_compiling():  # sizes may be unknown: no keys
        return _plan(*facts)
    try:
        return _known_plan(*facts)
    except TypeError:  # the sizes of another trace are no keys either
        return _plan(*facts)


def own_plan(of: Geometry, size, kernel) -> Plan:
    """Everything is ours: what the operators themselves mean."""
    return Plan(of, size, kernel, dict.fromkeys(PLACES))


def compute(place: str, a: Tensor, b: Tensor, plan: Plan, bias: Tensor | None = None, relu: bool = False) -> Tensor:
    """y of x and weight, the gradient by x of those by y and weight, or that by weight of those by y and x.

    Args:
        place: "y", "x" or "weight".
    """
    way = ours if plan.stock[place] is None else stock
    return way(place, a, b, plan, bias, relu)


def ours(place: str, a: Tensor, b: Tensor, plan: Plan, bias: Tensor | None = None, relu: bool = False) -> Tensor:
    if place == "y":
        return CONV(a, b, bias, *plan.of, relu)
    return INPUT_GRAD(a, b, plan.size, *plan.of) if place == "x" else WEIGHT_GRAD(a, b, plan.kernel, *plan.of)


def stock(place: str, a: Tensor, b: Tensor, plan: Plan, bias: Tensor | None = None, relu: bool = False) -> Tensor:
    if place == "y":
        return stock_conv2d(a, b, bias, plan.of, relu)
    if place == "x":
        return stock_gradients(a, None, b, plan.of, plan.size, plan.kernel)[0]
    return stock_gradients(a, b, None, plan.of, plan.size, plan.kernel)[1]


def compute_gradients(grad: Tensor, x: Tensor, weight: Tensor, plan: Plan) -> tuple[Tensor, Tensor]:
    """Those by x and by weight, in one call where one side computes both."""
    theirs = [plan.stock[place] is not None for place in ("x", "weight")]
    if all(theirs):
        return stock_gradients(grad, x, weight, plan.of, plan.size, plan.kernel)
    if any(theirs):
        return compute("x", grad, weight, plan), compute("weight", grad, x, plan)
    return GRADIENTS(grad, x, weight, *plan.of)


def _plan(x, last, dtype, device, weight, of: Geometry, deterministic) -> Plan:
    """Ours wherever it is no slower, as measured on two cores with AVX-512, and on two with AVX2.

    benchmarks/results/grouped_conv2d_dispatch: how many times as long PyTorch's operator takes, for every layer of
    ResNet34 and ResNeXt. Elsewhere, and in bfloat16 on AVX2: ours. CUDA: the range in which cuDNN is known to be slow,
    few channels a group; not measured.
    """
    channels, filters = weight[1], weight[0] // of.groups
    reasons: dict[str, str | None] = dict.fromkeys(PLACES)
    if 0 in x or 0 in weight or deterministic:
        pass
    elif device == "cuda":
        reasons = dict.fromkeys(PLACES, _slow_on_cuda(dtype, of.groups, channels, filters, weight[2:]))
    elif device != "cpu":
        reasons = dict.fromkeys(PLACES, f"there is no kernel for {device}")
    elif (rules := _RULES.get((_VECTORS, dtype))) is not None:
        rule = rules[0] if channels == filters == 1 else rules[1]
        height, width = out_size(x[2:], weight[2:], of)
        facts = channels, filters, of.stride[1] > 1, last, x[0], height * width, of.groups
        reasons = {place: rule(place, *facts) for place in PLACES}
    return Plan(of, x[2:], weight[2:], reasons)


_known_plan = lru_cache(maxsize=1024)(_plan)


def _depthwise(place, channels, filters, strided, last, batch, pixels, groups) -> str | None:
    if last and not strided and batch * pixels * groups > (150_000 if place == "y" else 250_000):
        return "oneDNN streams large channels-last images through depthwise filters faster"
    return None


def _grouped(place, channels, filters, strided, last, batch, pixels, groups) -> str | None:
    if groups == 1 and channels < 16 <= filters and place != "x" and (filters >= 32 or last or place == "weight"):
        return "oneDNN has kernels of its own for the first layer of a network, few channels and many filters"
    many = batch > 1 and pixels <= 200  # small images: oneDNN's blocked layout is filled, ours is not
    few = 16
    if place == "y" and last:
        few = 4 if strided and batch * pixels > 500 else 16 if batch * pixels <= 200 else 8
    elif place == "weight" and last and batch > 1:
        few = 4 if strided else 8 if many else 16
    elif place == "x" and last and strided:
        few = 4 if batch == 1 else 2
    elif place != "weight" and many:
        few = 8
    if batch == 1 and not last and place != "weight":
        few = 64 if pixels <= 200 else 32
    return None if channels <= few else f"oneDNN multiplies {channels} channels a group faster"


def _grouped_bfloat16(place, channels, filters, strided, last, batch, pixels, groups) -> str | None:
    most = 2 if strided else 4
    if place == "weight":
        most = 4 if last and strided else 8
    return None if channels <= most else f"oneDNN multiplies pairs of bfloat16 at once, {channels} channels a group"


def _depthwise_avx2(place, channels, filters, strided, last, batch, pixels, groups) -> str | None:
    if not last and batch > 1 and (64 if place == "x" else 36) <= pixels <= 1000:
        return "oneDNN takes small planar images through depthwise filters in blocks of channels"
    return _depthwise(place, channels, filters, strided, last, batch, pixels, groups)


def _grouped_avx2(place, channels, filters, strided, last, batch, pixels, groups) -> str | None:
    if groups == 1 and channels < 8 and filters >= 16 and place != "x" and pixels >= 256:
        return "oneDNN has kernels of its own for the first layer of a network, few channels and many filters"
    few = 16 if place == "x" and not last and pixels > 256 else 8
    return None if channels <= few else f"oneDNN multiplies {channels} channels a group faster"


_RULES = {  # by vectors of the processor and type: for depthwise convolutions, and for others
    ("AVX512", torch.float32): (_depthwise, _grouped),
    ("AVX512", torch.bfloat16): (_depthwise, _grouped_bfloat16),
    ("AVX2", torch.float32): (_depthwise_avx2, _grouped_avx2),
}


def _slow_on_cuda(dtype, groups, channels, filters, kernel) -> str | None:
    most = 16 if dtype in (torch.bfloat16, torch.float16) else 8
    if groups > 1 and max(kernel) <= 7 and max(channels, filters) <= most:
        return None
    return f"cuDNN is at its best with more than {most} channels a group, or large kernels"
