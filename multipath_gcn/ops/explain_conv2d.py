"""Which kernel computes a convolution, and why."""

from dataclasses import dataclass

from torch import Tensor

from multipath_gcn.ops.conv_dispatch import PLACES, Plan, plan_of
from multipath_gcn.ops.conv_geometry import geometry
from multipath_gcn.ops.native import OPS


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
    images = x if x.dim() == 4 else x.unsqueeze(0)
    found = plan_of(images, weight, of)
    return Explanation(*(_explained(place, images, weight, found) for place in PLACES))


_WHY = {
    "rows": "vectors over the columns of an output row, read from planar images in place",
    "lanes": "vectors over the filters of neighbouring groups, pixel by pixel",
    "reference": "plain PyTorch, since MULTIPATH_GCN_NATIVE asks for it",
    "tape": "vectors over output positions of a group's padded copy",
}


def _explained(place: str, x: Tensor, weight: Tensor, plan: Plan) -> str:
    reason = plan.stock[place]
    if reason is not None:
        return f"PyTorch's operator: {reason}"
    if x.device.type != "cpu":
        return "our CUDA kernel"
    kernel = OPS.grouped_conv2d_kernel(x, weight.shape, *plan.of, place)
    return f"{kernel}: {_WHY[kernel]}"
