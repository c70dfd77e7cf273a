"""Ours and five stock ways to compute a channel transform, as functions of an input and a weight with gradients.

    (a) dense      1x1 convolution / linear of all channels (another transform: what windows replace)
    (b) grouped    blocked groups of equal width (another transform, of the same cost as ours)
    (c) gather     index_select of every distinct window, then a grouped 1x1 convolution
    (d) strided    the first channels appended (cyclic pad), overlapping strided view, batched matrix product
    (e) scatter    the weight scattered into a masked dense one, then (a); its gradient is gathered back

Every way takes the input in the memory format named by `layout` and returns the output in that format, with one
freedom: a peer keeps its filters, and so its output channels, in the order that suits it, since another order of
filters costs nothing in a network. Where there is no grouped linear in PyTorch (rows), (b) and (c) are batched matrix
products, (b) also one linear per group; where a peer has several forms, all are listed and the faster one is timed.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from multipath_gcn import ops

LAYOUTS = ("rows", "planar", "channels_last")


@dataclass(frozen=True)
class Way:
    """One way to compute y[.., i] = sum_{k<K} weight[i, k] * x[.., (start[i] + k) mod C].

    Args:
        start: [O], where the window of output channel i starts; in the way's own order of filters.
        weight: leaf with gradient, any shape whose view is [O, K] in that order.
        run: maps x and the weight to y.
        gathered: how many copies of x it holds at once, apart from x itself (forward, training).
    """

    start: Tensor
    weight: Tensor
    run: Callable[[Tensor, Tensor], Tensor]
    gathered: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True)
class Windows:
    """`ops.ChannelWindows` and what the peers need to know of them: windows all `gap` channels, equally often used."""

    own: ops.ChannelWindows
    layout: str
    device: torch.device
    dtype: torch.dtype

    @property
    def start(self) -> Tensor:
        return self.own.on(torch.device("cpu"))[0].long()

    def weight(self, *shape: int) -> Tensor:
        weight = torch.randn(shape, device=self.device) / math.sqrt(shape[-1])
        return weight.to(self.dtype).requires_grad_()

    def distinct(self) -> tuple[int, int]:
        """Number of distinct windows and the gap between neighbours."""
        found, counts = self.start.unique(return_counts=True)
        gap = self.own.in_channels // len(found)
        if not torch.equal(found, torch.arange(len(found)) * gap) or len(counts.unique()) > 1:
            raise ValueError(f"start must use evenly spaced windows equally often, got {counts.tolist()} filters")
        return len(found), gap


def ours(windows: Windows) -> Way:
    own = windows.own
    call = ops.channel_transform if windows.layout == "rows" else ops.channel_transform_2d
    return Way(windows.start, windows.weight(own.out_channels, own.width), lambda x, w: call(x, w, own))


def dense(windows: Windows) -> Way:
    inputs, outputs = windows.own.in_channels, windows.own.out_channels
    return Way(torch.zeros(outputs, dtype=torch.long), windows.weight(outputs, inputs), _dense)


def grouped(windows: Windows) -> list[Way]:
    inputs, outputs, width = windows.own.in_channels, windows.own.out_channels, windows.own.width
    groups = inputs // width
    start = torch.arange(outputs) // (outputs // groups) * width
    weight = windows.weight(outputs, width)

    def one_linear_each(x: Tensor, w: Tensor) -> Tensor:
        return torch.cat([F.linear(*part) for part in zip(x.split(width, 1), w.chunk(groups), strict=True)], 1)

    forms = [lambda x, w: _grouped(x, w, groups)]
    if windows.layout == "rows":
        forms.append(one_linear_each)
    return [Way(start, weight, run) for run in forms]


def gather(windows: Windows) -> Way:
    own, (count, gap) = windows.own, windows.distinct()
    channel = torch.arange(count)[:, None] * gap + torch.arange(own.width)
    channel = (channel % own.in_channels).flatten().to(windows.device)

    def run(x: Tensor, w: Tensor) -> Tensor:
        if windows.layout == "channels_last":  # index_select would return planar memory
            return _grouped(_images(_rows(x).index_select(1, channel), x), w, count)
        return _grouped(x.index_select(1, channel), w, count)

    copies = own.width / gap
    start = windows.start[_by_start(windows)]
    return Way(start, windows.weight(own.out_channels, own.width), run, (copies, 2 * copies))


def strided(windows: Windows) -> list[Way]:
    own, (count, gap) = windows.own, windows.distinct()
    width, pad = own.width, own.width - gap

    def padded(x: Tensor, dim: int) -> Tensor:
        return torch.cat([x, x.narrow(dim, 0, pad)], dim) if pad else x

    def rows(x: Tensor, w: Tensor) -> Tensor:
        view = padded(_rows(x), 1).unfold(1, width, gap).transpose(0, 1)
        y = torch.bmm(view, w.transpose(1, 2)).transpose(0, 1).flatten(1).contiguous()
        return y if x.dim() == 2 else _images(y, x)

    def channels_first(x: Tensor, w: Tensor) -> Tensor:
        view = padded(x.transpose(0, 1), 0).reshape(own.in_channels + pad, -1).unfold(0, width, gap)
        y = torch.bmm(w, view.transpose(1, 2)).view(-1, x.size(0), *x.shape[2:])
        return y.transpose(0, 1).contiguous()

    def per_image(x: Tensor, w: Tensor) -> Tensor:
        view = padded(x, 1).flatten(2).unfold(1, width, gap).transpose(2, 3)
        return torch.stack([torch.bmm(w, image) for image in view]).view(x.size(0), -1, *x.shape[2:])

    start = windows.start[_by_start(windows)]
    weight = windows.weight(count, own.out_channels // count, width)
    forms = [channels_first, per_image] if windows.layout == "planar" else [rows]
    return [Way(start, weight, run, (1 + pad / own.in_channels, 1 + width / gap)) for run in forms]


def scatter(windows: Windows) -> Way:
    own = windows.own
    channel = (windows.start[:, None] + torch.arange(own.width)) % own.in_channels
    channel = channel.to(windows.device)

    def run(x: Tensor, w: Tensor) -> Tensor:
        return _dense(x, w.new_zeros(own.out_channels, own.in_channels).scatter(1, channel, w))

    return Way(windows.start, windows.weight(own.out_channels, own.width), run)


def _by_start(windows: Windows) -> Tensor:
    return torch.argsort(windows.start, stable=True)


def _dense(x: Tensor, w: Tensor) -> Tensor:
    return F.linear(x, w) if x.dim() == 2 else F.conv2d(x, w[:, :, None, None])


def _grouped(x: Tensor, w: Tensor, groups: int) -> Tensor:
    if x.dim() == 4:
        return F.conv2d(x, w[:, :, None, None], groups=groups)
    parts = x.view(x.size(0), groups, -1).transpose(0, 1)
    y = torch.bmm(parts, w.view(groups, -1, w.size(1)).transpose(1, 2)).transpose(0, 1)
    return y.flatten(1).contiguous()  # with one filter per group, flatten gives a view


def _rows(x: Tensor) -> Tensor:
    return x if x.dim() == 2 else x.permute(0, 2, 3, 1).reshape(-1, x.size(1))


def _images(rows: Tensor, like: Tensor) -> Tensor:
    return rows.view(like.size(0), *like.shape[2:], -1).permute(0, 3, 1, 2)
