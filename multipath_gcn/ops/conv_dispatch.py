"""Who computes a grouped convolution or one of its gradients: our kernels, or PyTorch's operator where it is faster."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from multipath_gcn.ops.conv_geometry import Geometry, geometry, out_size
from multipath_gcn.ops.native import OPS
from multipath_gcn.ops.reference.channel_transform import memory_format

CONV = OPS.grouped_conv2d.default
INPUT_GRAD = OPS.grouped_conv2d_input_grad.default
WEIGHT_GRAD = OPS.grouped_conv2d_weight_grad.default
KERNEL = OPS.grouped_conv2d_kernel.default
_AVX512 = torch.backends.cpu.get_cpu_capability() == "AVX512"


def compute(place: str, a: Tensor, b: Tensor, sizes: tuple, bias: Tensor | None, relu: bool) -> Tensor:
    """y of x and weight, the gradient by x of those by y and weight, or that by weight of those by y and x.

    Args:
        place: "y", "x" or "weight".
        sizes: geometry, (height, width) of x, and of the kernel.
    """
    way = ours if stock_reason(place, a, b, sizes[0], sizes[2]) is None else stock
    return way(place, a, b, sizes, bias, relu)


def ours(place: str, a: Tensor, b: Tensor, sizes: tuple, bias: Tensor | None, relu: bool) -> Tensor:
    of, size, kernel = sizes
    if place == "y":
        return CONV(a, b, bias, *of, relu)
    return INPUT_GRAD(a, b, size, *of) if place == "x" else WEIGHT_GRAD(a, b, kernel, *of)


def stock(place: str, a: Tensor, b: Tensor, sizes: tuple, bias: Tensor | None, relu: bool) -> Tensor:
    of, size, kernel = sizes
    if place == "y":
        return stock_conv2d(a, b, bias, of, relu)
    return (
        _stock_grad(0, a, None, b, of, size, kernel) if place == "x" else _stock_grad(1, a, b, None, of, size, kernel)
    )


def stock_reason(place: str, a: Tensor, b: Tensor, of: Geometry, kernel) -> str | None:
    """Why PyTorch's operator computes what stands in ``place``; None where ours does. The one place that decides."""
    if a.device.type != "cpu":
        return "our kernels compute on CPU"
    if torch.are_deterministic_algorithms_enabled() or 0 in (a.numel(), b.numel()):
        return None
    return None


def stock_conv2d(x, weight, bias, of: Geometry, relu: bool) -> Tensor:
    y = F.conv2d(*_symmetric(x, of, weight, bias), of.dilation, of.groups)
    return y.relu_() if relu else y


def _symmetric(x, of: Geometry, weight, bias) -> tuple:
    top, bottom, left, right = of.sides
    if top == bottom and left == right:
        return x, weight, bias, of.stride, (top, left)
    return F.pad(x, (left, right, top, bottom)), weight, bias, of.stride, 0


def _stock_grad(which: int, grad, x, weight, of: Geometry, size, kernel) -> Tensor:
    top, bottom, left, right = of.sides
    even = top == bottom and left == right
    if which == 0:
        height, width = size if even else (size[0] + top + bottom, size[1] + left + right)
        x = grad.new_empty(()).expand(grad.size(0), weight.size(1) * of.groups, height, width)
    else:
        x = x if even else F.pad(x, (left, right, top, bottom))
        weight = grad.new_empty(()).expand(grad.size(1), x.size(1) // of.groups, *kernel)
    padding = (top, left) if even else (0, 0)
    found = torch.ops.aten.convolution_backward(
        grad,
        x,
        weight,
        None,
        of.stride,
        padding,
        of.dilation,
        False,
        (0, 0),
        of.groups,
        (which == 0, which == 1, False),
    )[which]
    if which == 0 and not even:
        found = found[:, :, top : top + size[0], left : left + size[1]].contiguous()
    return found


@dataclass(frozen=True)
class Explanation:
    """Which kernel computes the outputs of a convolution and each of its gradients, and why."""

    forward: str
    input_grad: str
    weight_grad: str

    def __str__(self) -> str:
        return "\n".join(f"{name}: {getattr(self, name)}" for name in ("forward", "input_grad", "weight_grad"))


def explain_conv2d(x: Tensor, weight: Tensor, stride=1, padding=0, dilation=1, groups: int = 1) -> Explanation:
    """Which kernels :func:`grouped_conv2d` and its gradients run for such tensors, and why.

    Args and errors are those of :func:`grouped_conv2d`. Nothing is computed.
    """
    of = geometry(x, weight, None, stride, padding, dilation, groups)
    return Explanation(*(_explained(place, x, weight, of) for place in ("y", "x", "weight")))


_WHY = {
    "rows": "vectors over the columns of an output row, read from planar images in place",
    "lanes": "vectors over the filters of neighbouring groups, pixel by pixel",
    "tape": "vectors over output positions of a group's padded copy",
}


def _explained(place: str, x: Tensor, weight: Tensor, of: Geometry) -> str:
    images = x if x.dim() == 4 else x.unsqueeze(0)
    y = images.new_empty(()).expand(images.size(0), weight.size(0), *out_size(images.shape[2:], weight.shape[2:], of))
    y = torch.empty_like(y, memory_format=memory_format(images, 1))
    a, b = {"y": (images, weight), "x": (y, weight), "weight": (y, images)}[place]
    reason = stock_reason(place, a, b, of, weight.shape[2:])
    if reason is not None:
        return f"PyTorch's operator: {reason}"
    if x.device.type != "cpu":
        return "our CUDA kernel"
    kernel = KERNEL(images, weight.shape, *of, place)
    return f"{kernel}: {_WHY[kernel]}"
