"""Sequences of frames and their split: all that training and scoring need to know, checked before the first step."""

from dataclasses import dataclass

import torch
from torch import Tensor

from multipath_gcn.data.node_dataset import PARTS


@dataclass(frozen=True, eq=False)
class SequenceDataset:
    r"""A forecasting task: the next frame of a sequence, given those before it.

    Frames have C channels, height H and width W, also where there is one spatial dimension: then H = 1.

    Args:
        name: what reports call it.
        splits: ``train``, ``valid`` and ``test``: float32 [N, T, C, H, W] in [0, 1], T >= 2; N and T may differ.
        lengths: of the sequences of each split, int64 [N] in [2, T]; frames after the end are 0. ``None``: all are T.
        metric: ``likelihood``, the geometric mean of the probability that a forecast gives to a pixel.
        synthetic: whether the sequences are generated; reports label it so.

    Raises:
        ValueError: naming argument, rule and value, where one of these rules is broken.
    """

    name: str
    splits: dict[str, Tensor]
    lengths: dict[str, Tensor] | None = None
    metric: str = "likelihood"
    synthetic: bool = False

    def __post_init__(self) -> None:
        if self.metric != "likelihood":
            raise ValueError(f"metric must be likelihood, got {self.metric!r}")
        for name in ("splits", "lengths"):
            value = getattr(self, name)
            if (name == "splits" or value is not None) and set(value) != set(PARTS):
                raise ValueError(f"{name} must have exactly the keys {', '.join(PARTS)}, got {sorted(value)}")
        for part in PARTS:
            _check_frames(part, self.splits[part])
            shape = self.splits[part].shape[2:]
            if shape != self.shape:
                rule = f"hold frames of shape {list(self.shape)}, as train"
                raise ValueError(f"splits[{part!r}] must {rule}, got {list(shape)}")
            if self.lengths is not None:
                _check_lengths(part, self.lengths[part], self.splits[part])

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of a frame."""
        return self.splits["train"].shape[2:]

    @property
    def least_length(self) -> int:
        """Frames of the shortest sequence of all splits."""
        return min(int(self.lengths_of(part).min()) for part in PARTS)

    @property
    def is_uneven(self) -> bool:
        """Whether some of a split are shorter than others."""
        return any(len(self.lengths_of(part).unique()) > 1 for part in PARTS)

    def lengths_of(self, part: str) -> Tensor:
        """Frames of every sequence of a split, int64 [N]."""
        frames = self.splits[part]
        return torch.full((len(frames),), frames.size(1)) if self.lengths is None else self.lengths[part]


def _check_frames(part: str, frames: Tensor) -> None:
    if frames.dtype != torch.float32 or frames.dim() != 5 or frames.numel() == 0 or frames.size(1) < 2:
        rule = "be float32 of shape [N, T, C, H, W], not empty, with T >= 2"
        raise ValueError(f"splits[{part!r}] must {rule}, got {frames.dtype} {list(frames.shape)}")
    wrong = ~((frames >= 0) & (frames <= 1))  # NaN, too
    if wrong.any():
        at = tuple(wrong.nonzero()[0].tolist())
        raise ValueError(f"splits[{part!r}] must lie in [0, 1], got {frames[at].item()} at {list(at)}")


def _check_lengths(part: str, lengths: Tensor, frames: Tensor) -> None:
    count, most = frames.shape[:2]
    if lengths.dtype != torch.int64 or lengths.shape != (count,):
        got = f"{lengths.dtype} {list(lengths.shape)}"
        raise ValueError(f"lengths[{part!r}] must be int64 of shape [{count}], got {got}")
    wrong = (lengths < 2) | (lengths > most)
    if wrong.any():
        at = int(wrong.nonzero()[0])
        raise ValueError(f"lengths[{part!r}] must lie in [2, {most}], got {int(lengths[at])} at position {at}")
    after = torch.arange(most) >= lengths[:, None]
    if frames[after].any():
        at = int((frames.flatten(2).any(2) & after).nonzero()[0, 0])
        raise ValueError(f"splits[{part!r}] must be 0 after the end of a sequence, got other frames at position {at}")
