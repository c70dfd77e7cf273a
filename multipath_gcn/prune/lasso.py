"""Channels from which the next layer's outputs can be rebuilt, and the weights that rebuild them."""

import copy
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import Lasso
from torch import Tensor, nn

from multipath_gcn.prune.channels import ChannelGroup, Channels
from multipath_gcn.prune.magnitude import at_random, magnitude
from multipath_gcn.prune.order import Order
from multipath_gcn.prune.plan import Plan
from multipath_gcn.prune.readers import Reader, readers
from multipath_gcn.prune.shift import bias_of, shift_output, with_new_biases
from multipath_gcn.prune.sites import Site, find_sites, uses
from multipath_gcn.prune.statistics import Moments, outputs, patches, places, sampled
from multipath_gcn.prune.verify import copied

SELECTIONS = ("lasso", "l1", "random")


@dataclass(frozen=True)
class Reconstruction:
    """Options of :func:`reconstruct`.

    Args:
        select: ``"lasso"``, ``"l1"`` (the largest filters stay) or ``"random"``.
        least_squares: whether what reads the channels is fitted anew; otherwise it keeps its weights.
        shortcut_error: whether a layer at the end of a residual branch also rebuilds what earlier removals changed
            in the other branch.
        places: per image that are sampled from every layer's output.
        ridge: over the mean of the diagonal, added to it before weights are solved for.
        seed: of the places, and of a random selection.
    """

    select: str = "lasso"
    least_squares: bool = True
    shortcut_error: bool = True
    places: int = 10
    ridge: float = 1e-4
    seed: int = 0

    def __post_init__(self):
        if self.select not in SELECTIONS:
            raise ValueError(f"select must be one of {list(SELECTIONS)}, got {self.select!r}")
        if self.places < 1 or not 0 <= self.ridge < 1:
            raise ValueError(f"places must be at least 1 and ridge in [0, 1), got {self.places} and {self.ridge}")


def reconstruct(
    model: nn.Module,
    channels: Channels,
    keep: Mapping[str, int],
    batches: Sequence[tuple[Any, ...]],
    options: Reconstruction | None = None,
) -> tuple[nn.Module, Plan]:
    r"""Channel selection by LASSO and least squares, from
    `"Channel Pruning for Accelerating Very Deep Neural Networks" <https://arxiv.org/abs/1707.06168>`_.

    Group by group, in the order of the network, with :math:`X_i` what the layer that reads channel i is given by the
    network pruned so far and :math:`Y` what it gave in the original network:

    .. math::
        \hat\beta &= \arg\min_\beta \big\| Y - \textstyle\sum_i \beta_i X_i W_i^\top \big\|^2
                     + \lambda \|\beta\|_1, \\
        W' &= \arg\min_{W'} \big\| Y - \textstyle\sum_{i: \hat\beta_i \ne 0} X_i W_i'^\top - b' \big\|^2

    with the :math:`\lambda` at which as many channels are left as are wanted, found by bisection. Both problems are
    solved from second moments, so that no sample is left out and memory does not grow with their number. At the end
    of a residual branch the target is :math:`Y + (Y_1 - Y_1')`, the error of the shortcut included.

    Args:
        model: is not changed.
        channels: of the model.
        keep: for groups by name, how many channels stay.
        batches: calibration data, what ``forward`` takes, all of one size.
        options: what is selected and fitted how. A group that is read in parts only, by grouped convolutions or
            windows, is chosen by L1 in the place of LASSO, and nothing is fitted.

    Returns:
        A copy of the model with the new weights, from which nothing is removed yet, and the plan of the removal.

    Raises:
        ValueError: for no batches, batches of different sizes, or a number of channels that cannot stay.
    """
    options = options or Reconstruction()
    batches = _checked(batches)
    sites = find_sites(model, batches[0])
    work, removed, shifted = copy.deepcopy(model), {}, {}
    for group in channels.groups:
        if group.name not in keep or keep[group.name] == len(group):
            continue
        count, free = keep[group.name], set(group.free.tolist())
        if not max(1, len(group) - len(free)) <= count < len(group):
            raise ValueError(
                f"keep[{group.name!r}] must lie in {max(1, len(group) - len(free))}..{len(group)}, got {count}"
            )
        read_by = [reader for reader in readers(work, channels, group) if reader.name in sites]
        moments = _moments(model, work, read_by, sites, batches, options)
        stays = _selected(work, channels, group, read_by, moments, count, options)
        gone = sorted(free - set(stays))
        for reader in read_by:
            if options.least_squares:
                _fit(work, channels, reader, moments[reader.name], stays, options.ridge, shifted)
            _silence(reader, gone)
        removed[group.name] = gone
    return work, with_new_biases(channels.plan_units(removed), model, work, channels)


