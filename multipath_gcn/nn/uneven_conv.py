"""Grouped convolution whose groups may differ in width, overlap, and leave channels out."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from multipath_gcn.nn.fold_norm import fold_norm
from multipath_gcn.nn.packed_conv import PackedUnevenGroupedConv2d
from multipath_gcn.nn.uneven_groups import UnevenGroups
from multipath_gcn.ops import PackedUnevenConv2d


class UnevenGroupedConv2d(UnevenGroups):
    r"""Convolutions side by side, each of channels of its own choice.

    .. math::
        y = \big[ x_{S_1} * W_1, \dots, x_{S_G} * W_G \big] + b, \qquad W_g : [O_g, |S_g|, k_h, k_w]

    What remains of a grouped convolution of which channels were removed, and the grouped form that
    `SG-CNN <https://arxiv.org/abs/2009.13803>`_ trains. Equal, disjoint groups are :class:`GroupedConv2d`'s, which is
    faster.

    Args:
        inputs: for every group the input channels :math:`S_g` that it reads, in the order of its weight's columns.
        filters: for every group its number of filters :math:`O_g`; they follow each other in the output.
        kernel_size, stride, padding, dilation: as for :class:`torch.nn.Conv2d`, padding with zeros.
        bias, device, dtype: as for :class:`torch.nn.Conv2d`.
        order: for every output channel the number of its filter, counted through all groups; None: as they come.

    Shapes:
        - **input:** :math:`(N, C, H, W)` or :math:`(C, H, W)`, C above every number in ``inputs``
        - **output:** :math:`(N, O, H', W')` or :math:`(O, H', W')`, O the sum of ``filters``

    Raises:
        ValueError: for no groups, a group without channels or filters, lists of different length, or an ``order`` that
            is no permutation of the filters.
    """

    def __init__(
        self,
        inputs: Sequence[Sequence[int]],
        filters: Sequence[int],
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int] = 1,
        padding: int | str | tuple[int, int] = 0,
        dilation: int | tuple[int, int] = 1,
        bias: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        order: Sequence[int] | None = None,
    ):
        self.kernel_size = (kernel_size, kernel_size) if isinstance(kernel_size, int) else tuple(kernel_size)
        super().__init__(inputs, filters, self.kernel_size, bias, device, dtype, order)
        self.stride, self.padding, self.dilation = stride, padding, dilation

    def forward(self, x: Tensor) -> Tensor:
        geometry = self.stride, self.padding, self.dilation
        parts = [F.conv2d(self.read_by(g, x, -3), weight, None, *geometry) for g, weight in enumerate(self.weights)]
        y = self.joined(parts, -3)
        return y if self.bias is None else y + self.bias[:, None, None]

    def prepack(self, norm: nn.BatchNorm2d | None = None, activation: str | None = None) -> PackedUnevenGroupedConv2d:
        """This layer for inference, with the batch norm and activation that follow it, in one call; see
        :meth:`GroupedConv2d.prepack`.

        Raises:
            ValueError: when ``norm`` does not fit or has no running statistics.
        """
        order = range(self.out_channels) if self.order is None else self.order.tolist()
        place = torch.tensor(order).argsort().split(self.filters)
        weights, bias = self.weights, self.bias
        if norm is not None:
            scale, bias = fold_norm(weights[0].new_ones(self.out_channels, 1, dtype=torch.double), bias, norm)
            scale, bias = scale[:, :, None, None], bias.to(weights[0].dtype)
            weights = [(w * scale[at]).to(w.dtype) for w, at in zip(weights, place, strict=True)]
        geometry = self.stride, self.padding, self.dilation
        outputs = [at.tolist() for at in place]
        return PackedUnevenGroupedConv2d(PackedUnevenConv2d(weights, self.inputs, outputs, bias, *geometry, activation))

    def _kernel_repr(self) -> str:
        return f", kernel_size={self.kernel_size}, stride={self.stride}"
