r"""What a network under gates is expected to cost: every weight counts by the chance that its ends are open.

.. math::
    \frac{\sum_l c_l \; p_{\mathrm{in}(l)} \, p_{\mathrm{out}(l)} \, p_{\mathrm{branch}(l)}}{\sum_l c_l}, \qquad
    p = \mathrm{mean}_c \, \sigma\Big(\frac{|g_c| - \tau}{T \, \bar g}\Big)

with :math:`c_l` the parameters or the multiply-adds of layer l, p of what has no gate 1, of what reads several layers
their mean by columns, and :math:`\bar g` the mean scale of the layer's channels (with a norm after the next layer only
scales beside each other mean anything), of a branch 1.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from multipath_gcn.prune.gates import GatedNorm


@dataclass(frozen=True)
class Term:
    """A layer's cost, and the names of the norms whose gates it depends on: as a whole, and of what it reads, each of
    that part of its columns."""

    cost: float
    gates: tuple[str, ...]
    reads: Mapping[str, float]


class ExpectedCost:
    """A penalty for training: a number between 0 and 1 with gradients for gates.

    Args:
        model: with gates.
        terms: of every layer that costs something.
        temperature: T.
    """

    def __init__(self, model: nn.Module, terms: list[Term], temperature: float):
        names = sorted({name for term in terms for name in (*term.gates, *term.reads)})
        self.norms: Mapping[str, GatedNorm] = {name: model.get_submodule(name) for name in names}
        self.terms, self.temperature = terms, temperature
        self.total = sum(term.cost for term in terms)

    def __call__(self) -> Tensor:
        chances = {
            name: torch.sigmoid(gated.gate.margin(gated.norm) / self.temperature).mean()
            for name, gated in self.norms.items()
        }
        return sum(self._chance(term, chances) * (term.cost / self.total) for term in self.terms)

    @staticmethod
    def _chance(term: Term, chances: Mapping[str, Tensor]) -> Tensor | float:
        chance: Tensor | float = 1 - sum(part * (1 - chances[name]) for name, part in term.reads.items())
        for name in term.gates:
            chance = chance * chances[name]
        return chance
