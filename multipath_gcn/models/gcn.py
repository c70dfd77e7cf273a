"""The baselines: a plain and a residual stack. Each is a MultiPathGCN whose one path is the identity."""

from collections.abc import Sequence
from typing import Any

from multipath_gcn.nn.multipath_gcn import MultiPathGCN


class GCN(MultiPathGCN):
    r"""A plain stack of ``num_layers`` graph convolutions of width ``hidden_channels`` before the readout.

    ``num_layers=1, readout="gcn"`` is the two-layer network of `Kipf and Welling <https://arxiv.org/abs/1609.02907>`_.
    Further arguments, shapes and errors are those of :class:`~multipath_gcn.nn.MultiPathGCN`. All layers are its stem,
    so that ``stem_transform`` makes them grouped or sliding.
    """

    def __init__(self, in_channels: int, hidden_channels: int, out_channels: int, num_layers: int = 3, **options: Any):
        if not isinstance(num_layers, int) or num_layers < 1:
            raise ValueError(f"num_layers must be an integer of at least 1, got {num_layers!r}")
        super().__init__(in_channels, hidden_channels, out_channels, paths=((),), stem=num_layers, **options)


class ResGCN(GCN):
    r"""A plain stack with skip connections: :math:`H_{l} = H_{l-1} + g_l(H_{l-1})` for every layer l in ``skips``.

    Args:
        skips: numbers, from 1, of the layers that get a skip; ``None`` means every layer of equal widths.
            A layer whose input and output widths differ has none.

    Raises:
        ValueError: for a layer number outside 1 ... ``num_layers``.
    """

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int,
        out_channels: int,
        num_layers: int = 3,
        skips: Sequence[int] | None = None,
        **options: Any,
    ):
        super().__init__(in_channels, hidden_channels, out_channels, num_layers, residual=True, **options)
        layers = range(1, num_layers + 1)
        chosen = set(layers if skips is None else skips)
        if not chosen <= set(layers):
            raise ValueError(f"skips must name layers in 1 ... {num_layers}, got {sorted(chosen)}")
        for number, block in zip(layers, self.stem, strict=True):
            block.residual = number in chosen
