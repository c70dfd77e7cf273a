from collections.abc import Sequence
from itertools import chain

import torch
from torch import Tensor, nn

from multipath_gcn.nn import GroupedLinear, UnevenGroupedLinear
from multipath_gcn.nn.gradient_reversal import reverse_gradient


class GroupedAttributes(nn.Module):
    r"""Scores of attributes, of every group of attributes from a latent of its own, with adversaries between groups.

    .. math::
        h = \phi(W_0 x), \qquad [z_1, \dots, z_G] = \phi(W_1 h), \qquad s_g = U_g z_g + b_g, \qquad
        \hat a_g = V_g \, \mathrm{reverse}(z_g) + c_g

    where :math:`\phi` is batch norm, leaky ReLU and dropout (biases of W are left out here), and :math:`s_g` are the
    scores of group g's attributes. :math:`\hat a_g` [A] are logits of all attributes from the latent of group g: those
    of other groups are its adversaries, since the gradient is reversed on its way into :math:`z_g`; those of its own
    group are for no loss. With :math:`S = U z + b` for one matrix over all latents, heads are its diagonal blocks,
    adversaries the others.

    After grouped adversarial learning (`Chemmengath et al. 2020 <https://arxiv.org/abs/2003.00845>`_). Heads, of groups
    that differ in size, are one :class:`~multipath_gcn.nn.UnevenGroupedLinear`; adversaries, all of A outputs, one
    :class:`~multipath_gcn.nn.GroupedLinear`.

    Args:
        in_channels: F, of the features.
        out_channels: A, number of attributes.
        groups: the attributes of each group, every one of 0 to A - 1 in exactly one; None: one group of all, which has
            no adversaries.
        hidden_channels: of the trunk h.
        latent_channels: of all latents together, rounded up to a multiple of the number of groups: so networks of
            different groups have as wide a latent.
        dropout: chance in [0, 1) of a channel of h and of z to be zero in training.
        negative_slope: of the leaky ReLU; 1, as the authors' code has it unasked, leaves a network that is linear but
            for its norms.

    Shapes:
        - **input:** :math:`(N, F)`
        - **output:** scores :math:`(N, A)` in the order of the attributes; with ``reverse`` also logits
          :math:`(N, G, A)`

    Raises:
        ValueError: for ``groups`` that are no partition of the attributes, widths below 1, or ``dropout`` out of range.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        groups: Sequence[Sequence[int]] | None = None,
        hidden_channels: int = 64,
        latent_channels: int = 60,
        dropout: float = 0.2,
        negative_slope: float = 1.0,
    ):
        super().__init__()
        self.groups = [list(range(out_channels))] if groups is None else [list(group) for group in groups]
        order = list(chain.from_iterable(self.groups))
        if sorted(order) != list(range(out_channels)) or not all(self.groups):
            rule = f"hold each attribute from 0 to {out_channels - 1} once, in groups that are not empty"
            raise ValueError(f"groups must {rule}, got {self.groups}")
        for name, width in (("hidden_channels", hidden_channels), ("latent_channels", latent_channels)):
            if width < 1:
                raise ValueError(f"{name} must be at least 1, got {width}")
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout must lie in [0, 1), got {dropout}")
        count = len(self.groups)
        width = -(-latent_channels // count)
        self.trunk = _block(in_channels, hidden_channels, dropout, negative_slope)
        self.latents = _block(hidden_channels, count * width, dropout, negative_slope)
        reads = [range(g * width, (g + 1) * width) for g in range(count)]
        places = torch.tensor(order).argsort().tolist()  # of every attribute, which filter has it
        self.heads = UnevenGroupedLinear(reads, [len(group) for group in self.groups], order=places)
        self.adversaries = GroupedLinear(count * width, count * out_channels, count) if count > 1 else None

    def forward(self, x: Tensor, reverse: float | None = None) -> Tensor | tuple[Tensor, Tensor]:
        """
        Args:
            x: features.
            reverse: scale of the gradient from the adversaries into the latents, sign aside; None: no adversaries.
        """
        z = self.latents(self.trunk(x))
        scores = self.heads(z)
        if reverse is None:
            return scores
        if self.adversaries is None:
            raise ValueError(f"reverse must be None for a single group, which has no adversaries, got {reverse}")
        guesses = self.adversaries(reverse_gradient(z, reverse))
        return scores, guesses.unflatten(-1, (len(self.groups), -1))


def _block(in_channels: int, out_channels: int, dropout: float, negative_slope: float) -> nn.Sequential:
    linear, norm = nn.Linear(in_channels, out_channels), nn.BatchNorm1d(out_channels)
    return nn.Sequential(linear, norm, nn.LeakyReLU(negative_slope), nn.Dropout(dropout))
