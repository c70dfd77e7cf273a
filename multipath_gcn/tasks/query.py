r"""Which label to ask for next: how much it would tell hypotheses apart that have been found so far.

Of M hypotheses h, all alike probable, every candidate x has the probabilities p_h(x) [K] and the vote of h, their
largest. V_y(x) are the hypotheses that vote y at x, q_y(x) = |V_y(x)| / M their share: the version space after the
answer y, and what the committee expects of that answer. What a set V of hypotheses disagrees about is measured on a
sample X of the pool.

`"Effective Version Space Reduction for Convolutional Neural Networks" <https://arxiv.org/abs/2006.12456>`_ sets mass
against diameter, and introduces Gibbs-vote disagreement. The estimators here are ours, after its abstract.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

Query = Callable[[Tensor, Tensor], Tensor]


def random(candidates: Tensor, sample: Tensor) -> Tensor:
    """No preference."""
    return candidates.new_zeros(candidates.size(1))


def entropy(candidates: Tensor, sample: Tensor) -> Tensor:
    r""":math:`H(\bar p(x))`, of the mean probabilities (Settles 2009, "uncertainty sampling")."""
    return _entropy(candidates.mean(0))


def bald(candidates: Tensor, sample: Tensor) -> Tensor:
    r""":math:`H(\bar p(x)) - \frac1M \sum_h H(p_h(x))`, `BALD <https://arxiv.org/abs/1112.5745>`_."""
    return _entropy(candidates.mean(0)) - _entropy(candidates).mean(0)


def prior_mass(candidates: Tensor, sample: Tensor) -> Tensor:
    r""":math:`1 - \sum_y q_y(x)^2`, the share of hypotheses that the answer is expected to rule out."""
    return 1 - _votes(candidates).mean(0).square().sum(-1)


def diameter(candidates: Tensor, sample: Tensor) -> Tensor:
    r""":math:`-\sum_y q_y(x) \max_{h, h' \in V_y(x)} d(h, h')`, d the share of X on which two hypotheses differ: what
    is expected to be left of the largest disagreement."""
    votes = _votes(sample)  # [M, n, K]
    agreement = torch.einsum("hnk,gnk->hg", votes, votes) / votes.size(1)

    def of_sets(sets: Tensor) -> Tensor:
        both = sets[:, :, None] & sets[:, None, :]
        return torch.where(both, 1 - agreement, 0).flatten(1).amax(1)

    return -_expected(candidates, of_sets)


def gibbs_vote(candidates: Tensor, sample: Tensor) -> Tensor:
    r""":math:`-\sum_y q_y(x) \, G(V_y(x))` with the Gibbs-vote disagreement
    :math:`G(V) = \frac{1}{|X|} \sum_{x' \in X} \frac{1}{|V|} |\{h \in V : h(x') \neq \mathrm{vote}_V(x')\}|`, how often
    a
    hypothesis drawn from V differs from the vote of V: what is expected to be left of it."""
    votes = _votes(sample)

    def of_sets(sets: Tensor) -> Tensor:
        counts = torch.einsum("sh,hnk->snk", sets.to(votes.dtype), votes)
        return 1 - counts.amax(-1).mean(1) / sets.sum(1)

    return -_expected(candidates, of_sets)


QUERIES: dict[str, Query] = {
    query.__name__: query for query in (random, entropy, bald, prior_mass, diameter, gibbs_vote)
}


def choose(name: str, count: int, candidates: Tensor, sample: Tensor) -> Tensor:
    """Positions of the ``count`` candidates that tell most, ties in random order.

    Args:
        name: of a query of this file.
        candidates: probabilities [M, n, K].
        sample: probabilities [M, n', K].
    """
    worth = QUERIES[name](candidates.double(), sample.double())
    order = torch.randperm(worth.numel()).to(worth.device)
    return order[worth[order].argsort(descending=True, stable=True)[:count]]


def _entropy(p: Tensor) -> Tensor:
    return -torch.special.xlogy(p, p).sum(-1)


def _votes(p: Tensor) -> Tensor:
    """One-hot, of the type of ``p``."""
    return F.one_hot(p.argmax(-1), p.size(-1)).to(p.dtype)


def _expected(candidates: Tensor, of_sets: Callable[[Tensor], Tensor]) -> Tensor:
    """The mean over answers of a measure of the hypotheses that are left; equal sets, of which there are few, once."""
    votes = _votes(candidates)  # [M, n, K]
    sets = votes.permute(1, 2, 0).flatten(0, 1).bool()  # of every candidate and answer, [n K, M]
    distinct, which = sets.unique(dim=0, return_inverse=True)
    filled = distinct.any(1)
    measured = votes.new_zeros(len(distinct))
    measured[filled] = of_sets(distinct[filled]).to(measured.dtype)
    return (measured[which].unflatten(0, votes.shape[1:]) * votes.mean(0)).sum(-1)
