import torch
from torch import Tensor, nn
from torch.nn import functional as F

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
        r"""This layer for inference, with the batch norm and activation that follow it: one pass over memory for all.

        .. math::
            W'_o = \frac{\gamma_o}{\sqrt{\sigma^2_o + \epsilon}} W_o, \quad
            b'_o = \beta_o + \frac{\gamma_o}{\sqrt{\sigma^2_o + \epsilon}} (b_o - \mu_o)

        Weights are copied, folded in float64 and rearranged once for this machine: later changes of the layer or the
        norm are not seen.

        Args:
            norm: its running statistics count, :math:`\mu` and :math:`\sigma^2`, whether it trains or not.
            activation: None or ``"relu"``.

        Raises:
            ValueError: when ``norm`` does not fit or has no running statistics, or ``padding_mode`` is not ``"zeros"``.
        """
        if self.padding_mode != "zeros":
            raise ValueError(f'padding_mode must be "zeros" for a packed weight, got {self.padding_mode!r}')
        weight, bias = (self.weight, self.bias) if norm is None else _folded(self.weight, self.bias, norm)
        return PackedGroupedConv2d(
            prepack_conv2d(weight, bias, self.stride, self.padding, self.dilation, self.groups, activation)
        )

    def _conv_forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        padding = self.padding
        if self.padding_mode != "zeros":
            x, padding = F.pad(x, self._reversed_padding_repeated_twice, mode=self.padding_mode), 0
        return grouped_conv2d(x, weight, bias, self.stride, padding, self.dilation, self.groups)


@torch.no_grad()
def _folded(weight: Tensor, bias: Tensor | None, norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """The weight and bias of a convolution that is one with the ``norm`` after it."""
    if not isinstance(norm, nn.BatchNorm2d):
        raise ValueError(f"norm must be nn.BatchNorm2d, got {type(norm).__name__}")
    if norm.num_features != len(weight):
        raise ValueError(f"norm must have the {len(weight)} channels of the convolution, got {norm.num_features}")
    if norm.running_mean is None or norm.running_var is None:
        raise ValueError("norm must have running statistics, got track_running_stats=False")
    if norm.running_mean.device != weight.device:
        raise ValueError(f"norm must be on the device of the weight ({weight.device}), got {norm.running_mean.device}")
    scale = (norm.running_var.double() + norm.eps).rsqrt()
    scale = scale if norm.weight is None else scale * norm.weight
    shift = -norm.running_mean.double() if bias is None else bias - norm.running_mean.double()
    shift = shift * scale if norm.bias is None else shift * scale + norm.bias
    return (weight * scale[:, None, None, None]).to(weight.dtype), shift.to(weight.dtype)
