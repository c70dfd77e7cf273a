"""Linear maps side by side, of groups that may differ in width, overlap, and leave channels out."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from multipath_gcn.nn.uneven_groups import UnevenGroups


class UnevenGroupedLinear(UnevenGroups):
    r"""Linear maps side by side, each of channels of its own choice.

    .. math::
        y = \big[ W_1 x_{S_1}, \dots, W_G x_{S_G} \big] + b, \qquad W_g : [O_g, |S_g|]

    The 1x1 case of :class:`UnevenGroupedConv2d`, on rows; equal, disjoint groups are :class:`GroupedLinear`'s, which is
    faster.

    Args:
        inputs: for every group the input channels :math:`S_g` that it reads, in the order of its weight's columns.
        filters: for every group its number of filters :math:`O_g`; they follow each other in the output.
        bias, device, dtype: as for :class:`torch.nn.Linear`.
        order: for every output channel the number of its filter, counted through all groups; None: as they come.

    Shapes:
        - **input:** :math:`(*, C)`, C above every number in ``inputs``
        - **output:** :math:`(*, O)`, O the sum of ``filters``

    Raises:
        ValueError: as :class:`UnevenGroupedConv2d`.
    """

    def __init__(
        self,
        inputs: Sequence[Sequence[int]],
        filters: Sequence[int],
        bias: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        order: Sequence[int] | None = None,
    ):
        super().__init__(inputs, filters, (), bias, device, dtype, order)

    def forward(self, x: Tensor) -> Tensor:
        y = self.joined([F.linear(self.read_by(g, x, -1), weight) for g, weight in enumerate(self.weights)], -1)
        return y if self.bias is None else y + self.bias
