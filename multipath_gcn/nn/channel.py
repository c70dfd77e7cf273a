"""Linear layers and 1x1 convolutions whose every filter reads one window of the input channels."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from multipath_gcn.nn.fold_norm import fold_norm
from multipath_gcn.nn.packed_conv import PackedChannelConv2d
from multipath_gcn.ops import ChannelWindows, channel_transform, channel_transform_2d, pack_weight


class _ChannelLayer(nn.Module):
    """Parameters and state dict of the layers below; ``forward`` is theirs."""

    def __init__(
        self,
        windows: ChannelWindows,
        bias: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ):
        super().__init__()
        factory = {"device": device, "dtype": dtype}
        self.windows = windows
        self.in_channels, self.out_channels = windows.in_channels, windows.out_channels
        self.weight = nn.Parameter(torch.empty(windows.out_channels, windows.width, **factory))
        self.register_parameter("bias", nn.Parameter(torch.empty(windows.out_channels, **factory)) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))  # nn.Linear's: uniform within 1 / sqrt(K)
        if self.bias is not None:
            bound = 1 / math.sqrt(self.windows.width)
            nn.init.uniform_(self.bias, -bound, bound)

    def _apply(self, fn, recurse: bool = True):
        super()._apply(fn, recurse)
        self.windows.on(self.weight.device)  # now: what records a graph of calls allows no copy from the host
        return self

    def extra_repr(self) -> str:
        return f"{self.in_channels}, {self.out_channels}, {self._windows_repr()}, bias={self.bias is not None}"

    def _windows_repr(self) -> str:
        return f"width={self.windows.width}"

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        weight = state_dict.get(f"{prefix}weight")
        if weight is None and f"{prefix}weights" in state_dict:  # DSXplore's layer, whose forward never adds its bias
            weight = state_dict.pop(f"{prefix}weights")
            state_dict.pop(f"{prefix}bias", None)
        if weight is not None:
            state_dict[f"{prefix}weight"] = weight.flatten(1) if weight.shape[2:].numel() == 1 else weight
        super()._load_from_state_dict(state_dict, prefix, *args)


class ChannelLinear(_ChannelLayer):
    r"""A linear map whose filter o reads the K input channels that begin at :math:`s_o`, cyclically.

    .. math::
        y_o = b_o + \sum_{k < K} W_{ok} \, x_{(s_o + k) \bmod C}

    :class:`GroupedLinear` and :class:`SlidingChannelLinear` are this layer with windows by rule.

    **State dict.** ``weight`` [O, K] and ``bias`` [O]. Loading also takes [O, K, 1, 1], as :class:`torch.nn.Conv2d`
    with ``groups=`` saves it; ``weight[..., None, None]`` is the way back. Layers of
    `DSXplore <https://arxiv.org/abs/2101.00745>`_ (``weights`` [O, K] and a ``bias`` that its forward never adds) load
    into ``ChannelWindows.released(...)`` with ``bias=False`` and compute what they did there.

    Args:
        windows: which input channels each filter reads.
        bias: whether to add a learned bias.
        device, dtype: of the parameters, which start as those of :class:`torch.nn.Linear` with K inputs:
            uniform in :math:`\pm 1 / \sqrt{K}`.

    Shapes:
        - **input:** :math:`(*, C)`
        - **output:** :math:`(*, O)`
    """

    def forward(self, x: Tensor) -> Tensor:
        return channel_transform(x, self.weight, self.windows, self.bias)


class ChannelConv2d(_ChannelLayer):
    r"""A 1x1 convolution whose filter o reads the K input channels that begin at :math:`s_o`, cyclically.

    .. math::
        y_{ohw} = b_o + \sum_{k < K} W_{ok} \, x_{((s_o + k) \bmod C) hw}

    Arguments, parameters and state dict are those of :class:`ChannelLinear`.

    Shapes:
        - **input:** :math:`(N, C, H, W)` or :math:`(C, H, W)`, contiguous or channels-last
        - **output:** :math:`(N, O, H, W)` or :math:`(O, H, W)`
    """

    def forward(self, x: Tensor) -> Tensor:
        if x.dim() == 3:
            return self.forward(x.unsqueeze(0)).squeeze(0)
        return channel_transform_2d(x, self.weight, self.windows, self.bias)

    def prepack(self, norm: nn.BatchNorm2d | None = None, activation: str | None = None) -> PackedChannelConv2d:
        """This layer for inference, with the batch norm and activation that follow it; see
        :meth:`GroupedConv2d.prepack`."""
        weight, bias = (self.weight, self.bias) if norm is None else fold_norm(self.weight, self.bias, norm)
        return PackedChannelConv2d(pack_weight(weight, self.windows), bias, activation)


class GroupedLinear(ChannelLinear):
    r"""``groups`` independent linear maps side by side: group g reads and writes the g-th block of channels.

    .. math::
        y_o = b_o + \sum_{k < K} W_{ok} \, x_{\lfloor o G / O \rfloor K + k}, \qquad K = C / G

    The map of :class:`torch.nn.Conv2d` with ``kernel_size=1, groups=G``, and its parameters: either state dict loads
    into the other (see :class:`ChannelLinear`).

    Args:
        in_channels, out_channels: widths C and O, multiples of ``groups``.
        groups: number G of blocks.
        bias, device, dtype: as for :class:`ChannelLinear`.

    Shapes:
        - **input:** :math:`(*, C)`
        - **output:** :math:`(*, O)`

    Raises:
        ValueError: for a width that is no positive multiple of ``groups``.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        groups: int,
        bias: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ):
        super().__init__(ChannelWindows.grouped(in_channels, out_channels, groups), bias, device, dtype)
        self.groups = groups

    def _windows_repr(self) -> str:
        return f"groups={self.groups}"


