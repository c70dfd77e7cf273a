"""Any network with cheaper convolutions in the place of its own."""

import copy
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd
from torch.nn.parameter import is_lazy

from multipath_gcn.nn.channel import ChannelConv2d
from multipath_gcn.nn.cost import layer_costs
from multipath_gcn.nn.grouped_conv import GroupedConv2d
from multipath_gcn.nn.hooks import hooked
from multipath_gcn.nn.replace import computes_as
from multipath_gcn.nn.separable import DepthwiseSeparableConv2d, pointwise_windows

KINDS = ("separable", "grouped")
Skip = str | Iterable[str] | Callable[[str, nn.Module], bool]


@dataclass(frozen=True)
class ConvertedLayer:
    """What became of one convolution. Multiply-adds are those of one image, ``None`` without an example."""

    name: str
    before: str
    after: str  # or why it was left alone
    converted: bool
    parameters: tuple[int, int]
    macs: tuple[int, int] | None


@dataclass(frozen=True)
class Conversion:
    """A converted network and a line for each convolution of the given one; ``print`` it for a table."""

    model: nn.Module
    layers: list[ConvertedLayer]

    def __str__(self) -> str:
        lines = [["layer", "parameters", "multiply-adds", "before", "after"]]
        for row in self.layers:
            lines.append([row.name, _pair(row.parameters), _pair(row.macs), row.before, row.after])
        known = [row.macs for row in self.layers if row.macs is not None]
        total = tuple(map(sum, zip(*known, strict=True))) if known else None
        parameters = tuple(sum(row.parameters[i] for row in self.layers) for i in range(2))
        changed = sum(row.converted for row in self.layers)
        lines.append(["all", _pair(parameters), _pair(total), f"{len(lines) - 1} layers", f"{changed} converted"])
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)


def convert(
    model: nn.Module,
    to: str,
    groups: int | None = None,
    overlap: Any = None,
    skip: Skip = (),
    norm_between: bool = False,
    example: Tensor | None = None,
) -> Conversion:
    """A copy of ``model`` in which every convolution that can be is replaced by a cheaper one, newly initialised.

    ``to="separable"`` puts :class:`DepthwiseSeparableConv2d` in place of a spatial convolution, and its 1x1 part alone
    in place of a 1x1 convolution; ``to="grouped"`` puts :class:`GroupedConv2d`. Left alone, with the reason, are
    convolutions that have groups or read windows already, 1x1 ones that stride, padding other than zeros, other kinds
    (transposed, 1-d, 3-d, lazy, of other libraries), weights that two convolutions share, hooks, numbers of channels
    that ``groups`` does not divide, what would have no fewer weights, and what ``skip`` names.

    Args:
        model: any network; it is not changed.
        to: ``"separable"`` or ``"grouped"``.
        groups: of the 1x1 part, or of the grouped convolution, where it must be given. ``None``: a dense 1x1 part.
        overlap: makes the 1x1 part slide: part of a window that the next one shares, in [0, 1).
        skip: names or patterns such as ``"features.0*"``, or a function of name and layer that says True to skip it.
        norm_between: whether batch norm and ReLU stand between the parts of a separable convolution.
        example: images that ``model`` takes, for the multiply-adds of the report.

    Raises:
        ValueError: for options that ``to`` does not have, a pattern that names no convolution, or a model of which
            nothing could be converted: with the reasons.
    """
    _check_options(to, groups, overlap, norm_between)
    found = {name: module for name, module in model.named_modules() if isinstance(module, (_ConvNd, ChannelConv2d))}
    skipped, owners = _skipped(found, skip), Counter(id(module.weight) for module in found.values())
    parts = {m.depthwise for m in model.modules() if isinstance(m, DepthwiseSeparableConv2d)}
    made: dict[int, nn.Module] = {}  # by the convolution's id
    rows = []
    for name, module in found.items():
        if name in skipped:
            reason = "skipped"
        elif module in parts:
            reason = "is the depthwise part of a separable one"
        elif owners[id(module.weight)] > 1:
            reason = "shares its weight with another"
        else:
            reason = _why_not(module, to, groups, overlap)
        new = None if reason else _make(module, to, groups, overlap, norm_between)
        if new is not None and _weights(new) >= _weights(module):
            new, reason = None, f"has {_weights(module):,} weights, and would have {_weights(new):,}"
        if new is not None:
            made[id(module)] = new.train(module.training)
        rows.append((name, module, new, reason))
    if not made:
        reasons = "; ".join(f"{name}: {reason}" for name, _, _, reason in rows) or "it has no convolution"
        raise ValueError(f"model must have a convolution that can be converted to {to!r}, got none: {reasons}")
    converted = copy.deepcopy(model, dict(made))  # a copy of a convolution is its replacement
    counts = [_macs(net, example) for net in (model, converted)]
    layers = [_row(name, old, new, reason, counts) for name, old, new, reason in rows]
    return Conversion(converted, layers)


