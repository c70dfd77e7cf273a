"""Channels that carry the same: one of each cluster stays, and what reads the others reads it."""

import copy
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.cluster.hierarchy import linkage
from scipy.spatial.distance import squareform
from torch import Tensor, nn

from multipath_gcn.prune.channels import ChannelGroup, Channels
from multipath_gcn.prune.measured import measured
from multipath_gcn.prune.plan import Plan
from multipath_gcn.prune.readers import Reader, readers
from multipath_gcn.prune.shift import shift_output, with_new_biases
from multipath_gcn.prune.signals import Moments, signals

METRICS = ("affine", "euclidean", "independent")
RIDGE = 1e-9  # over the mean variance, where covariances are solved for
MOMENTS = ("weights", "data")
LINKAGES = ("complete", "average")


@dataclass
class _Tree:
    """The clusters of a group's free channels: merge n joins two of them at ``heights[n]``."""

    group: ChannelGroup
    free: np.ndarray
    moments: Moments
    lost: np.ndarray  # [free, free]: (i, j): what is lost where i stands for j
    merges: np.ndarray  # scipy's linkage matrix
    readers: list[Reader]

    def clusters(self, count: int) -> list[list[int]]:
        """The units of every cluster after the first ``count`` merges."""
        members = {i: [int(unit)] for i, unit in enumerate(self.free)}
        for n, (a, b, _, _) in enumerate(self.merges[:count]):
            members[len(self.free) + n] = members.pop(int(a)) + members.pop(int(b))
        return list(members.values())

    def representative(self, cluster: list[int]) -> int:
        place = {int(unit): i for i, unit in enumerate(self.free)}
        at = [place[unit] for unit in cluster]
        return cluster[int(self.lost[np.ix_(at, at)].sum(1).argmin())]


