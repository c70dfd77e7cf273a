r"""Mean and covariance of the channels of a model where they are read, from its weights alone.

Group by group, in the order of the run. With :math:`\mu_x, \Sigma_x` of what a layer reads (zero and the identity for
the input of the model) and :math:`S_{pq} = r^{|p - q|}` the correlation of two places of a window at that distance:

.. math::
    \mu_y = b + \sum_p W_p \, \mu_x, \qquad
    \Sigma_y = \sum_{p, q} S_{pq} \, W_p \, \Sigma_x \, W_q^\top

A batch norm keeps the correlations and sets mean :math:`\beta` and deviation :math:`|\gamma|`, with the signs of
:math:`\gamma`; layers that are added are taken for independent; :mod:`.moments` has ReLU. A depthwise filter is a
:math:`W` that reads one channel.
"""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn

from multipath_gcn.prune.channels import ChannelGroup, Channels
from multipath_gcn.prune.labels import Event
from multipath_gcn.prune.moments import rectified
from multipath_gcn.prune.readers import channels_read

Moments = tuple[np.ndarray, np.ndarray]


def signals(
    model: nn.Module, channels: Channels, smoothness: float = 0.7, in_one_state: bool = False
) -> dict[str, Moments | None]:
    """Mean [C] and covariance [C, C] of every group of channels, by its name, averaged over where it is read.

    Args:
        model: whose weights are read.
        channels: of the model.
        smoothness: r, the correlation of neighbouring places, in [0, 1).
        in_one_state: None also for groups that are read before and after something else happens to them.

    Returns:
        None for a group of which weights do not say it, such as one that several filters make of one channel.

    Raises:
        ValueError: for ``smoothness`` out of range.
    """
    if not 0 <= smoothness < 1:
        raise ValueError(f"smoothness must lie in [0, 1), got {smoothness!r}")
    found = _Signals(model, channels, smoothness)
    for group in channels.groups:
        found.known[group.name] = found.of(group)
    if in_one_state:
        found.known |= dict.fromkeys(found.read_in_several_states)
    return found.known


