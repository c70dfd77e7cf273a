import torch
from torch import Tensor, nn


@torch.no_grad()
def fold_norm(weight: Tensor, bias: Tensor | None, norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    r"""The weight and bias of a layer that is one with the batch norm after it.

    .. math::
        W'_o = \frac{\gamma_o}{\sqrt{\sigma^2_o + \epsilon}} W_o, \quad
        b'_o = \beta_o + \frac{\gamma_o}{\sqrt{\sigma^2_o + \epsilon}} (b_o - \mu_o)

    Computed in float64 and given in the type of the weight (O, ...); the running statistics count, whether the norm
    trains or not.

    Raises:
        ValueError: when ``norm`` does not fit or has no running statistics.
    """
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
    scale = scale.view(-1, *[1] * (weight.dim() - 1))
    return (weight * scale).to(weight.dtype), shift.to(weight.dtype)
