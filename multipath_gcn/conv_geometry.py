"""What the arguments of a 2-d convolution mean, checked: one function for all who ask.

Needs no torch, so that the kernels on NumPy arrays can be used without it.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

Pair = int | Sequence[int]
Padding = Pair | Sequence[Sequence[int]] | str


class Geometry(NamedTuple):
    """How outputs of a convolution meet its input, in the order in which the operators take it."""

    stride: tuple[int, int]
    sides: tuple[int, int, int, int]  # padding above, below, left, right
    dilation: tuple[int, int]
    groups: int

    @property
    def symmetric(self) -> bool:
        """Whether padding is the same above and below, and left and right."""
        top, bottom, left, right = self.sides
        return top == bottom and left == right


def geometry_of(x, weight, stride, padding, dilation, groups, bias=None) -> Geometry:
    """The geometry of a convolution of such shapes.

    Raises:
        ValueError: when they, or the other arguments, do not fit.
    """
    if len(x) not in (3, 4):
        raise ValueError(f"x must have shape [N, C, H, W] or [C, H, W], got {list(x)}")
    if len(weight) != 4 or 0 in weight[2:]:
        raise ValueError(f"weight must have shape [O, C / groups, R, S] with R and S above 0, got {list(weight)}")
    if not isinstance(groups, int) or groups < 1:
        raise ValueError(f"groups must be an integer of at least 1, got {groups!r}")
    channels, filters = x[-3], weight[0]
    if bias is not None and tuple(bias) != (filters,):
        raise ValueError(f"bias must have shape [{filters}], got {list(bias)}")
    if channels % groups or filters % groups:
        raise ValueError(f"groups must divide both numbers of channels ({channels} and {filters}), got {groups}")
    if weight[1] != channels // groups:
        raise ValueError(f"weight must have {channels // groups} channels (C / groups), got shape {list(weight)}")
    stride, dilation = _pair("stride", stride, 1), _pair("dilation", dilation, 1)
    sides = _sides(padding, weight[2:], stride, dilation)
    for d, name in enumerate(("height", "width")):
        extent, size = dilation[d] * (weight[2 + d] - 1) + 1, x[-2 + d] + sides[2 * d] + sides[2 * d + 1]
        if extent > size:
            raise ValueError(f"the kernel must fit the padded {name} of x ({size}), got an extent of {extent}")
    return Geometry(tuple(stride), tuple(sides), tuple(dilation), groups)


def known_geometry(x, weight, stride, padding, dilation, groups, bias=None) -> Geometry:
    """:func:`geometry_of`, remembered: a layer asks the same each time."""
    try:
        return _known(x, weight, _key(stride), _key(padding), _key(dilation), groups, bias)
    except TypeError:  # what cannot be a key is not legal either
        return geometry_of(x, weight, stride, padding, dilation, groups, bias)


_known = lru_cache(maxsize=1024, typed=True)(geometry_of)


def _key(value):
    return tuple(map(_key, value)) if isinstance(value, (list, tuple)) else value


def out_size(size: Sequence[int], kernel: Sequence[int], of: Geometry) -> list[int]:
    """Height and width of the outputs for an input of so many rows and columns."""
    return [
        (size[d] + of.sides[2 * d] + of.sides[2 * d + 1] - of.dilation[d] * (kernel[d] - 1) - 1) // of.stride[d] + 1
        for d in range(2)
    ]


def smallest_input(weight, dilation, groups) -> tuple[int, ...]:
    """The shape of one image as large as the kernel."""
    extents = (d * (k - 1) + 1 for d, k in zip(_pair("dilation", dilation, 1), weight[2:], strict=True))
    return (1, weight[1] * (groups if isinstance(groups, int) else 1), *extents)


def _pair(name: str, value: Pair, least: int) -> list[int]:
    pair = [value, value] if isinstance(value, int) else list(value) if isinstance(value, Sequence) else [None]
    if len(pair) == 1:
        pair = pair * 2
    if len(pair) != 2 or not all(isinstance(v, int) and least <= v < 2**31 for v in pair):
        raise ValueError(f"{name} must be one or two integers of at least {least}, got {value!r}")
    return pair


def _sides(padding: Padding, kernel: Sequence[int], stride: list[int], dilation: list[int]) -> list[int]:
    """top, bottom, left, right"""
    if isinstance(padding, str):
        if padding not in ("same", "valid"):
            raise ValueError(f'padding must be "same", "valid" or numbers, got {padding!r}')
        if padding == "valid":
            return [0] * 4
        if stride != [1, 1]:
            raise ValueError(f'padding must not be "same" with a stride other than 1, got stride {stride}')
        totals = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
        return [side for total in totals for side in (total // 2, total - total // 2)]
    if isinstance(padding, Sequence) and len(padding) == 2 and any(isinstance(p, Sequence) for p in padding):
        return [side for p in padding for side in _pair("padding of each dimension", p, 0)]
    return [side for side in _pair("padding", padding, 0) for _ in range(2)]
