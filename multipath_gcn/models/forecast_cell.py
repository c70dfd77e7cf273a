import torch
from torch import Tensor, nn

from multipath_gcn.models.conv_network import Convolution
from multipath_gcn.nn.grouped_conv import GroupedConv2d
from multipath_gcn.nn.time_fold import frame_convolution


class ForecastCell(nn.Module):
    r"""The next frame from the folded state and the last frame: our reconstruction of a cell of which the paper's
    abstract (`Weissenbacher 2020 <https://arxiv.org/abs/2001.03340>`_) tells its use alone.

    .. math::
        u = \tanh(U \star x + b_U), \qquad (g, c) = V \star (h, u) + b_V, \qquad
        s = \sigma(g) \odot h + (1 - \sigma(g)) \odot \tanh(c), \qquad y = A s + b

    with h the folded state, x the last frame, :math:`\star` a convolution of frames and A the same for every pixel: a
    gate decides pixel by pixel and channel by channel whether what was folded stands, or what it becomes in view of
    the last frame.

    Args:
        state_channels: of h, u, c and s.
        in_channels: of x.
        out_channels: of y.
        dims: 1 for frames of height 1, or 2.
        kernel_size: of U and V.
        convolution: what makes V, see :class:`~multipath_gcn.nn.time_fold.TimeFold`; U, which reads the frame, is
            dense.

    Shapes:
        - **input:** h (N, state_channels, H, W) and x (N, in_channels, H, W)
        - **output:** (N, out_channels, H, W)
    """

    def __init__(
        self,
        state_channels: int,
        in_channels: int,
        out_channels: int,
        dims: int = 2,
        kernel_size: int = 3,
        convolution: Convolution | None = None,
    ):
        super().__init__()
        self.read = frame_convolution(in_channels, state_channels, dims, kernel_size)
        both = 2 * state_channels
        self.gate = frame_convolution(both, both, dims, kernel_size, convolution=convolution)
        self.write = GroupedConv2d(state_channels, out_channels, 1)

    def forward(self, h: Tensor, x: Tensor) -> Tensor:
        gate, candidate = self.gate(torch.cat([h, self.read(x).tanh()], dim=1)).chunk(2, dim=1)
        gate, candidate = gate.sigmoid(), candidate.tanh()
        return self.write(gate * h + (1 - gate) * candidate)  # h may have more bits: no lerp