class _Signals:
    def __init__(self, model: nn.Module, channels: Channels, smoothness: float):
        self.model, self.channels, self.smoothness = model, channels, smoothness
        self.tensors = dict([*model.named_parameters(), *model.named_buffers()])
        self.known: dict[str, Moments | None] = {}
        self.read_in_several_states: set[str] = set()

    def of(self, group: ChannelGroup) -> Moments | None:
        """The mean over the places where it is read, such as the blocks of a residual network."""
        count = len(group)
        total, part = _nothing(count), None  # part: of the layer last seen, not added yet
        known, at_reads, since = True, [], True
        for event, units in self.channels.happening(group):
            if event.kind == "read":
                if not known:
                    return None
                if since:
                    at_reads.append(_sum(total, part))
                since = False
                continue
            since = since or event.kind not in ("propagated", "added")
            if event.kind == "produced":
                total, part = _sum(total, part), _placed(self._linear(event), units, count)
            elif event.kind == "normalised":
                if part is None:  # of the sum
                    total, part = _nothing(count), total
                part = self._normalised(event, units, part)
            elif event.kind == "rectified":
                total, part = rectified(*_sum(total, part)), None
            elif event.kind == "depthwise":
                known = known and len(set(units.tolist())) == len(units)  # several filters of one channel: not known
                if known:
                    total, part = self._depthwise(event, units, _sum(total, part)), None
            elif event.kind == "changed":
                known = False
        if not at_reads:
            return None
        if len(at_reads) > 1:
            self.read_in_several_states.add(group.name)
        mean, covariance = (sum(parts) / len(at_reads) for parts in zip(*at_reads, strict=True))
        return (mean, covariance) if np.diag(covariance).any() else None

    def _linear(self, event: Event) -> Moments:
        """Of the rows of the weight that an operator multiplies by, or of several, joined."""
        weights = [self._dense(owner.name) for owner in self.channels.owners_in(event.ids)]
        width = max(weight.shape[1] for weight, _ in weights)
        rows = np.concatenate([np.pad(w, ((0, 0), (0, width - w.shape[1]), (0, 0))) for w, _ in weights])
        mean, covariance = next((read for _, read in weights if read is not None), (np.zeros(width), np.eye(width)))
        bias = np.concatenate([self._bias(owner.name) for owner in self.channels.owners_in(event.ids)])
        seen = np.einsum("oip,ij,pq->ojq", rows, covariance, self._places(event), optimize=True)
        return bias + rows.sum(2) @ mean, seen.reshape(len(rows), -1) @ rows.reshape(len(rows), -1).T

    def _dense(self, name: str) -> tuple[np.ndarray, Moments | None]:
        """A weight as [O, C, places], and the moments of what it reads, where they are known."""
        tensor = self.tensors[name].detach().double()
        if tensor.dim() < 2:
            tensor = tensor[:, None]
        weight = tensor.movedim(self.channels.produced_dim(name), 0).numpy(force=True)
        weight = weight.reshape(*weight.shape[:2], -1)
        read = self.channels.reads.get(name)
        if read is None:
            return weight, self._moments_at(self.channels.columns_of(name))
        dense = np.zeros((len(weight), read.channels, weight.shape[2]))
        at = channels_read(self.model, name, read)
        np.put_along_axis(dense, at[..., None].repeat(weight.shape[2], 2), weight, 1)
        return dense, self._moments_at(
            None if not isinstance(read.ids, Tensor) else self.channels.label[read.ids.numpy()]
        )

    def _moments_at(self, classes: np.ndarray | None) -> Moments | None:
        """Of channels by their classes; of a group that is not known yet the mean is 0 and the covariance 1."""
        if classes is None:
            return None
        mean, covariance = np.zeros(len(classes)), np.eye(len(classes))
        for group in self.channels.groups:
            moments = self.known.get(group.name)
            if moments is not None:
                number = {int(c): n for n, c in enumerate(group.units)}
                at = [i for i, c in enumerate(classes) if int(c) in number]
                units = [number[int(classes[i])] for i in at]
                mean[at] = moments[0][units]
                covariance[np.ix_(at, at)] = moments[1][np.ix_(units, units)]
        return mean, covariance

    def _depthwise(self, event: Event, units: np.ndarray, moments: Moments) -> Moments:
        count = len(moments[0])
        weight = self.tensors[event.names[0]].detach().double().flatten(1).numpy(force=True)
        filters, bias = np.zeros((count, weight.shape[1])), np.zeros(count)
        filters[units], bias[units] = weight, self._bias(event.names[0])
        mean, covariance = moments
        return bias + mean * filters.sum(1), covariance * (filters @ self._places(event) @ filters.T)

    def _normalised(self, event: Event, units: np.ndarray, moments: Moments) -> Moments:
        """Of the positions that a norm of this and other groups has for this one."""
        mine = units >= 0
        scale, shift = (np.full(len(moments[0]), default) for default in (1.0, 0.0))
        for values, name in ((scale, event.names[0]), (shift, event.names[1])):
            if name is not None:
                values[units[mine]] = self.tensors[name].detach().double().numpy(force=True)[mine]
        return _normalised(moments, scale, shift)

    def _bias(self, weight: str) -> np.ndarray:
        path, _, name = weight.rpartition("weight")
        bias = self.tensors.get(f"{path}bias")
        size = self.tensors[weight].size(self.channels.produced_dim(weight))
        if (
            bias is not None and name.isdigit()
        ):  # of a layer in uneven groups, whose bias is in the order of its outputs
            first = sum(len(self.tensors[f"{path}weight{g}"]) for g in range(int(name)))
            order = self.tensors.get(f"{path}order")
            filters = bias if order is None else bias[order.argsort()]
            bias = filters[first : first + size]
        return np.zeros(size) if bias is None or len(bias) != size else bias.detach().double().numpy(force=True)

    def _places(self, event: Event) -> np.ndarray:
        weight = self.tensors[self.channels.owners_in(event.ids)[0].name]
        kernel = torch.tensor(list(_positions(weight.shape[2:])), dtype=torch.double)
        return (self.smoothness ** torch.cdist(kernel, kernel)).numpy()


def _positions(kernel: torch.Size) -> Iterator[tuple[int, ...]]:
    return iter(np.ndindex(*kernel)) if kernel else iter([(0,)])


def _nothing(count: int) -> Moments:
    return np.zeros(count), np.zeros((count, count))


def _placed(moments: Moments, units: np.ndarray, count: int) -> Moments:
    mean, covariance = _nothing(count)
    mean[units] = moments[0]
    covariance[np.ix_(units, units)] = moments[1]
    return mean, covariance


def _normalised(moments: Moments, scale: np.ndarray, shift: np.ndarray) -> Moments:
    covariance = moments[1]
    deviation = np.sqrt(np.maximum(np.diag(covariance), 1e-300))
    return shift, covariance / np.outer(deviation, deviation) * np.outer(scale, scale)


def _sum(a: Moments, b: Moments | None) -> Moments:
    return a if b is None else (a[0] + b[0], a[1] + b[1])
