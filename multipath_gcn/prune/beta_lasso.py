"""theta <- theta - lr (d + lam sign(theta));  theta <- 0 where |theta| < beta lam: an optimiser that leaves zeros."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer


class BetaLasso(Optimizer):
    r"""Stochastic gradient descent with the L1 norm, and a hard threshold after every step.

    .. math::
        \theta \leftarrow \theta - \eta \left( d + \lambda \, \mathrm{sign}(\theta) \right), \qquad
        \theta \leftarrow \theta \cdot 1\left[ |\theta| \ge \beta \lambda \right]

    with :math:`d` the gradient or, with ``momentum`` :math:`\mu`, :math:`d \leftarrow \mu d + \nabla L`. The threshold
    does not depend on the learning rate. A weight that was set to zero comes back when one step exceeds it. With
    ``beta=0`` this is SGD with the L1 norm, with ``lam=0`` SGD.

    With ``dim`` the same of whole slices :math:`g` along a dimension, by their root mean square
    :math:`r_g = \lVert \theta_g \rVert_2 / \sqrt{|g|}`: in the layout of ``nn.Linear`` and ``nn.Conv2d`` ``dim=0``
    makes filters zero, ``dim=1`` what they read.

    .. math::
        \theta_g \leftarrow \theta_g - \eta \left( d_g + \lambda \, \theta_g / r_g \right), \qquad
        \theta_g \leftarrow \theta_g \cdot 1\left[ r_g \ge \beta \lambda \right]

    From `Neyshabur 2020 <https://arxiv.org/abs/2007.13657>`_, where it is said of all parameters, without momentum.
    Ours are slices, momentum, and that parameters of fewer than two dimensions (biases, scales and shifts of norms) are
    exempt: a threshold would cut scales, too.

    Args:
        params: parameters or groups of them, whose options may differ: ``lam=0`` exempts a group.
        lr: learning rate :math:`\eta`.
        lam: strength :math:`\lambda` of the L1 norm.
        beta: threshold in units of ``lam``.
        momentum: of the gradient of the loss; the L1 term has none.
        dim: None, or the dimension whose slices are zeroed as one.
        vectors: whether parameters of fewer than two dimensions are thresholded as well.

    Raises:
        ValueError: for ``lr``, ``lam`` or ``beta`` below 0, not finite or NaN, ``momentum`` outside [0, 1), or a
            ``dim`` that a parameter of the group does not have.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 0.1,
        lam: float = 2e-5,
        beta: float = 50.0,
        momentum: float = 0.0,
        dim: int | None = None,
        vectors: bool = False,
    ):
        defaults = {"lr": lr, "lam": lam, "beta": beta, "momentum": momentum, "dim": dim, "vectors": vectors}
        _check(defaults)
        super().__init__(params, defaults)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        _check(self.defaults | param_group)
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        for parameter in group["params"]:
            if group["dim"] is not None and parameter.dim() > 1 and group["dim"] >= parameter.dim():
                self.param_groups.pop()
                raise ValueError(f"dim must be one that a parameter of shape {list(parameter.shape)} has, "
                                 f"got {group['dim']}")  # fmt: skip

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor] | None = None) -> Tensor | None:
        """One update; ``closure``, where given, computes the loss and its gradients."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for shrunk in (False, True):
                chosen = [p for p in group["params"] if p.grad is not None and _shrinks(p, group) is shrunk]
                if chosen:
                    self._update(chosen, group, group["lam"] if shrunk else 0.0)
        return loss

    def _update(self, parameters: list[Tensor], group: dict[str, Any], lam: float) -> None:
        directions = [p.grad for p in parameters]
        if any(grad.is_sparse for grad in directions):
            raise ValueError("gradients must be dense for BetaLasso, got a sparse one")
        if group["momentum"]:
            for p in parameters:
                if "momentum_buffer" not in self.state[p]:
                    self.state[p]["momentum_buffer"] = torch.zeros_like(p)
            buffers = [self.state[p]["momentum_buffer"] for p in parameters]
            torch._foreach_mul_(buffers, group["momentum"])
            torch._foreach_add_(buffers, directions)
            directions = buffers
        pulls = [_pull(p, group["dim"]) for p in parameters] if lam else []
        torch._foreach_add_(parameters, directions, alpha=-group["lr"])
        if lam:
            torch._foreach_add_(parameters, pulls, alpha=-group["lr"] * lam)
            for parameter in parameters:
                parameter.mul_(_size(parameter, group["dim"]) >= group["beta"] * lam)


def _shrinks(parameter: Tensor, group: dict[str, Any]) -> bool:
    return group["lam"] > 0 and (parameter.dim() > 1 or group["vectors"])


def _size(parameter: Tensor, dim: int | None) -> Tensor:
    """What is compared with the threshold: values, or the root mean square of each slice."""
    if dim is None or parameter.dim() < 2:
        return parameter.abs()
    others = [d for d in range(parameter.dim()) if d != dim]
    return parameter.square().mean(others, keepdim=True).sqrt()


def _pull(parameter: Tensor, dim: int | None) -> Tensor:
    """The gradient of the penalty, 0 at 0."""
    if dim is None or parameter.dim() < 2:
        return parameter.sign()
    size = _size(parameter, dim)
    return torch.where(size > 0, parameter / size, 0)


def _check(options: dict[str, Any]) -> None:
    for name in ("lr", "lam", "beta"):
        if not (isinstance(options[name], (int, float, Tensor)) and 0 <= options[name] < math.inf):
            raise ValueError(f"{name} must be a finite number of at least 0, got {options[name]!r}")
    if not 0 <= options["momentum"] < 1:
        raise ValueError(f"momentum must lie in [0, 1), got {options['momentum']!r}")
    if options["dim"] is not None and (not isinstance(options["dim"], int) or options["dim"] < 0):
        raise ValueError(f"dim must be None or a dimension from 0 on, got {options['dim']!r}")