def _check_options(to: str, groups: int | None, overlap: Any, norm_between: bool) -> None:
    if to not in KINDS:
        raise ValueError(f"to must be one of {list(KINDS)}, got {to!r}")
    if groups is not None and (not isinstance(groups, int) or isinstance(groups, bool) or groups < 2):
        raise ValueError(f"groups must be None or an integer of at least 2, got {groups!r}")
    if to == "grouped":
        if groups is None:
            raise ValueError("groups must be given for to='grouped', got None")
        if overlap is not None or norm_between:
            raise ValueError(
                f"overlap and norm_between must be left out for to='grouped', got {overlap!r}, {norm_between}"
            )
    elif overlap is not None and groups is None:
        raise ValueError(f"groups must be given where overlap is, got overlap={overlap!r}")


def _skipped(convolutions: dict[str, nn.Module], skip: Skip) -> set[str]:
    if callable(skip):
        return {name for name, module in convolutions.items() if skip(name, module)}
    found = set()
    for pattern in [skip] if isinstance(skip, str) else skip:
        matching = {name for name in convolutions if fnmatchcase(name, pattern)}
        if not matching:
            raise ValueError(f"skip must name convolutions of the model, got {pattern!r}; it has {list(convolutions)}")
        found |= matching
    return found


def _pointwise(groups: int | None, overlap: Any) -> dict[str, Any]:
    if groups is None:
        return {"pointwise": "dense"}
    return {"pointwise": "grouped" if overlap is None else "sliding", "groups": groups, "overlap": overlap}


def _why_not(conv: nn.Module, to: str, groups: int | None, overlap: Any) -> str | None:
    if type(conv) not in (nn.Conv2d, GroupedConv2d) and not computes_as(conv, ChannelConv2d):
        return f"its class is {type(conv).__module__}.{type(conv).__qualname__}"
    if hooked(conv):
        return "has hooks"
    if isinstance(conv, ChannelConv2d):
        if not conv.windows.is_dense:
            return "reads windows already"
        return "is 1x1 already" if groups is None else _indivisible(conv, groups, overlap)
    if conv.groups > 1:
        return f"has {conv.groups} groups already"
    if conv.padding_mode != "zeros":
        return f"pads with {conv.padding_mode!r}"
    if to == "separable" and _is_1x1(conv):
        if groups is None:
            return "is 1x1 already"
        if conv.stride != (1, 1) or conv.padding not in ((0, 0), "valid", "same"):
            return f"is 1x1 with stride {conv.stride}, padding {conv.padding}"
    return _indivisible(conv, groups, overlap)


def _indivisible(conv: nn.Conv2d | ChannelConv2d, groups: int | None, overlap: Any) -> str | None:
    if groups and conv.in_channels % groups:
        return f"in_channels ({conv.in_channels}) is not divisible by groups ({groups})"
    if groups and overlap is None and conv.out_channels % groups:
        return f"out_channels ({conv.out_channels}) is not divisible by groups ({groups})"
    return None


def _is_1x1(conv: nn.Conv2d | ChannelConv2d) -> bool:
    return isinstance(conv, ChannelConv2d) or conv.kernel_size == (1, 1)


def _make(conv: nn.Conv2d | ChannelConv2d, to: str, groups: int | None, overlap: Any, norm_between: bool) -> nn.Module:
    factory = {"bias": conv.bias is not None, "device": conv.weight.device, "dtype": conv.weight.dtype}
    widths = conv.in_channels, conv.out_channels
    if isinstance(conv, ChannelConv2d) or (to == "separable" and _is_1x1(conv)):
        return ChannelConv2d(pointwise_windows(*widths, **_pointwise(groups, overlap)), **factory)
    spatial = conv.kernel_size, conv.stride, conv.padding, conv.dilation
    if to == "grouped":
        return GroupedConv2d(*widths, *spatial, groups=groups, **factory)
    return DepthwiseSeparableConv2d(
        *widths, *spatial, norm_between=norm_between, **_pointwise(groups, overlap), **factory
    )


def _macs(model: nn.Module, example: Tensor | None) -> dict[str, int] | None:
    if example is None:
        return None
    found: dict[str, int] = {}
    for cost in layer_costs(model, example):
        name = cost.name.removesuffix(".depthwise").removesuffix(".pointwise")
        for key in {cost.name, name}:
            found[key] = found.get(key, 0) + cost.macs
    return found


def _weights(layer: nn.Module) -> int:
    return sum(0 if is_lazy(parameter) else parameter.numel() for parameter in layer.parameters())


def _row(name: str, old: nn.Module, new: nn.Module | None, reason: str | None, counts: list) -> ConvertedLayer:
    parameters = _weights(old), _weights(old if new is None else new)
    macs = None if counts[0] is None else tuple(count.get(name, 0) for count in counts)
    kernel = "1x1" if isinstance(old, ChannelConv2d) else "x".join(map(str, old.kernel_size))
    before = f"{kernel} {old.in_channels} -> {old.out_channels}"
    after = f"left alone: {reason}" if new is None else type(new).__name__
    return ConvertedLayer(name, before, after, new is not None, parameters, macs)


def _pair(numbers: tuple[int, int] | None) -> str:
    return "" if numbers is None else " -> ".join(f"{number:,}" for number in numbers)