class Similarity:
    r"""Channel similarity, after `"Exploiting Channel Similarity for Accelerating Deep Convolutional Neural Networks"
    <https://arxiv.org/abs/1908.02620>`_; what that paper leaves open is worked out here.

    Channels are random variables :math:`R_i` where the next layer reads them, of which batch norms and filters say mean
    and covariance (see :mod:`~multipath_gcn.prune.signals`); they take the model's input for white noise, which bags of
    words are not, and ``moments="data"`` counts them on ``batches`` instead. Their squared distance, as the next layer
    sees it, is

    .. math::
        D_{ij} = \min \big( \|W_i\|^2 \, \mathrm{Var}(R_i), \; \|W_j\|^2 \, \mathrm{Var}(R_j) \big)
                 (1 - \mathrm{corr}^2_{ij})

    over the mean energy :math:`\|W_c\|^2 E[R_c^2]` of its channels (``metric="affine"``): what is lost where one goes
    and the best affine function of the other takes its place. Clusters are agglomerated on :math:`\sqrt D`; one
    threshold for all layers decides how many stay. Of every cluster the member from which the others differ least
    stays. A layer that read channels J which go reads the nearest affine function of those that stay, S, in their
    place:

    .. math::
        A R_S + b, \qquad A = \mathrm{Cov}_{JS} \, \mathrm{Cov}_{SS}^{-1}, \quad b = E[R_J] - A \, E[R_S]

    Where its filters read parts of the channels only, the representative alone stands for a cluster.

    Args:
        model: is not changed.
        channels: of the model.
        batches: of what ``forward`` takes, without labels; not used for moments of weights.
        metric: ``"affine"``; ``"euclidean"``, :math:`E[(R_i - R_j)^2]` times the smaller :math:`\|W\|^2`; or
            ``"independent"``, that with no correlation, which is little more than a magnitude.
        linkage: ``"complete"``, where every pair in a cluster lies within the threshold, or ``"average"``.
        smoothness: the correlation of neighbouring places that covariances of weights are computed with.
        moments: ``"weights"``, data-free, or ``"data"``; channels of which no layer reads all keep those of weights.
        round_to: channels that are left are a multiple of this.

    Raises:
        ValueError: for an unknown metric, linkage or moments, moments of data without data, or a model without channels
            whose moments are known.
    """

    def __init__(
        self,
        model: nn.Module,
        channels: Channels,
        batches: Sequence[tuple[Any, ...]] | None = None,
        round_to: int = 1,
        metric: str = "affine",
        linkage: str = "complete",
        smoothness: float = 0.7,
        moments: str = "weights",
    ):
        if metric not in METRICS:
            raise ValueError(f"metric must be one of {list(METRICS)}, got {metric!r}")
        if linkage not in LINKAGES:
            raise ValueError(f"linkage must be one of {list(LINKAGES)}, got {linkage!r}")
        if moments not in MOMENTS:
            raise ValueError(f"moments must be one of {list(MOMENTS)}, got {moments!r}")
        if moments == "data" and not batches:
            raise ValueError("batches must hold calibration data for moments='data', got none")
        self.channels, self.round_to = channels, round_to
        self.left_alone: list[str] = []
        self.trees: list[_Tree] = []
        known = signals(model, channels, smoothness)
        if moments == "data":
            counted = measured(model, channels, list(batches))
            self.left_alone += [
                f"moments of {name!r} are those of weights: no layer reads it as a whole, in more places than channels"
                for name, found in known.items()
                if found is not None and name not in counted and len(channels.group(name).free) > 1
            ]
            known |= counted
        for group in channels.groups:
            if len(group.free) > 1:
                found = known[group.name]
                if found is None:
                    self.left_alone.append(f"moments of {group.name!r} are not known")
                else:
                    self.trees.append(_tree(group, found, readers(model, channels, group), metric, linkage))
        if not self.trees:
            raise ValueError(
                "model must have channels whose mean and deviation its weights say, "
                f"got none of {[group.name for group in channels.groups]}: "
                + "; ".join([*self.left_alone, *channels.reasons_held()])
            )
        self.heights = np.sort(np.concatenate([tree.merges[:, 2] for tree in self.trees]))

    def finish(self, model: nn.Module, level: int) -> tuple[nn.Module, Plan]:
        compensated = copy.deepcopy(model)
        self.compensate(compensated, level)
        return compensated, with_new_biases(self.plan(level), model, compensated, self.channels)

    def __len__(self) -> int:
        return len(self.heights)

    def plan(self, level: int) -> Plan:
        return self.channels.plan_units(
            {name: [j for j, _ in pairs] for name, pairs in self._pairs(level).items() if pairs}
        )

    def _pairs(self, level: int) -> dict[str, list[tuple[int, int]]]:
        """By group, (channel that goes, channel that stands for it)."""
        threshold = self.heights[level - 1] if level else -1.0
        found = {}
        for tree in self.trees:
            count = int((tree.merges[:, 2] <= threshold).sum())
            count = max(0, count - (-(len(tree.group) - count)) % self.round_to)
            pairs = {
                unit: stays
                for cluster in tree.clusters(count)
                for stays in [tree.representative(cluster)]
                for unit in cluster
                if unit != stays
            }
            found[tree.group.name] = [(unit, pairs[unit]) for unit in tree.group.spared(pairs)]
        return found

    @torch.no_grad()
    def compensate(self, model: nn.Module, level: int) -> None:
        """Lets what reads the channels that ``plan(level)`` removes read those that stand for them, in place.

        The constant part goes into the mean of a batch norm that follows, or into a bias. With zero padding it
        is inexact at the border.
        """
        pairs = self._pairs(level)
        for tree in self.trees:
            merged = pairs[tree.group.name]
            if not merged:
                continue
            mean, covariance = tree.moments
            gone = [unit for unit, _ in merged]
            stays = sorted(set(range(len(tree.group))) - set(gone))
            best = _best_affine(mean, covariance, gone, stays)
            for reader in readers(model, self.channels, tree.group):
                if reader.whole:
                    added = reader.substitute(gone, stays, *best)
                else:
                    added = sum(self._merged(reader, tree.moments, *pair) for pair in merged)
                shift_output(model, self.channels, reader.name, added)

    @staticmethod
    def _merged(reader: Reader, moments: Moments, gone: int, stays: int) -> Tensor:
        mean, covariance = moments
        variance = covariance[stays, stays]
        scale = covariance[gone, stays] / variance if variance > 0 else 0.0
        return reader.merge(gone, stays, scale, mean[gone] - scale * mean[stays], mean[gone])


def _best_affine(
    mean: np.ndarray, covariance: np.ndarray, gone: list[int], stays: list[int]
) -> tuple[np.ndarray, np.ndarray]:
    """Affine functions of channels that stay, nearest to those that go: scale [gone, stays], shift [gone]."""
    inner = covariance[np.ix_(stays, stays)]
    inner = inner + RIDGE * max(np.diag(inner).mean(), 1e-30) * np.eye(len(stays))
    scale = np.linalg.solve(inner, covariance[np.ix_(stays, gone)]).T
    return scale, mean[gone] - scale @ mean[stays]


def _tree(group: ChannelGroup, moments: Moments, read_by: Iterable[Reader], metric: str, method: str) -> _Tree:
    read_by, (mean, covariance) = list(read_by), moments
    energy = np.sum([reader.energy() for reader in read_by], axis=0) if read_by else np.ones(len(group))
    variance = np.maximum(np.diag(covariance), 0)
    usual = float((energy * (variance + mean**2)).mean()) or 1.0
    if metric == "affine":
        deviation = np.sqrt(np.where(variance > 0, variance, 1))
        left = 1 - np.clip(covariance / np.outer(deviation, deviation), -1, 1) ** 2
        lost = left * (energy * variance)
    else:
        cross = covariance if metric == "euclidean" else np.diag(variance)
        lost = (variance[:, None] + variance - 2 * cross + (mean[:, None] - mean) ** 2) * energy
    free = group.free
    lost = np.maximum(lost[np.ix_(free, free)] / usual, 0)
    np.fill_diagonal(lost, 0)
    merges = linkage(squareform(np.sqrt(np.minimum(lost, lost.T)), checks=False), method)
    return _Tree(group, free, moments, lost, merges, read_by)
