"""Convolutions for inference, as the ``prepack`` of their layers makes them.

They have no parameters, no gradients and an empty state dict, stay on their device and in their type, and are of use on
this machine only: store the layers that they were made of. Deep copies share the weights, which never change.
"""

from torch import Tensor, nn

from multipath_gcn.ops import (
    PackedConv2d,
    PackedSeparableConv2d,
    PackedUnevenConv2d,
    PackedWeight,
    channel_transform_2d,
)


class PackedGroupedConv2d(nn.Module):
    """A grouped convolution: packed weight, bias, activation.

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


class PackedUnevenGroupedConv2d(nn.Module):
    """Convolutions side by side, each of channels of its own choice: packed weights, bias, activation.

    Args:
        convolution: a :class:`multipath_gcn.ops.PackedUnevenConv2d`.

    Shapes and errors are those of :class:`PackedGroupedConv2d`.
    """

    def __init__(self, convolution: PackedUnevenConv2d):
        super().__init__()
        if not isinstance(convolution, PackedUnevenConv2d):
            raise ValueError(f"convolution must be a PackedUnevenConv2d, got {type(convolution).__name__}")
        self.convolution = convolution

    def forward(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        return self.convolution(x, residual)

    def extra_repr(self) -> str:
        return repr(self.convolution)


class PackedDepthwiseSeparableConv2d(nn.Module):
    """A depthwise convolution and the 1x1 convolution of its result, in one call where that is faster.

    Args:
        convolution: what :func:`multipath_gcn.ops.prepack_separable_conv2d` returns.

    Shapes:
        - **input:** images (N, in_channels, H, W) or (in_channels, H, W), of the weight's type, on its device
        - **output:** (N, out_channels, H', W') or (out_channels, H', W'), in the memory format of the input

    Raises:
        ValueError: when the input does not fit, or requires a gradient.
    """

    def __init__(self, convolution: PackedSeparableConv2d):
        super().__init__()
        if not isinstance(convolution, PackedSeparableConv2d):
            raise ValueError(f"convolution must be a PackedSeparableConv2d, got {type(convolution).__name__}")
        self.convolution = convolution

    def forward(self, x: Tensor) -> Tensor:
        return self.convolution(x)

    def extra_repr(self) -> str:
        return repr(self.convolution)


class PackedChannelConv2d(nn.Module):
    """A 1x1 convolution whose filters read windows of the channels: packed weight, bias, activation.

    Args:
        weight: what :func:`multipath_gcn.ops.pack_weight` returns.
        bias: (O) or None; copied.
        activation: None or ``"relu"``.

    Shapes:
        - **input:** images (N, C, H, W), of the weight's type, on its device
        - **output:** (N, O, H, W), in the memory format of the input

    Raises:
        ValueError: when the input does not fit, or requires a gradient.
    """

    def __init__(self, weight: PackedWeight, bias: Tensor | None = None, activation: str | None = None):
        super().__init__()
        self.weight, self.activation = weight, activation
        self.bias = None if bias is None else bias.detach().clone()

    def forward(self, x: Tensor) -> Tensor:
        return channel_transform_2d(x, self.weight, self.weight.windows, self.bias, self.activation)

    def extra_repr(self) -> str:
        return f"{self.weight!r}, activation={self.activation}"
