"""Where in a run the weights of a model are used, and what they read and give there."""

from collections.abc import Container
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from multipath_gcn.nn.gcn_block import GCNBlock
from multipath_gcn.prune.arguments import positional
from multipath_gcn.prune.evaluation import evaluating
from multipath_gcn.prune.verify import copied

PRODUCTS = {
    "aten::mm": (0, 1),
    "aten::addmm": (1, 2),
    "aten::linear": (0, 1),
    "multipath_gcn::channel_transform": (0, 1),
}
CONVOLUTIONS = ("aten::convolution", "aten::conv2d", "multipath_gcn::grouped_conv2d")
NORMS = ("aten::native_batch_norm", "aten::batch_norm")  # epsilon is argument 7
VIEWS = (
    "aten::t",
    "aten::view",
    "aten::_unsafe_view",
    "aten::unsqueeze",
    "aten::squeeze",
    "aten::detach",
    "aten::alias",
)
POINT = {"kernel_size": [1, 1], "stride": [1, 1], "padding": [0, 0], "dilation": [1, 1]}


@dataclass(frozen=True)
class Site:
    """What is computed with a weight, and what becomes of it.

    Args:
        geometry: of a convolution, as ``torch.nn.functional.unfold`` has it; None for a product of rows.
        norm: names of weight, bias, mean and variance of the norm that follows, and its epsilon.
        summed: whether the output, after its norm, is added to something else.
    """

    geometry: dict[str, Any] | None
    norm: tuple | None = None
    summed: bool = False

    def before_norm(self, model: nn.Module, change: Tensor) -> Tensor:
        """What must be added before the norm so that this is added after it; nothing where its scale is zero."""
        if self.norm is None:
            return change
        weight, _, _, variance, eps = self.norm
        scale = (model.get_buffer(variance) + eps).rsqrt()
        if weight is not None:
            scale = scale * model.get_parameter(weight)
        back = torch.where(scale.abs() > 1e-6, 1 / scale, 0)
        return change * back.view(-1, *[1] * (change.dim() - 2))


@dataclass
class Use:
    """Copies of what a weight read and gave in a run, and of what its output was added to."""

    x: Tensor
    y: Tensor
    other: Tensor | None = None


class _Follow(TorchDispatchMode):
    def __init__(self, model: nn.Module, keep: Container[str] = ()):
        super().__init__()
        self.keep = keep
        self.sites: dict[str, Site | None] = {}  # None: used more than once, in no one place
        self.uses: dict[str, Use] = {}
        self._names = {id(t): name for name, t in [*model.named_parameters(), *model.named_buffers()]}
        self._made: dict[int, str] = {}  # tensor: the weight whose output it is, perhaps after a norm
        self._alive: list[Tensor] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        op, given = func._schema.name, positional(func, args, kwargs or {})
        if op in ("aten::add", "aten::add_") and (kwargs or {}).get("alpha", 1) == 1:
            self._sum(given)
        read = self._read(op, given)
        x = read[1].detach().clone() if read and read[0] in self.keep else None
        out = func(*args, **(kwargs or {}))
        outs = [leaf for leaf in tree_leaves(out) if isinstance(leaf, Tensor)]
        self._alive += outs
        for tensor in outs:  # written in place, it is something else now
            self._made.pop(id(tensor), None)
        if read:
            name, _, site = read
            self.sites[name] = None if name in self.sites else site
            self._made[id(out)] = name
            if x is not None:
                self.uses[name] = Use(x, out.detach().clone())
        elif op in NORMS and id(given[0]) in self._made:
            self._norm(given, outs[0])
        elif op in VIEWS and id(given[0]) in self._names:
            self._names[id(out)] = self._names[id(given[0])]
        return out

    def _sum(self, given: tuple) -> None:
        a, b = given[:2]
        if not (isinstance(a, Tensor) and isinstance(b, Tensor)) or a.shape != b.shape:
            return
        for mine, other in ((a, b), (b, a)):
            name = self._made.get(id(mine))
            if name is not None and self.sites[name] is not None:
                self.sites[name] = replace(self.sites[name], summed=True)
                if name in self.uses:
                    self.uses[name].other = other.detach().clone()

    def _norm(self, given: tuple, out: Tensor) -> None:
        name = self._made[id(given[0])]
        names = [self._names.get(id(tensor)) if isinstance(tensor, Tensor) else None for tensor in given[1:5]]
        if names[3] is not None and self.sites[name] is not None:
            self.sites[name] = replace(self.sites[name], norm=(*names, given[7]))
            self._made[id(out)] = name

    def _read(self, op: str, given: tuple) -> tuple[str, Tensor, Site] | None:
        """The weight that an operator multiplies by, what it reads, and how."""
        if op in PRODUCTS:
            at, weight = PRODUCTS[op]
            x, images = given[at], op.startswith("multipath") and given[5] == 1
            partial = op.startswith("multipath") and given[1].size(1) != x.size(given[5])
            site = None if partial else Site(POINT if images else None)
        elif op in CONVOLUTIONS and given[0].dim() == 4:
            weight, x, site = 1, given[0], _convolution(op, given)
        else:
            return None
        name = self._names.get(id(given[weight]))
        return None if name is None or site is None else (name, x, site)


def _convolution(op: str, given: tuple) -> Site | None:
    stride, padding, dilation = (list(values) for values in given[3:6])
    if given[8 if op == "aten::convolution" else 6] != 1 or (op == "aten::convolution" and given[6]):
        return None
    if op.startswith("multipath"):  # above, below, left, right
        if padding[0] != padding[1] or padding[2] != padding[3]:
            return None
        padding = [padding[0], padding[2]]
    kernel = list(given[1].shape[2:])
    return Site({"kernel_size": kernel, "stride": stride, "padding": padding, "dilation": dilation})


def find_sites(model: nn.Module, batch: tuple) -> dict[str, Site]:
    """Where weights are multiplied by what they read, by their names; those used in one place of a run."""
    follow = _run(model, batch, ())
    return {name: site for name, site in follow.sites.items() if site is not None}


def uses(model: nn.Module, batch: tuple, names: Container[str]) -> dict[str, Use]:
    """What these weights read and give in a run in evaluation mode."""
    return _run(model, batch, names).uses


def _run(model: nn.Module, batch: tuple, keep: Container[str]) -> _Follow:
    follow = _Follow(model, keep)
    # A hook on every block keeps MultiPathGCN from joining weights of several into one that has no name.
    hooks = [m.register_forward_hook(lambda *_: None) for m in model.modules() if isinstance(m, GCNBlock)]
    try:
        with evaluating(model), torch.enable_grad(), follow:
            model(*copied(batch))
    finally:
        for hook in hooks:
            hook.remove()
    return follow
