"""Filters that read much the same channels become a group: which channels each group may go without."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Grouping:
    """Clusters of the filters of one weight, and what they read.

    Args:
        filters: for every group the numbers of its filters, ascending; together each filter once.
        inputs: for every group the numbers of the channels that some of its filters reads, ascending.
    """

    filters: tuple[tuple[int, ...], ...]
    inputs: tuple[tuple[int, ...], ...]

    @property
    def labels(self) -> np.ndarray:
        """For every filter the number of its group."""
        found = np.empty(sum(map(len, self.filters)), int)
        for g, rows in enumerate(self.filters):
            found[list(rows)] = g
        return found

    @property
    def pairs(self) -> int:
        """Filter and channel that meet in a group: multiply-adds are these times places times kernel size."""
        return sum(len(rows) * len(columns) for rows, columns in zip(self.filters, self.inputs, strict=True))


def importance(weight: Tensor) -> Tensor:
    r""":math:`v_{ij} = \sum_{h,w} |W_{ijhw}|`: how much filter i reads of channel j, [O, C]."""
    return weight.detach().abs().flatten(2).sum(2) if weight.dim() > 2 else weight.detach().abs()


def self_group(weight: Tensor, sparsity: float, groups: int = 16, seed: int = 0) -> tuple[Tensor, Grouping]:
    r"""The grouping step of `SG-CNN <https://arxiv.org/abs/2009.13803>`_, after its authors' code.

    K-means clusters the importance vectors :math:`v_i` of the filters. With :math:`c_g` the centroid of cluster g, the
    threshold :math:`t` is the percentile ``100 * sparsity`` of :math:`c_{g(i)j}` over all filters i and channels j that
    filter i still reads, 0 for the others, so that a cluster counts as often as it has filters. All filters of a
    cluster go without the channels where :math:`c_{gj} \le t`; what was zero stays so.

    Args:
        weight: (O, C, \*), whose kernels that are wholly zero are off already.
        sparsity: part of the kernels that are off afterwards, in [0, 1); more where values are equal.
        groups: number of clusters, at most O.
        seed: of k-means.

    Returns:
        A mask [O, C] of the kernels that stay, and the groups. A filter may have nothing left, and is constant then;
        a group of such filters has no inputs.

    Raises:
        ValueError: for ``sparsity`` out of range, fewer than one or more than O ``groups``, or a weight of which
            nothing would be left.
    """
    from sklearn.cluster import KMeans

    _check_sparsity(sparsity)
    if not 1 <= groups <= len(weight):
        raise ValueError(f"groups must lie in 1..{len(weight)}, the number of filters, got {groups}")
    vectors = importance(weight).double().numpy(force=True)
    clusters = min(groups, len(np.unique(vectors, axis=0)))  # k-means wants no more than there are different vectors
    found = KMeans(clusters, init="random", n_init=10, max_iter=300, random_state=seed).fit(vectors)
    return by_clusters(weight, found.labels_, sparsity)


def by_clusters(weight: Tensor, labels: np.ndarray, sparsity: float) -> tuple[Tensor, Grouping]:
    """The second half of :func:`self_group`, for clusters found otherwise: by label, for every filter."""
    _check_sparsity(sparsity)
    vectors = importance(weight).double().numpy(force=True)
    alive = vectors > 0
    means = {label: vectors[labels == label].mean(0) for label in np.unique(labels)}
    centroids = np.stack([means[label] for label in labels]) * alive
    threshold = np.percentile(centroids, 100 * sparsity) if sparsity else -1.0
    mask = (centroids > threshold) & alive
    if not mask.any():
        raise ValueError(
            f"sparsity must leave something of a weight of {list(weight.shape)}, {sparsity} leaves nothing"
        )
    return torch.from_numpy(mask).to(weight.device), grouping(mask, labels)


def _check_sparsity(sparsity: float) -> None:
    if not 0 <= sparsity < 1:
        raise ValueError(f"sparsity must lie in [0, 1), got {sparsity!r}")


def grouping(mask: np.ndarray, labels: np.ndarray) -> Grouping:
    """Clusters of filters by their labels, the first filter's first, and the channels that any of each reads."""
    order = dict.fromkeys(labels.tolist())
    filters = [np.flatnonzero(labels == label) for label in order]
    return Grouping(
        tuple(tuple(rows.tolist()) for rows in filters),
        tuple(tuple(np.flatnonzero(mask[rows].any(0)).tolist()) for rows in filters),
    )
