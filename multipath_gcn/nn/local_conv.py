"""y[n, o, p] = b[o, p] + sum_k W[p, o, k] patch(x)[n, k, p]: every place p has filters of its own."""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class LocalConv2d(nn.Module):
    r"""A convolution without shared weights: a locally connected layer.

    .. math::
        y_{n,o,p} = b_{o,p} + \sum_{k} W_{p,o,k} \, \mathrm{patch}_p(x_n)_k

    with :math:`p` a place of the output and :math:`k` a value of the patch that a convolution would read there, ordered
    as by :class:`torch.nn.Unfold`. One batched matrix product of as many matrices as there are places.

    Args:
        in_channels, out_channels, kernel_size, stride, padding: as for :class:`torch.nn.Conv2d`, square.
        image_size: height and width of the images, which the number of filters depends on.
        bias, device, dtype: as for :class:`torch.nn.Conv2d`.

    Shapes:
        - **input:** images (N, in_channels, image_size, image_size)
        - **output:** (N, out_channels, H', H'), H' = (image_size + 2 padding - kernel_size) // stride + 1
        - **weight:** (H' H', out_channels, in_channels kernel_size²), **bias:** (out_channels H' H')

    Raises:
        ValueError: for a kernel larger than the padded image, or images of another size.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        image_size: int,
        stride: int = 1,
        padding: int = 0,
        bias: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ):
        super().__init__()
        room = image_size + 2 * padding - kernel_size
        if min(in_channels, out_channels, kernel_size, stride) < 1 or padding < 0 or room < 0:
            raise ValueError(
                f"in_channels, out_channels, kernel_size and stride must be at least 1, padding 0, and kernel_size at "
                f"most image_size + 2 padding, got {in_channels}, {out_channels}, {kernel_size}, {stride}, {padding} "
                f"and image_size {image_size}"
            )
        factory: dict[str, Any] = {"device": device, "dtype": dtype}
        self.in_channels, self.out_channels, self.kernel_size = in_channels, out_channels, kernel_size
        self.image_size, self.stride, self.padding, self.out_size = image_size, stride, padding, room // stride + 1
        places, values = self.out_size**2, in_channels * kernel_size**2
        self.weight = nn.Parameter(torch.empty(places, out_channels, values, **factory))
        self.bias = nn.Parameter(torch.empty(out_channels * places, **factory)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """As :class:`torch.nn.Conv2d` does, at every place."""
        bound = 1 / math.sqrt(self.weight.size(-1))
        for parameter in (self.weight, self.bias):
            if parameter is not None:
                nn.init.uniform_(parameter, -bound, bound)

    def forward(self, x: Tensor) -> Tensor:
        wanted = (self.in_channels, self.image_size, self.image_size)
        if x.dim() != 4 or tuple(x.shape[1:]) != wanted:
            raise ValueError(f"x must be images (N, {', '.join(map(str, wanted))}), got {list(x.shape)}")
        patches = F.unfold(x, self.kernel_size, padding=self.padding, stride=self.stride)
        y = torch.bmm(self.weight, patches.permute(2, 1, 0))  # places, filters, images
        y = y.permute(2, 1, 0)
        y = y if self.bias is None else y + self.bias.view(y.shape[1:])
        return y.unflatten(2, (self.out_size, self.out_size))

    def extra_repr(self) -> str:
        return (
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, image_size={self.image_size}, "
            f"stride={self.stride}, padding={self.padding}, bias={self.bias is not None}"
        )
