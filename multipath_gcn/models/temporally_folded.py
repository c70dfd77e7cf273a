from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from torch import Tensor, nn
from torch.nn import functional as F

from multipath_gcn.models.conv_network import Convolution
from multipath_gcn.models.forecast_cell import ForecastCell
from multipath_gcn.nn.time_fold import TimeFold, check_sequences, dims_of


class TemporallyFolded(nn.Module):
    r"""Forecasts the next frame of a sequence by convolutions over time and space that fold time away, then a cell
    (`Weissenbacher 2020 <https://arxiv.org/abs/2001.03340>`_, of which the abstract alone is known to us).

    .. math::
        h^0 = x, \qquad h^i = \mathrm{ReLU}(\mathrm{norm}(\mathrm{fold}_i(h^{i-1}))), \qquad
        y_t = \mathrm{cell}(h^L_t, x_t)

    Fold i makes one of every :math:`K_i` frames in a row (:class:`~multipath_gcn.nn.time_fold.TimeFold`), so that one
    is left of :math:`F = 1 + \sum_i (K_i - 1)`, each of which has taken part alike; the norm is of every frame by
    itself, over channels and pixels. The cell (:class:`~multipath_gcn.models.forecast_cell.ForecastCell`) is our
    reconstruction. All steps of a sequence are computed at once: :math:`y_t` reads :math:`x_{t-F+1}, \dots, x_t`, with
    0 before the first frame.

    Args:
        in_channels, out_channels: of the frames given and of the frames forecast.
        frame_size: height and width; of height 1, there is one spatial dimension, else two.
        hidden_channels: of the state, and of all layers.
        frames: K of each fold.
        kernel_size: of the spatial dimensions, odd.
        convolution: what makes every convolution but those that read frames: called with (in_channels, out_channels,
            kernel_size) and ``padding``, ``bias``. None: as ``nn.Conv2d``. One with a norm of its own, such as a
            depthwise-separable one, mixes statistics of all frames into each in training, later ones included.

    Attributes:
        fold: F, the number of frames that a forecast reads.

    Shapes:
        - **input:** sequences (N, T, in_channels, H, W)
        - **output:** (N, T, out_channels, H, W); frame t forecasts frame t + 1 of the input

    Raises:
        ValueError: for an argument out of its range, channels that a convolution refuses, or other sequences.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        frame_size: Sequence[int],
        hidden_channels: int = 32,
        frames: Sequence[int] = (3, 3, 3),
        kernel_size: int = 3,
        convolution: Convolution | None = None,
    ):
        super().__init__()
        if not isinstance(frames, Sequence) or not frames or not all(isinstance(k, int) and k >= 1 for k in frames):
            raise ValueError(f"frames must be one or more integers of at least 1, got {frames!r}")
        dims = dims_of(frame_size)
        self.shape = in_channels, *frame_size
        self.fold = 1 + sum(count - 1 for count in frames)
        channels, blocks = in_channels, []
        for i, count in enumerate(frames):
            make = convolution if i else None
            with _named(f"folds.{i}", count * channels, hidden_channels):
                blocks.append(_Block(TimeFold(channels, hidden_channels, count, dims, kernel_size, False, make)))
            channels = hidden_channels
        self.folds = nn.Sequential(*blocks)
        with _named("cell.gate", 2 * channels, 2 * channels):
            self.cell = ForecastCell(channels, in_channels, out_channels, dims, kernel_size, convolution)

    def forward(self, x: Tensor) -> Tensor:
        check_sequences(x, self.shape)
        h = self.folds(F.pad(x, (0, 0, 0, 0, 0, 0, self.fold - 1, 0)))
        return self.cell(h.flatten(0, 1), x.flatten(0, 1)).unflatten(0, x.shape[:2])


class _Block(nn.Module):
    def __init__(self, fold: TimeFold):
        super().__init__()
        self.fold = fold
        self.norm = nn.GroupNorm(1, fold.out_channels)
        self.activation = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        y = self.fold(x)
        return self.activation(self.norm(y.flatten(0, 1))).unflatten(0, y.shape[:2])


@contextmanager
def _named(layer: str, in_channels: int, out_channels: int) -> Iterator[None]:
    """What a convolution refuses is told with the name of its layer."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{layer}, {in_channels} -> {out_channels} channels: {error}") from error
