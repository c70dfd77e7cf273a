from torch import Tensor, nn

from multipath_gcn.ops import PackedConv2d


class PackedGroupedConv2d(nn.Module):
    """A grouped convolution for inference, as :meth:`GroupedConv2d.prepack` makes it: packed weight, bias, activation.

    It has no parameters, no gradients and an empty state dict, stays on its device and in its type, and is of use on
    this machine only: store the layer that it was made of. A deep copy shares the weight, which never changes.

    Args:
        convolution: what :func:`multipath_gcn.ops.prepack_conv2d` returns.

    Shapes:
        - **input:** images (N, in_channels, H, W) or (in_channels, H, W), of the weight's type, on its device
        - **residual:** None, or images of the output's shape, added before the activation
        - **output:** (N, out_channels, H', W') or (out_channels, H', W'), in the memory format of the input

    Raises:
        ValueError: when the input or the residual does not fit, or requires a gradient.
    """

    def __init__(self, convolution: PackedConv2d):
        super().__init__()
        if not isinstance(convolution, PackedConv2d):
            raise ValueError(f"convolution must be a PackedConv2d, got {type(convolution).__name__}")
        self.convolution = convolution

    def forward(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        return self.convolution(x, residual)

    def extra_repr(self) -> str:
        return repr(self.convolution)
