from torch import Tensor, nn
from torch.nn import functional as F

from multipath_gcn.nn.fold_norm import fold_norm
from multipath_gcn.nn.packed_conv import PackedGroupedConv2d
from multipath_gcn.ops import grouped_conv2d, prepack_conv2d


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

    def prepack(self, norm: nn.BatchNorm2d | None = None, activation: str | None = None) -> PackedGroupedConv2d:
        """This layer for inference, with the batch norm and activation that follow it: one pass over memory for all.

        Weights are copied and rearranged once for this machine: later changes of the layer or the norm are not seen.

        Args:
            norm: folded into weight and bias, see :func:`~multipath_gcn.nn.fold_norm.fold_norm`.
            activation: None or ``"relu"``.

        Raises:
            ValueError: when ``norm`` does not fit or has no running statistics, or ``padding_mode`` is not ``"zeros"``.
        """
        if self.padding_mode != "zeros":
            raise ValueError(f'padding_mode must be "zeros" for a packed weight, got {self.padding_mode!r}')
        weight, bias = (self.weight, self.bias) if norm is None else fold_norm(self.weight, self.bias, norm)
        return PackedGroupedConv2d(
            prepack_conv2d(weight, bias, self.stride, self.padding, self.dilation, self.groups, activation)
        )

    def _conv_forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        padding = self.padding
        if self.padding_mode != "zeros":
            x, padding = F.pad(x, self._reversed_padding_repeated_twice, mode=self.padding_mode), 0
        return grouped_conv2d(x, weight, bias, self.stride, padding, self.dilation, self.groups)
