"""The recurrent networks that a temporally folded one is compared with."""

from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor, nn

from multipath_gcn.nn.grouped_conv import GroupedConv2d
from multipath_gcn.nn.time_fold import check_sequences, dims_of, frame_convolution


class LSTMForecast(nn.Module):
    """The next frame of a sequence by an LSTM on whole frames, and a linear map of its state.

    Args:
        in_channels, out_channels: of the frames given and of the frames forecast.
        frame_size: height and width.
        hidden_channels: width of the state.
        num_layers: LSTMs one above the other.

    Shapes:
        - **input:** sequences (N, T, in_channels, H, W)
        - **output:** (N, T, out_channels, H, W); frame t forecasts frame t + 1 of the input
    """

    def __init__(
        self, in_channels: int, out_channels: int, frame_size: Sequence[int], hidden_channels: int, num_layers: int = 1
    ):
        super().__init__()
        self.shape, self.forecast = (in_channels, *frame_size), (out_channels, *frame_size)
        self.lstm = nn.LSTM(in_channels * prod(frame_size), hidden_channels, num_layers, batch_first=True)
        self.write = nn.Linear(hidden_channels, prod(self.forecast))

    def forward(self, x: Tensor) -> Tensor:
        check_sequences(x, self.shape)
        return self.write(self.lstm(x.flatten(2))[0]).unflatten(2, self.forecast)


class ConvLSTMForecast(nn.Module):
    r"""The next frame of a sequence by a convolutional LSTM (`Shi et al. 2015 <https://arxiv.org/abs/1506.04214>`_),
    and a linear map of its state at every pixel.

    .. math::
        (i, f, g, o) = W \star x_t + U \star h_{t-1} + b, \qquad
        c_t = \sigma(f) \odot c_{t-1} + \sigma(i) \odot \tanh(g), \qquad h_t = \sigma(o) \odot \tanh(c_t)

    Without the peepholes of the paper, as in most that follow it: gates do not read :math:`c`.

    Args:
        in_channels, out_channels: of the frames given and of the frames forecast.
        frame_size: height and width; of height 1, kernels have height 1, too.
        hidden_channels: of the state.
        kernel_size: of W and U, odd.

    Shapes:
        - **input:** sequences (N, T, in_channels, H, W)
        - **output:** (N, T, out_channels, H, W); frame t forecasts frame t + 1 of the input
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        frame_size: Sequence[int],
        hidden_channels: int,
        kernel_size: int = 3,
    ):
        super().__init__()
        dims = dims_of(frame_size)
        self.shape, self.hidden_channels = (in_channels, *frame_size), hidden_channels
        self.read = frame_convolution(in_channels, 4 * hidden_channels, dims, kernel_size)
        self.recur = frame_convolution(hidden_channels, 4 * hidden_channels, dims, kernel_size, bias=False)
        self.write = GroupedConv2d(hidden_channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        check_sequences(x, self.shape)
        read = self.read(x.flatten(0, 1)).unflatten(0, x.shape[:2])  # of all steps at once
        h = c = x.new_zeros(len(x), self.hidden_channels, *x.shape[3:])
        states = []
        for gates in read.unbind(1):
            i, f, g, o = (gates + self.recur(h)).chunk(4, dim=1)
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            h = o.sigmoid() * c.tanh()
            states.append(h)
        states = torch.stack(states, dim=1)
        return self.write(states.flatten(0, 1)).unflatten(0, x.shape[:2])
