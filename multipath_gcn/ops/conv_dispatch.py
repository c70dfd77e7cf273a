"""Who computes a grouped convolution or one of its gradients: our kernels, or PyTorch's operator where it is faster."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from multipath_gcn.conv_geometry import Geometry, out_size
from multipath_gcn.ops.conv_geometry import geometry
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
    """Why PyTorch's operator computes what stands in ``place``; None where ours does. The one place that decides.

    As measured on two cores with AVX-512 (benchmarks/results/grouped_conv2d_dispatch: how many times as long PyTorch's
    operator takes, for every layer of ResNet34 and ResNeXt), so that ours is taken where it is no slower. CUDA: the
    range in which cuDNN is known to be slow, few channels a group; not measured.
    """
    images = b if place == "weight" else a
    if 0 in (a.numel(), b.numel()) or torch.are_deterministic_algorithms_enabled():
        return None
    if place == "weight":
        channels, filters = b.size(1) // of.groups, a.size(1) // of.groups
    else:
        channels, filters = b.size(1), b.size(0) // of.groups
    if images.device.type == "cuda":
        return _slow_on_cuda(images.dtype, of.groups, channels, filters, kernel)
    if images.device.type != "cpu":
        return f"there is no kernel for {images.device.type}"
    if images.dtype is torch.float64 or not _AVX512:
        return None
    size = out_size(a.shape[2:], kernel, of) if place == "y" else a.shape[2:]
    return _reason(place, images, channels, filters, of, size)


def stock_step_is_best(x: Tensor, weight: Tensor, of: Geometry) -> bool:
    """Whether PyTorch computes the outputs and both gradients: its own step then shares work among the gradients."""
    if x.device.type != "cpu" or x.dtype is torch.float64 or not _AVX512 or 0 in (x.numel(), weight.numel()):
        return False
    if torch.are_deterministic_algorithms_enabled():
        return False
    size = out_size(x.shape[2:], weight.shape[2:], of)
    group = weight.size(1), weight.size(0) // of.groups
    return all(_reason(place, x, *group, of, size) is not None for place in ("y", "x", "weight"))


def _reason(place, images, channels, filters, of: Geometry, size) -> str | None:
    last = images.is_contiguous(memory_format=torch.channels_last) and not images.is_contiguous()
    rule = _depthwise if channels == filters == 1 else _grouped if images.dtype is torch.float32 else _grouped_bfloat16
    return rule(place, channels, filters, of.stride[1] > 1, last, images.size(0), size[0] * size[1], of.groups)


def _depthwise(place, channels, filters, strided, last, batch, pixels, groups) -> str | None:
    if last and not strided and place != "x" and batch * pixels * groups > (150_000 if place == "y" else 250_000):
        return "oneDNN streams large channels-last images through depthwise filters faster"
    return None


def _grouped(place, channels, filters, strided, last, batch, pixels, groups) -> str | None:
    narrow = batch > 1 and pixels <= 100  # many small images: oneDNN's blocked layout is filled, ours is not
    if place == "y":
        few = 4 if last and strided and batch > 1 else 8 if narrow or last or strided else 16
        small = 0 if strided and last else 64 if batch * pixels <= 200 else 32 if batch == 1 and not last else 0
    elif place == "x":
        few = 4 if strided and batch > 1 else 16
        small = 64 if batch * pixels <= 200 else 32 if batch == 1 else 0
    else:
        few = 8 if last and batch > 1 and pixels <= 200 else 16
        small = 0
    if channels <= max(few, small):
        return None
    return f"oneDNN multiplies {channels} channels a group faster"


def _grouped_bfloat16(place, channels, filters, strided, last, batch, pixels, groups) -> str | None:
    by_place = {
        "y": 2 if strided else 4,
        "x": 2 if strided else 8 if last else 4,
        "weight": 4 if last and strided else 8,
    }
    most = by_place[place]
    return None if channels <= most else f"oneDNN multiplies pairs of bfloat16 at once, {channels} channels a group"


def _slow_on_cuda(dtype, groups, channels, filters, kernel) -> str | None:
    most = 16 if dtype in (torch.bfloat16, torch.float16) else 8
    if groups > 1 and max(kernel) <= 7 and max(channels, filters) <= most:
        return None
    return f"cuDNN is at its best with more than {most} channels a group, or large kernels"


def stock_conv2d(x, weight, bias, of: Geometry, relu: bool) -> Tensor:
    y = F.conv2d(*_symmetric(x, of, weight, bias), of.dilation, of.groups)
    return y.relu_() if relu else y


def frozen_stock_conv2d(x: Tensor, weight: Tensor, bias: Tensor | None, of: Geometry, relu: bool):
    """:func:`stock_conv2d` of such images as a function of them alone.

    oneDNN's weight is brought into its own order once, as frozen compiled networks do: 1.05 to 2 times as fast. Only in
    channels-last memory, which is what that operator returns, and where it exists: it is no public function.
    """
    top, bottom, left, right = of.sides
    onednn = torch.ops.mkldnn
    last = x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
    known = hasattr(onednn, "_reorder_convolution_weight") and hasattr(onednn, "_convolution_pointwise")
    if not (last and known and (top, left) == (bottom, right) and torch.backends.mkldnn.enabled):
        return lambda x: stock_conv2d(x, weight, bias, of, relu)
    options = [top, left], list(of.stride), list(of.dilation), of.groups
    own = onednn._reorder_convolution_weight(weight, *options, list(x.shape))
    pointwise = onednn._convolution_pointwise.default
    return lambda x: pointwise(x, own, bias, *options, "relu" if relu else "none", [], "")


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
    "reference": "plain PyTorch, since MULTIPATH_GCN_NATIVE asks for it",
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
