"""Numbers that say how far a network has become smaller while it trains: for ``measure=`` of a run."""

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


def nonzeros(model: nn.Module) -> int:
    """The number of parameters that are not zero."""
    return int(sum(parameter.count_nonzero() for parameter in model.parameters()))


def inactive_scales(model: nn.Module, threshold: float = 1e-3) -> int:
    r"""The number of channels with :math:`|\gamma|` below ``threshold``, over all batch norms.

    Raises:
        ValueError: for a ``threshold`` that is not above 0.
    """
    if not threshold > 0:
        raise ValueError(f"threshold must be greater than 0, got {threshold!r}")
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm) and module.weight is not None]
    return int(sum((norm.weight.detach().abs() < threshold).sum() for norm in norms))
