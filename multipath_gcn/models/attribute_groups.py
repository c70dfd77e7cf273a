"""Groups of attributes, by how their correlation differs between training and unseen classes."""

import warnings

import numpy as np
import torch
from torch import Tensor

CHANGES = ("lost", "absolute")


def attribute_groups(
    train_attributes: Tensor, target_attributes: Tensor, groups: int, seed: int = 0, change: str = "lost"
) -> list[list[int]]:
    r"""Spectral co-clusters of :func:`correlation_change`: attributes whose correlation changes with the same others.

    The matrix of changes is read as the edges between A rows and A columns, and scikit-learn's
    ``SpectralCoclustering`` (`Dhillon 2001 <https://doi.org/10.1145/502512.502550>`_) cuts this graph; a group is the
    rows of one co-cluster. Attributes whose correlation with no other changes have no edge: they join the smallest
    group, one after the other.

    Args:
        train_attributes, target_attributes, change: see :func:`correlation_change`.
        groups: how many are asked for, 1 to A; clusters without a row are dropped, so that there may be fewer.
        seed: of k-means in the co-clustering.

    Returns:
        Every attribute in exactly one group; attributes ascend in a group, groups by their first attribute.

    Raises:
        ValueError: for ``groups`` out of range, or above 1 where no correlation changes.
    """
    delta = correlation_change(train_attributes, target_attributes, change).double().cpu().numpy()
    count = len(delta)
    if isinstance(groups, bool) or not isinstance(groups, int) or not 1 <= groups <= count:
        raise ValueError(f"groups must be an integer from 1 to {count}, the number of attributes, got {groups!r}")
    if groups == 1:
        return [list(range(count))]
    linked = np.flatnonzero(delta.sum(axis=1) > 0)
    if len(linked) == 0:
        raise ValueError(f"groups must be 1 where no correlation of two attributes changes ({change}), got {groups}")
    labels = _co_clusters(delta[np.ix_(linked, linked)], min(groups, len(linked)), seed)
    found = [linked[labels == label].tolist() for label in np.unique(labels)]
    for attribute in sorted(set(range(count)) - set(linked.tolist())):
        min(found, key=len).append(attribute)
    return sorted(sorted(group) for group in found)


def correlation_change(train_attributes: Tensor, target_attributes: Tensor, change: str = "lost") -> Tensor:
    r"""How the correlation of every two attributes differs from training examples to target classes.

    .. math::
        \Delta_{jk} = \max\big(0,\ \mathrm{sign}(r_{jk}) (r_{jk} - t_{jk})\big) \quad \text{(lost)}, \qquad
        \Delta_{jk} = |r_{jk} - t_{jk}| \quad \text{(absolute)}, \qquad \Delta_{jj} = 0

    with Pearson's correlations r over the rows of ``train_attributes`` and t over those of ``target_attributes``; an
    attribute that does not vary has correlation 0 with all. Lost is what a training correlation falls short of itself
    in the target classes, up to 2 where it turns round; one that grows there counts nothing.

    Args:
        train_attributes: [N, A], the attributes of every training example (those of its class).
        target_attributes: [K, A], a row per unseen class.
        change: ``"lost"`` or ``"absolute"``.

    Returns:
        float64 [A, A], symmetric, not negative, 0 on the diagonal.

    Raises:
        ValueError: for other shapes, or an unknown ``change``.
    """
    if change not in CHANGES:
        raise ValueError(f"change must be one of {', '.join(CHANGES)}, got {change!r}")
    if train_attributes.dim() != 2 or target_attributes.shape[1:] != train_attributes.shape[1:]:
        got = f"{tuple(train_attributes.shape)} and {tuple(target_attributes.shape)}"
        raise ValueError(f"train_attributes and target_attributes must be [N, A] and [K, A], got {got}")
    here, there = _correlation(train_attributes), _correlation(target_attributes)
    delta = (here - there).abs() if change == "absolute" else (here.sign() * (here - there)).clamp(min=0)
    return _without_rounding((delta + delta.T) / 2).fill_diagonal_(0)


def _correlation(rows: Tensor) -> Tensor:
    centred = rows.double() - rows.double().mean(dim=0)
    scale = centred.norm(dim=0)
    constant = scale <= 1e-9 * rows.double().norm(dim=0)  # 0 <= 0 as well
    unit = centred / scale.masked_fill(constant, torch.inf)
    return _without_rounding(unit.T @ unit)


def _without_rounding(values: Tensor) -> Tensor:
    """What is 0 but for rounding is 0: the sign of a correlation counts."""
    return values.masked_fill(values.abs() < 1e-9, 0.0)


def _co_clusters(delta: np.ndarray, clusters: int, seed: int) -> np.ndarray:
    from sklearn.cluster import SpectralCoclustering
    from sklearn.exceptions import ConvergenceWarning

    if clusters == 1:
        return np.zeros(len(delta), dtype=int)
    if clusters == len(delta):
        return np.arange(len(delta))
    with warnings.catch_warnings():  # of fewer different rows than clusters: those left empty are dropped
        warnings.simplefilter("ignore", ConvergenceWarning)
        return SpectralCoclustering(clusters, random_state=seed).fit(delta).row_labels_
