"""Which input channels every filter of a channel transform reads: a contiguous cyclic window each.

Needs no torch, so that the kernels on NumPy arrays can be used without it.
"""

import sys
from fractions import Fraction
from math import floor
from numbers import Integral, Rational

import numpy as np

LARGEST = 2**31 - 1  # kernels hold starts in int32


class ChannelWindows:
    r"""Filter o reads the channels :math:`(s_o + k) \bmod C,\; k < K`: dense, grouped and sliding transforms alike.

    Args:
        start: the first channel :math:`s_o` of every filter: any integers, reduced modulo C.
        width: K, the channels that a filter reads, at most C.
        in_channels: C.

    Attributes:
        start: read-only int64 array [O] of the reduced starts; in_channels, out_channels, width: C, O and K;
        cycle: number of distinct windows; is_dense: every filter reads all channels in their order.

    Immutable; two of them are equal when every filter reads the same channels in the same order.

    Raises:
        ValueError: for starts that are no integers, none at all, or a width outside 1..C.
    """

    def __init__(self, start, width: int, in_channels: int):
        self.in_channels = _integer("in_channels", in_channels)
        self.width = _integer("width", width)
        if self.width > self.in_channels:
            raise ValueError(f"width must be at most in_channels ({in_channels}), got {width}")
        self.start = np.array([s % self.in_channels for s in _integers("start", start)], dtype=np.int64)
        self.start.setflags(write=False)
        self.out_channels = _integer("the number of starts", len(self.start))
        self.cycle = len(np.unique(self.start))
        self.is_dense = self.width == self.in_channels and not self.start.any()
        self._order = np.argsort(self.start, kind="stable")
        self._placed = {}
        if sys.modules.get("torch"):  # torch.compile then finds tensors and need not trace their making
            self._place_on_host()

    @classmethod
    def dense(cls, in_channels: int, out_channels: int) -> "ChannelWindows":
        """Every filter reads every channel."""
        return cls([0] * _integer("out_channels", out_channels), in_channels, in_channels)

    @classmethod
    def grouped(cls, in_channels: int, out_channels: int, groups: int) -> "ChannelWindows":
        r"""The blocks of ``nn.Conv2d(groups=G)``: :math:`K = C/G,\; s_o = \lfloor o G / O \rfloor K`."""
        width = _group_width(in_channels, groups)
        if _integer("out_channels", out_channels) % groups:
            raise ValueError(f"out_channels ({out_channels}) must be divisible by groups ({groups})")
        return cls(np.arange(out_channels) // (out_channels // groups) * width, width, in_channels)

    @classmethod
    def sliding(cls, in_channels: int, out_channels: int, groups: int, overlap) -> "ChannelWindows":
        r"""Windows that share a part ``overlap`` of their channels with the next.

        .. math::
            K = C/G, \qquad s_o = o \, (K - \lfloor \text{overlap} \cdot K \rfloor) \bmod C

        From `DSXplore <https://arxiv.org/abs/2101.00745>`_, with a step in exact rational arithmetic: ``overlap`` is
        a float, read as its shortest decimal (0.33 is 33/100), a Fraction, or a string such as "1/3". At overlap 0
        these are the blocks of :meth:`grouped` in another order: ``weight_grouped = weight_sliding[permutation()]``.
        """
        width = _group_width(in_channels, groups)
        step = width - floor(_overlap(overlap) * width)
        return cls(np.arange(_integer("out_channels", out_channels)) * step, width, in_channels)

    @classmethod
    def released(cls, in_channels: int, out_channels: int, groups: int, overlap) -> "ChannelWindows":
        r""":math:`s_o = \lfloor o (1 - \text{overlap}) K \rfloor \bmod C`, for weights trained with DSXplore's code.

        Evaluated as there, in float32 from left to right, so that fractional steps round where its kernel rounds.
        """
        width = _group_width(in_channels, groups)
        step = np.float32(1) - np.float32(float(_overlap(overlap)))
        filters = np.arange(_integer("out_channels", out_channels), dtype=np.float32)
        return cls(np.floor(filters * step * np.float32(width)).astype(np.int64), width, in_channels)

    def permutation(self):
        """LongTensor [O] that sorts the filters by their start, equal ones in their order."""
        import torch

        return torch.tensor(self._order.tolist(), dtype=torch.int64, device="cpu")

    def on(self, device) -> tuple:
        """The starts and :meth:`permutation` as int32 tensors [O] on a device, copied there once."""
        return self._placed.get(device) or self._place(device)

    def _place(self, device) -> tuple:
        import torch

        device = torch.device(device)
        if not self._placed:
            self._place_on_host()
        start, order = self._placed[torch.device("cpu")]
        if torch.compiler.is_compiling():  # a traced copy belongs to its graph: not kept
            return start.to(device), order.to(device)
        with _plain_tensors():
            start, order = start.to(device), order.to(device)
        return self._placed.setdefault(start.device, (start, order))

    def _place_on_host(self) -> None:
        import torch

        with _plain_tensors():
            self._placed[torch.device("cpu")] = tuple(
                torch.tensor(values.tolist(), dtype=torch.int32, device="cpu") for values in (self.start, self._order)
            )

    def __eq__(self, other) -> bool:
        if not isinstance(other, ChannelWindows):
            return NotImplemented
        return self is other or self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def _key(self) -> tuple:
        return self.in_channels, self.width, self.start.tobytes()

    def __deepcopy__(self, memo) -> "ChannelWindows":
        return self

    def __reduce__(self):
        return type(self), (self.start, self.width, self.in_channels)

    def __repr__(self) -> str:
        shown = ", ".join(map(str, self.start[:8])) + (", ..." if self.out_channels > 8 else "")
        return f"{type(self).__name__}(start=[{shown}], width={self.width}, in_channels={self.in_channels})"


def _plain_tensors():
    """What is cached outlives the mode it was first asked in: neither fake, nor inference tensors."""
    from contextlib import ExitStack

    import torch
    from torch.utils._python_dispatch import _disable_current_modes

    stack = ExitStack()
    stack.enter_context(torch.inference_mode(False))
    stack.enter_context(_disable_current_modes())
    return stack


def _integer(name: str, value) -> int:
    if isinstance(value, bool) or not isinstance(value, Integral) or not 1 <= value <= LARGEST:
        raise ValueError(f"{name} must be an integer from 1 to {LARGEST}, got {value!r}")
    return int(value)


def _integers(name: str, values) -> list[int]:
    try:  # arrays and tensors of any library; their own complaint (no data, sparse) is kept as the cause
        listed = list(values.tolist() if hasattr(values, "tolist") else values)
    except (TypeError, RuntimeError, NotImplementedError) as error:
        raise ValueError(f"{name} must be a sequence of integers, got {values!r}") from error
    for i, value in enumerate(listed):
        if isinstance(value, bool) or not isinstance(value, Integral):
            raise ValueError(f"{name} must be a sequence of integers, got {value!r} at {i}")
    return [int(value) for value in listed]


def _group_width(in_channels: int, groups: int) -> int:
    if _integer("in_channels", in_channels) % _integer("groups", groups):
        raise ValueError(f"in_channels ({in_channels}) must be divisible by groups ({groups})")
    return int(in_channels // groups)


def _overlap(value) -> Fraction:
    """A float counts as the decimal that it prints: 0.33 is 33/100."""
    kind = str if isinstance(value, (float, np.floating)) else type(value)
    try:
        if kind is bool or not issubclass(kind, (str, Rational)) or (isinstance(value, str) and "e" in value.lower()):
            raise ValueError("not a plain number")  # "1e-999999999" would fill the memory
        overlap = Fraction(kind(value))
        if not 0 <= overlap < 1:
            raise ValueError("out of range")
    except (ValueError, ZeroDivisionError) as error:
        rule = 'in [0, 1): a float, a Fraction or a string such as "1/3"'
        raise ValueError(f"overlap must be a number {rule}; got {value!r}") from error
    return overlap
