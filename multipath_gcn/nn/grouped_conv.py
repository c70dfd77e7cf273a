from torch import Tensor, nn
from torch.nn import functional as F

from multipath_gcn.ops import grouped_conv2d


class GroupedConv2d(nn.Conv2d):
    r"""``nn.Conv2d`` on the grouped kernels: the same arguments, parameters, state dict and results.

    .. math::
        y_{n, gK+k} = b_{gK+k} + \sum_{c<C} W_{gK+k, c} \star x_{n, gC+c}

    with C input channels and K filters a group; see :func:`multipath_gcn.ops.grouped_conv2d`.

    Args:
        in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, padding_mode, device, dtype:
            as in ``nn.Conv2d``.

    Shapes:
        - **input:** images (N, in_channels, H, W) or (in_channels, H, W)
        - **output:** (N, out_channels, H', W') or (out_channels, H', W'), in the memory format of the input

    Raises:
        ValueError: for arguments that do not fit.
    """

    def _conv_forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        padding = self.padding
        if self.padding_mode != "zeros":
            x, padding = F.pad(x, self._reversed_padding_repeated_twice, mode=self.padding_mode), 0
        return grouped_conv2d(x, weight, bias, self.stride, padding, self.dilation, self.groups)