class LassoReconstruction:
    """:func:`reconstruct` as a method of :func:`~multipath_gcn.prune.compress`: the same part of every layer goes.

    Args:
        batches: calibration data, all of one size.
        round_to: channels that are left are a multiple of this.
        options: those of :class:`Reconstruction`.
    """

    left_alone = ()

    def __init__(
        self,
        model: nn.Module,
        channels: Channels,
        batches: Sequence[tuple[Any, ...]] | None = None,
        round_to: int = 1,
        **options: Any,
    ):
        self.channels, self.batches, self.options = channels, _checked(batches or ()), Reconstruction(**options)
        find_sites(model, self.batches[0])  # now: data of the wrong shape is refused before anything is computed
        self._order = Order(channels, at_random(channels), "layer", round_to)

    def __len__(self) -> int:
        return len(self._order)

    def plan(self, level: int) -> Plan:
        return self._order.plan(level)

    def finish(self, model: nn.Module, level: int) -> tuple[nn.Module, Plan]:
        removed = self.plan(level).removed
        keep = {group.name: len(group) - len(removed.get(group.name, ())) for group in self.channels.groups}
        return reconstruct(model, self.channels, keep, self.batches, self.options)


def _checked(batches: Iterable[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    batches = list(batches)
    if not batches:
        raise ValueError("batches must hold calibration data for prune=lasso, got none")
    sizes = {len(batch[0]) for batch in batches if isinstance(batch[0], Tensor)}
    if len(sizes) > 1:
        raise ValueError(f"batches must have one size, got {sorted(sizes)}")
    return batches


def _moments(
    original: nn.Module,
    work: nn.Module,
    read_by: list[Reader],
    sites: Mapping[str, Site],
    batches: list[tuple],
    options: Reconstruction,
) -> dict[str, Moments]:
    generator = torch.Generator().manual_seed(options.seed)
    found: dict[str, Moments] = {}
    names = {reader.name for reader in read_by}
    for batch in batches:
        before, now = uses(original, copied(batch), names), uses(work, copied(batch), names)
        for reader in read_by:
            site, x, y = sites[reader.name], now[reader.name].x, before[reader.name].y
            if options.shortcut_error and site.summed:
                y = y + site.before_norm(work, before[reader.name].other - now[reader.name].other)
            weight = reader.weight
            moments = found.setdefault(reader.name, Moments.none(weight[0].numel(), len(weight), x.device))
            if site.geometry is None:
                moments.add(*sampled([x, y], options.places * len(x), generator))
            else:
                at = places(y, options.places, generator)
                moments.add(patches(x, at, site.geometry), outputs(y, at))
    return found


def _selected(
    work: nn.Module,
    channels: Channels,
    group: ChannelGroup,
    read_by: list[Reader],
    moments: Mapping[str, Moments],
    count: int,
    options: Reconstruction,
) -> list[int]:
    free = group.free
    must = [i for i in range(len(group)) if group.held[i] is not None]
    wanted = count - len(must)
    if options.select == "random":
        generator = np.random.default_rng([options.seed, *group.name.encode()])
        return [*must, *generator.permutation(free)[:wanted].tolist()]
    if options.select == "l1" or not read_by:
        scores = magnitude(work, channels, p=1)[group.name]
        return [*must, *free[np.argsort(-scores[free], kind="stable")][:wanted].tolist()]
    gram, target = np.zeros((len(group), len(group))), np.zeros(len(group))
    for reader in read_by:
        g, t = _contributions(reader, moments[reader.name])
        gram, target = gram + g, target + t
    target -= gram[:, must].sum(1)
    return [*must, *free[_lasso(gram[np.ix_(free, free)], target[free], wanted)].tolist()]


def _contributions(reader: Reader, moments: Moments) -> tuple[np.ndarray, np.ndarray]:
    """ZᵀZ and Zᵀy of Z[:, i] = X_i W_iᵀ over all samples and outputs: sums over blocks of the second moments."""
    xx, xy = (part.cpu() for part in moments.centred)
    weight = reader.weight.double().flatten(1).cpu()  # [O, C k k]
    unit = _unit_of_entry(reader)
    known = unit >= 0
    others = torch.from_numpy(np.flatnonzero(~known))
    xy = xy - xx[:, others] @ weight[:, others].T  # without what other groups contribute
    index = torch.from_numpy(np.where(known, unit, 0))
    mask = torch.from_numpy(known).double()
    units = len(reader.columns)
    products = xx * (weight.T @ weight) * mask[:, None] * mask[None]
    rows = torch.zeros(units, len(unit), dtype=torch.float64).index_add_(0, index, products)
    gram = torch.zeros(units, units, dtype=torch.float64).index_add_(1, index, rows)
    target = torch.zeros(units, dtype=torch.float64).index_add_(0, index, (xy * weight.T).sum(1) * mask)
    return gram.numpy(), target.numpy()


def _unit_of_entry(reader: Reader) -> np.ndarray:
    """For every entry of a filter the unit that it reads, or -1."""
    k = reader.weight[0, 0].numel()
    unit = np.full(reader.weight.size(1), -1)
    for u, (_, at) in enumerate(reader.columns):
        unit[at.numpy()] = u
    return unit.repeat(k)


def _lasso(gram: np.ndarray, target: np.ndarray, count: int) -> np.ndarray:
    """The ``count`` channels that stay longest as the penalty grows."""
    values, vectors = np.linalg.eigh(gram)
    if values.max() <= 0 or count >= len(target):  # nothing is contributed, or all of it wanted
        return np.arange(count)
    good = values > 1e-10 * max(values.max(), 1e-300)
    root = np.sqrt(values[good])
    x, y = root[:, None] * vectors[:, good].T, (vectors[:, good].T @ target) / root  # the same problem in C rows
    model = Lasso(alpha=1.0, fit_intercept=False, warm_start=True, selection="cyclic", max_iter=2000, tol=1e-4)
    low, high = 0.0, float(np.abs(target).max()) / len(x)
    best = None
    for _ in range(40):
        model.alpha = (low + high) / 2
        with warnings.catch_warnings():  # which channels stay is asked for, not the last digits of their factors
            warnings.simplefilter("ignore", ConvergenceWarning)
            found = model.fit(x, y).coef_.copy()
        kept = int((found != 0).sum())
        if kept >= count and (best is None or kept <= (best != 0).sum()):
            best = found
        if kept == count:
            break
        low, high = (model.alpha, high) if kept > count else (low, model.alpha)
    best = np.zeros(len(target)) if best is None else best
    # Ties, and channels that no penalty brings in, by what they contribute alone.
    alone = target**2 / np.maximum(np.diag(gram), 1e-300)
    size = np.abs(best) * np.sqrt(np.maximum(np.diag(gram), 0))
    return np.lexsort((-alone, -size))[:count]


def _fit(
    work: nn.Module,
    channels: Channels,
    reader: Reader,
    moments: Moments,
    stays: list[int],
    ridge: float,
    shifted: dict[str, Tensor],
) -> None:
    """``shifted``: what norms after the weights have been given already of earlier fits, by the weights' names."""
    xx, xy = moments.centred
    unit = _unit_of_entry(reader)
    kept = torch.from_numpy(np.flatnonzero((unit < 0) | np.isin(unit, stays))).to(xx.device)
    a = xx[kept][:, kept]
    penalty = ridge * a.diagonal().mean() + 1e-12
    a.diagonal().add_(penalty)
    # Towards the weights that are there: where data says nothing they stay.
    old = reader.weight.double().flatten(1)[:, kept].T
    new = torch.linalg.solve(a, xy[kept] + penalty * old)
    mean_x, mean_y = moments.x[kept] / moments.count, moments.y / moments.count
    bias = bias_of(work, reader.name)
    now = 0 if bias is None else bias.detach().double()
    now = now + shifted.get(reader.name, 0)
    flat = reader.weight.flatten(1).clone()
    flat[:, kept] = new.T.to(flat.dtype)
    reader.weight.copy_(flat.view(reader.weight.shape))
    added = mean_y - new.T @ mean_x - now
    if shift_output(work, channels, reader.name, added):
        shifted[reader.name] = shifted.get(reader.name, 0) + added


def _silence(reader: Reader, gone: list[int]) -> None:
    with torch.no_grad():
        for unit in gone:
            rows, at = reader.columns[unit]
            if rows is None:
                reader.weight[:, at] = 0
            else:
                reader.weight[rows, at] = 0
