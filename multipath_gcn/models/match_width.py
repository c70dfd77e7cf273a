"""Networks of different shape made comparable: the width at which one has as many parameters as another."""

from collections.abc import Callable
from typing import Any

from torch import nn
from torch.nn.parameter import is_lazy


def count_parameters(model: nn.Module) -> int:
    """Number of learned values, as OGB counts them (sum of ``p.numel()``).

    Raises:
        ValueError: if a lazy parameter has no shape yet.
    """
    lazy = [name for name, parameter in model.named_parameters() if is_lazy(parameter)]
    if lazy:
        raise ValueError(f"model must be initialised before its parameters are counted, lazy: {lazy}")
    return sum(parameter.numel() for parameter in model.parameters())


def match_width(build: Callable[[int], nn.Module], parameters: int) -> int:
    r"""The width :math:`h \ge 1` for which ``build(h)`` comes closest to ``parameters``; of two, the smaller.

    Args:
        build: makes the network of a given width; its parameter count must grow with the width.
        parameters: the count aimed at, at least 1.

    Raises:
        ValueError: for a count below 1, or if the parameter count does not grow.
    """
    if parameters < 1:
        raise ValueError(f"parameters must be at least 1, got {parameters}")
    high, count = 1, count_parameters(build(1))
    while count < parameters:
        before, high = count, 2 * high
        count = count_parameters(build(high))
        if count <= before:
            raise ValueError(f"build must give more parameters for a greater width, got {before} and then {count}")
    low = high // 2  # count(low) < parameters <= count(high)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if count_parameters(build(middle)) < parameters else (low, middle)
    return min((width for width in (low, high) if width), key=lambda w: abs(count_parameters(build(w)) - parameters))


def build_matched(
    in_channels: int,
    out_channels: int,
    network: Callable[..., nn.Module],
    reference: Callable[..., nn.Module],
    **sizes: Any,
) -> nn.Module:
    """``network`` at the width at which it has as many parameters as ``reference``.

    Args:
        in_channels, out_channels: given to both.
        network: called with ``in_channels``, ``out_channels``, ``sizes`` and ``hidden_channels``.
        reference: called with ``in_channels``, ``out_channels`` and ``sizes``.
        sizes: what both must know besides, such as ``frame_size``.
    """

    def build(width: int) -> nn.Module:
        return network(in_channels=in_channels, hidden_channels=width, out_channels=out_channels, **sizes)

    target = count_parameters(reference(in_channels=in_channels, out_channels=out_channels, **sizes))
    return build(match_width(build, target))
