r"""What a network under gates is expected to cost: every weight counts by the chance that its ends are open.

.. math::
    \frac{\sum_l c_l \; p_{\mathrm{in}(l)} \, p_{\mathrm{out}(l)} \, p_{\mathrm{branch}(l)}}{\sum_l c_l}

with :math:`c_l` the parameters or the multiply-adds of layer l and p the mean of its gates' chances of being open, 1 of
what has no gate, of what reads several layers their mean by columns.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

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
    """

    def __init__(self, model: nn.Module, terms: Sequence[Term]):
        names = sorted({name for term in terms for name in (*term.gates, *term.reads)})
        self.norms: Mapping[str, GatedNorm] = {name: model.get_submodule(name) for name in names}
        self.terms, self.total = terms, sum(term.cost for term in terms)

    def __call__(self) -> Tensor:
        chances = {name: gated.gate.chance().mean() for name, gated in self.norms.items()}
        return sum(self._chance(term, chances) * (term.cost / self.total) for term in self.terms)

    @staticmethod
    def _chance(term: Term, chances: Mapping[str, Tensor]) -> Tensor | float:
        chance: Tensor | float = 1 - sum(part * (1 - chances[name]) for name, part in term.reads.items())
        for name in term.gates:
            chance = chance * chances[name]
        return chance


def share(terms: Sequence[Term], norm: str) -> float:
    """The part of the whole cost that goes when all gates of this norm close and every other one is open."""
    return sum(t.cost * (1.0 if norm in t.gates else t.reads.get(norm, 0.0)) for t in terms) / sum(
        t.cost for t in terms
    )
