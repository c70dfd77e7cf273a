"""y[t] = convolution(x[t], x[t + 1], ..., x[t + K - 1]): a convolution over time and space without padding in time."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from multipath_gcn.nn.grouped_conv import GroupedConv2d


class TimeFold(nn.Module):
    r"""A (D + 1)-dimensional convolution over a sequence with D spatial dimensions, which makes K frames of it one.

    .. math::
        y_{n,t,o} = b_o + \sum_{k < K} \sum_{c < C} W_{o, kC + c} \star x_{n, t + k, c}

    for a dense convolution: that of :func:`torch.nn.functional.conv3d` (D = 2), or of
    :func:`~torch.nn.functional.conv2d` over time and width (D = 1), without padding in time and with as much in space
    as keeps the frames' size. It is computed as a 2-d convolution of images with K C channels, channel :math:`kC + c`
    being channel c of frame :math:`t + k`; any other convolution of images, such as a depthwise-separable one with
    sliding windows, takes the place of the dense one.

    Args:
        in_channels, out_channels: C and the number of filters.
        frames: K, at least 1.
        dims: D: 1 for frames of height 1, or 2.
        kernel_size: of the spatial dimensions, odd.
        bias: whether to add a learned b.
        convolution: what makes the 2-d convolution: called with (K C, out_channels, kernel_size) and ``padding``,
            ``bias``. None: :class:`GroupedConv2d`, as ``nn.Conv2d``.

    Shapes:
        - **input:** sequences (N, T, C, H, W), T >= K
        - **output:** (N, T - K + 1, out_channels, H, W)

    Raises:
        ValueError: for an argument out of its range, or sequences of fewer than K frames.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        frames: int,
        dims: int = 2,
        kernel_size: int = 3,
        bias: bool = True,
        convolution: Callable[..., nn.Module] | None = None,
    ):
        super().__init__()
        if isinstance(frames, bool) or not isinstance(frames, int) or frames < 1:
            raise ValueError(f"frames must be an integer of at least 1, got {frames!r}")
        self.in_channels, self.out_channels, self.frames, self.dims = in_channels, out_channels, frames, dims
        self.convolution = frame_convolution(frames * in_channels, out_channels, dims, kernel_size, bias, convolution)

    def forward(self, x: Tensor) -> Tensor:
        check_sequences(x, (self.in_channels,))
        steps = x.size(1) - self.frames + 1
        if steps < 1:
            raise ValueError(f"x must have at least {self.frames} frames, as many as are folded, got {x.size(1)}")
        windows = torch.cat([x[:, k : k + steps] for k in range(self.frames)], dim=2)
        return self.convolution(windows.flatten(0, 1)).unflatten(0, (-1, steps))

    def extra_repr(self) -> str:
        return f"{self.in_channels}, {self.out_channels}, frames={self.frames}, dims={self.dims}"


def frame_convolution(
    in_channels: int,
    out_channels: int,
    dims: int = 2,
    kernel_size: int = 3,
    bias: bool = True,
    convolution: Callable[..., nn.Module] | None = None,
) -> nn.Module:
    """A convolution of frames that keeps their size; of frames of height 1 (``dims`` 1) with a kernel of height 1.

    Raises:
        ValueError: for another number of dimensions, no channels, or an even kernel.
    """
    if dims not in (1, 2):
        raise ValueError(f"dims must be 1 or 2, got {dims!r}")
    if min(in_channels, out_channels) < 1:
        raise ValueError(f"in_channels and out_channels must be at least 1, got {in_channels} and {out_channels}")
    if isinstance(kernel_size, bool) or not isinstance(kernel_size, int) or kernel_size < 1 or kernel_size % 2 == 0:
        raise ValueError(f"kernel_size must be an odd integer of at least 1, got {kernel_size!r}")
    kernel = (1, kernel_size) if dims == 1 else (kernel_size, kernel_size)
    padding = kernel[0] // 2, kernel[1] // 2
    return (convolution or GroupedConv2d)(in_channels, out_channels, kernel, padding=padding, bias=bias)


def check_sequences(x: Tensor, frame: Sequence[int]) -> None:
    """Refuses all but (N, T, C, H, W), with ``frame`` C alone, or C, H and W."""
    if x.dim() != 5 or tuple(x.shape[2 : 2 + len(frame)]) != tuple(frame):
        sizes = ", ".join(map(str, (*frame, "H", "W")[:3]))
        raise ValueError(f"x must be sequences (N, T, {sizes}), got {list(x.shape)}")


def dims_of(frame_size: Sequence[int]) -> int:
    """Spatial dimensions of frames: 1 for those of height 1, else 2.

    Raises:
        ValueError: for anything but a height and a width.
    """
    pair = isinstance(frame_size, Sequence) and len(frame_size) == 2
    if not pair or not all(isinstance(size, int) and size >= 1 for size in frame_size):
        raise ValueError(f"frame_size must be height and width, each at least 1, got {frame_size!r}")
    return 1 if frame_size[0] == 1 else 2