class SlidingChannelLinear(ChannelLinear):
    r"""The sliding-channel transform of `DSXplore <https://arxiv.org/abs/2101.00745>`_ on rows: each filter's window
    begins one step after the one before, cyclically, so that neighbouring filters share input channels.

    .. math::
        y_o = b_o + \sum_{k < K} W_{ok} \, x_{(o s + k) \bmod C}, \qquad
        K = C / G, \quad s = K - \lfloor \mathrm{overlap} \cdot K \rfloor

    At overlap 0 it is :class:`GroupedLinear` with the filters in another order, where O is a multiple of G:
    ``grouped.weight == sliding.weight[p]`` and ``grouped(x) == sliding(x)[..., p]``, p = ``windows.permutation()``;
    ``sliding.weight == grouped.weight[p.argsort()]`` is the way back. The bias follows its filter.

    Args:
        in_channels, out_channels: widths C and O.
        groups: G, a divisor of C; each filter reads C / G channels.
        overlap: part of a window shared with the next one, in [0, 1): a float read as the decimal it prints as,
            a ``Fraction``, or a string such as ``"1/3"``.
        bias, device, dtype: as for :class:`ChannelLinear`.

    Shapes:
        - **input:** :math:`(*, C)`
        - **output:** :math:`(*, O)`

    Raises:
        ValueError: for C no positive multiple of ``groups``, or ``overlap`` outside [0, 1).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        groups: int = 2,
        overlap: Any = 0.5,
        bias: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ):
        super().__init__(ChannelWindows.sliding(in_channels, out_channels, groups, overlap), bias, device, dtype)
        self.groups, self.overlap = groups, overlap

    def _windows_repr(self) -> str:
        return f"groups={self.groups}, overlap={self.overlap}"


class SlidingChannelConv2d(ChannelConv2d):
    r"""Sliding-channel convolution (SCC), the 1x1 convolution of `DSXplore <https://arxiv.org/abs/2101.00745>`_.

    .. math::
        y_{ohw} = b_o + \sum_{k < K} W_{ok} \, x_{((o s + k) \bmod C) hw}, \qquad
        K = C / G, \quad s = K - \lfloor \mathrm{overlap} \cdot K \rfloor

    Arguments, errors and the relation to :class:`torch.nn.Conv2d` with ``groups=`` are those of
    :class:`SlidingChannelLinear`.

    Shapes:
        - **input:** :math:`(N, C, H, W)` or :math:`(C, H, W)`, contiguous or channels-last
        - **output:** :math:`(N, O, H, W)` or :math:`(O, H, W)`
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        groups: int = 2,
        overlap: Any = 0.5,
        bias: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ):
        super().__init__(ChannelWindows.sliding(in_channels, out_channels, groups, overlap), bias, device, dtype)
        self.groups, self.overlap = groups, overlap

    def _windows_repr(self) -> str:
        return f"groups={self.groups}, overlap={self.overlap}"
