r"""Losses of zero-shot classification by compatibility of attribute scores with the attributes of classes.

All are functions of scores s [N, A], labels [N] and the attributes S [K, A] of the classes that are trained on, by
way of

.. math::
    F_{nc} = \langle s_n, S_c / \lVert S_c \rVert \rangle

Rows of S have unit length, so that a class of many attributes is not preferred; scores are as they come. A hinge is
:math:`h_{nc} = \max(0, m + F_{nc} - F_{ny_n})` for a wrong class c, with margin m. A loss is the mean over examples.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]


def compatibility(scores: Tensor, attributes: Tensor) -> Tensor:
    """F [N, K]: scores [N, A] against the rows of attributes [K, A], brought to unit length."""
    return scores @ F.normalize(attributes, dim=1, eps=0.0).T


def devise(scores: Tensor, labels: Tensor, attributes: Tensor, margin: float = 1.0) -> Tensor:
    r""":math:`\sum_{c \ne y} h_c`, of `DeViSE
    <https://papers.nips.cc/paper/5204-devise-a-deep-visual-semantic-embedding-model>`_ (Frome et al. 2013)."""
    return _hinges(scores, labels, attributes, margin).sum(dim=1).mean()


def ale(scores: Tensor, labels: Tensor, attributes: Tensor, margin: float = 1.0) -> Tensor:
    r""":math:`\frac{l_r}{r} \sum_{c \ne y} h_c` with r the number of hinges above 0 and :math:`l_r = \sum_{i=1}^r 1/i`,
    of `ALE <https://arxiv.org/abs/1503.08677>`_ (Akata et al. 2016): what stands at the top of the ranks counts most.
    """
    hinges = _hinges(scores, labels, attributes, margin)
    places = torch.arange(1, hinges.shape[1] + 1, device=hinges.device, dtype=hinges.dtype)
    weights = torch.cat([hinges.new_zeros(1), places.reciprocal().cumsum(0) / places])  # of r = 0, 1, ..., K
    return (weights[(hinges > 0).sum(dim=1)] * hinges.sum(dim=1)).mean()


def sje(scores: Tensor, labels: Tensor, attributes: Tensor, margin: float = 1.0) -> Tensor:
    r""":math:`\max_{c \ne y} h_c`, of `SJE <https://arxiv.org/abs/1409.8403>`_ (Akata et al. 2015)."""
    return _hinges(scores, labels, attributes, margin).amax(dim=1).mean()


def eszsl(scores: Tensor, labels: Tensor, attributes: Tensor, penalty: float = 0.0) -> Tensor:
    r""":math:`\lVert F - Y \rVert^2 + \lambda \lVert s \rVert^2`, Y being 1 at the label and -1 elsewhere, of `ESZSL
    <https://proceedings.mlr.press/v37/romera-paredes15.html>`_ (Romera-Paredes and Torr 2015).

    Its other two regularisers, :math:`\gamma \lVert V S^T \rVert^2 + \gamma \lambda \lVert V \rVert^2`, are of the
    weights V of a linear map and have no counterpart in terms of scores; decay of the weights can stand for them.
    Without that and with no penalty, as it is by default, this is the squared loss alone.

    Args:
        penalty: :math:`\lambda`, 0 or more.
    """
    targets = 2 * F.one_hot(labels, len(attributes)).to(scores.dtype) - 1
    squares = (compatibility(scores, attributes) - targets).square().sum(dim=1)
    return (squares + penalty * scores.square().sum(dim=1)).mean()


def softmax(scores: Tensor, labels: Tensor, attributes: Tensor) -> Tensor:
    """Cross entropy, compatibilities being the logits."""
    return F.cross_entropy(compatibility(scores, attributes), labels)


LOSSES: dict[str, Loss] = {"ale": ale, "devise": devise, "eszsl": eszsl, "sje": sje, "softmax": softmax}


def eszsl_closed_form(
    x: Tensor, labels: Tensor, attributes: Tensor, gamma: float = 1.0, penalty: float = 1.0
) -> Tensor:
    r"""The linear map of ESZSL, attribute scores :math:`x V`, without training.

    .. math::
        V = (X^T X + \gamma I)^{-1} \, X^T Y S \, (S^T S + \lambda I)^{-1}

    minimises :math:`\lVert X V S^T - Y \rVert^2 + \gamma \lVert V S^T \rVert^2 + \lambda \lVert X V \rVert^2 +
    \gamma \lambda \lVert V \rVert^2`, rows of S of unit length.

    Args:
        x: features X [N, F].
        labels, attributes: as of the losses.
        gamma, penalty: :math:`\gamma` and :math:`\lambda`, above 0.

    Returns:
        V [F, A].
    """
    unit = F.normalize(attributes, dim=1, eps=0.0)
    targets = 2 * F.one_hot(labels, len(attributes)).to(x.dtype) - 1
    of_x, of_s = (m.T @ m + k * torch.eye(m.shape[1]).to(m) for m, k in ((x, gamma), (unit, penalty)))
    left = torch.linalg.solve(of_x, x.T @ targets @ unit)
    return torch.linalg.solve(of_s, left, left=False)


def _hinges(scores: Tensor, labels: Tensor, attributes: Tensor, margin: float) -> Tensor:
    """[N, K], 0 at the label."""
    found = compatibility(scores, attributes)
    hinges = (margin + found - found.gather(1, labels[:, None])).clamp(min=0)
    return hinges.scatter(1, labels[:, None], 0.0)
