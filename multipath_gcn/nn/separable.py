from typing import Any

import torch
from torch import Tensor, nn

from multipath_gcn.conv_geometry import Padding, Pair
from multipath_gcn.nn.channel import ChannelConv2d
from multipath_gcn.nn.fold_norm import fold_norm
from multipath_gcn.nn.grouped_conv import GroupedConv2d
from multipath_gcn.nn.hooks import hooked
from multipath_gcn.nn.packed_conv import PackedDepthwiseSeparableConv2d
from multipath_gcn.nn.replace import computes_as
from multipath_gcn.nn.transform import build_windows
from multipath_gcn.ops import ChannelWindows, prepack_separable_conv2d, separable_conv2d


class DepthwiseSeparableConv2d(nn.Module):
    r"""A depthwise convolution, then a 1x1 convolution whose filters read all, a block or a window of the channels.

    .. math::
        h_c = D_c \star x_c, \qquad
        y_o = b_o + \sum_{k < K} W_{ok} \, \phi(h_{(s_o + k) \bmod C})

    with :math:`\phi` the identity, as in the VGG and ResNet of `DSXplore <https://arxiv.org/abs/2101.00745>`_, or batch
    norm and ReLU (``norm_between``), as in `MobileNet <https://arxiv.org/abs/1704.04861>`_. The depthwise convolution
    has no bias: what follows it, linear or a norm, has one.

    Weights: :math:`R S C` depthwise and :math:`O C / G` pointwise, in place of :math:`R S C O`; multiply-adds likewise
    per output pixel. ``pointwise="sliding", overlap=0`` is the grouped convolution with its outputs shuffled over the
    groups, as ShuffleNet does after it.

    Args:
        in_channels, out_channels: C and O.
        kernel_size, stride, padding, dilation: of the depthwise convolution, as in ``nn.Conv2d``.
        bias: whether to add a learned b.
        pointwise: windows that the 1x1 convolution reads: ``"dense"``, ``"grouped"`` (G blocks, of inputs and filters)
            or ``"sliding"`` (C / G channels, each window one step after the one before, cyclically).
        groups: G; ``None`` is 2, or for dense windows 1.
        overlap: part of a sliding window shared with the next one, in [0, 1); ``None`` is 0.5.
        norm_between: whether batch norm and ReLU stand between the two.
        device, dtype: of the parameters.

    Shapes:
        - **input:** images (N, C, H, W), contiguous or channels-last
        - **output:** (N, O, H', W') in the memory format of the input; in evaluation without gradients both parts are
          one call, :func:`multipath_gcn.ops.separable_conv2d`

    Raises:
        ValueError: for an option that ``pointwise`` does not have, or a number of channels that groups do not divide.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Pair,
        stride: Pair = 1,
        padding: Padding = 0,
        dilation: Pair = 1,
        bias: bool = True,
        pointwise: str = "dense",
        groups: int | None = None,
        overlap: Any = None,
        norm_between: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ):
        super().__init__()
        factory = {"device": device, "dtype": dtype}
        windows = pointwise_windows(in_channels, out_channels, pointwise, groups, overlap)
        self.in_channels, self.out_channels = in_channels, out_channels
        self.depthwise = GroupedConv2d(
            in_channels, in_channels, kernel_size, stride, padding, dilation, groups=in_channels, bias=False, **factory
        )
        self.norm = nn.BatchNorm2d(in_channels, **factory) if norm_between else None
        self.activation = nn.ReLU(inplace=True) if norm_between else None
        self.pointwise = ChannelConv2d(windows, bias, **factory)

    def reset_parameters(self) -> None:
        for layer in (self.depthwise, self.norm, self.pointwise):
            if layer is not None:
                layer.reset_parameters()

    def forward(self, x: Tensor) -> Tensor:
        if not (self.training or torch.is_grad_enabled()) and self._one_call_does() and not self._watched():
            return self._inference(x)
        h = self.depthwise(x)
        return self.pointwise(h if self.norm is None else self.activation(self.norm(h)))

    def prepack(
        self, norm: nn.BatchNorm2d | None = None, activation: str | None = None
    ) -> PackedDepthwiseSeparableConv2d:
        """This layer for inference, with the batch norm and activation that follow it, in one call.

        Weights are copied and rearranged once for this machine: later changes of the layer or the norms are not seen.

        Args:
            norm: folded into weight and bias of the 1x1 convolution, as ``norm`` of this layer is into the depthwise
                one, see :func:`~multipath_gcn.nn.fold_norm.fold_norm`.
            activation: None or ``"relu"``.

        Raises:
            ValueError: when ``norm`` does not fit or has no running statistics.
        """
        if not self.has_its_own_parts():
            raise ValueError(f"the parts must be those that the layer was made of to be packed, got {self}")
        depthwise, inner_bias = self._folded_depthwise()
        weight, bias = self.pointwise.weight, self.pointwise.bias
        if norm is not None:
            weight, bias = fold_norm(weight, bias, norm)
        layer = self.depthwise
        geometry = layer.stride, layer.padding, layer.dilation
        inner_activation = None if self.norm is None else "relu"
        operands = depthwise, weight, self.pointwise.windows, inner_bias, bias
        return PackedDepthwiseSeparableConv2d(
            prepack_separable_conv2d(*operands, *geometry, inner_activation, activation)
        )

    def _folded_depthwise(self) -> tuple[Tensor, Tensor | None]:
        if self.norm is None:
            return self.depthwise.weight, self.depthwise.bias
        return fold_norm(self.depthwise.weight, self.depthwise.bias, self.norm)

    def has_its_own_parts(self) -> bool:
        """Whether nobody has put others in their place, which compute something else."""
        kinds = type(self.depthwise), type(self.norm), type(self.activation)
        return (
            kinds in ((GroupedConv2d, type(None), type(None)), (GroupedConv2d, nn.BatchNorm2d, nn.ReLU))
            and self.depthwise.padding_mode == "zeros"
            and computes_as(self.pointwise, ChannelConv2d)
        )

    def _one_call_does(self) -> bool:
        """Whether the norm can be folded in: one that counts statistics on, or has none, must be called itself."""
        norm = self.norm
        return self.has_its_own_parts() and (norm is None or (not norm.training and norm.running_mean is not None))

    def _watched(self) -> bool:
        return any(hooked(part, everywhere=True) for part in self.children())

    def _inference(self, x: Tensor) -> Tensor:
        depthwise, inner_bias = self._folded_depthwise()
        layer, last = self.depthwise, self.pointwise
        operands = x, depthwise, last.weight, last.windows, inner_bias, last.bias
        inner_activation = None if self.norm is None else "relu"
        return separable_conv2d(*operands, layer.stride, layer.padding, layer.dilation, inner_activation)

    def extra_repr(self) -> str:
        return f"{self.in_channels}, {self.out_channels}"


def pointwise_windows(
    in_channels: int, out_channels: int, pointwise: str, groups: int | None = None, overlap: Any = None
) -> ChannelWindows:
    """What the 1x1 convolution of that name reads: see :class:`DepthwiseSeparableConv2d`."""
    if pointwise == "dense" and groups == 1:
        groups = None
    return build_windows(in_channels, out_channels, pointwise, groups, overlap, "pointwise")
