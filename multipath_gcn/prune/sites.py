"""Where in a run the weights of a model are used."""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from multipath_gcn.prune.arguments import positional
from multipath_gcn.prune.evaluation import evaluating

PRODUCTS = {
    "aten::mm": (0, 1),
    "aten::addmm": (1, 2),
    "aten::linear": (0, 1),
    "multipath_gcn::channel_transform": (0, 1),
}
CONVOLUTIONS = ("aten::convolution", "aten::conv2d", "multipath_gcn::grouped_conv2d")
NORMS = ("aten::native_batch_norm", "aten::batch_norm", "aten::_native_batch_norm_legit_no_training")


@dataclass(frozen=True)
class Site:
    """Where in a run a weight is used: the number of its operator, and of the sum that its output goes into.

    Args:
        call: number of the operator that reads the channels.
        operand: which of its arguments they are.
        geometry: of a convolution, as ``torch.nn.functional.unfold`` has it; None for a product of rows.
        total: number of the operator that adds the output, after its norm, to something else, or None.
        other: which operand of that sum the something else is.
        norm: names of weight, bias, mean and variance of the norm between, and its epsilon.
    """

    call: int
    operand: int
    geometry: dict[str, Any] | None
    total: int | None = None
    other: int = 0
    norm: tuple | None = None

    def read(self, found: tuple[tuple, Tensor]) -> Tensor:
        return found[0][self.operand]

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
class _Made:
    """By which weight a tensor was made, and the norm since."""

    weight: str
    norm: tuple | None = None


class _Find(TorchDispatchMode):
    def __init__(self, model: nn.Module):
        super().__init__()
        self.calls, self.sites = 0, {}
        self.names = {id(t): name for name, t in [*model.named_parameters(), *model.named_buffers()]}
        self.made: dict[int, _Made] = {}
        self.alive: list[Tensor] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        args = positional(func, args, kwargs or {})
        op = func._schema.name
        self.alive += [leaf for leaf in tree_leaves(out) if isinstance(leaf, Tensor)]
        tensors = [leaf for leaf in tree_leaves(args) if isinstance(leaf, Tensor)]
        if op in CONVOLUTIONS:
            self._convolution(op, args, out)
        elif op in PRODUCTS:
            self._product(op, args, out)
        elif op in NORMS and id(args[0]) in self.made:
            names = [self.names.get(id(tensor)) if isinstance(tensor, Tensor) else None for tensor in args[1:5]]
            made = self.made[id(args[0])]
            first = out[0] if isinstance(out, (tuple, list)) else out
            if names[3] is not None:
                self.made[id(first)] = _Made(made.weight, (*names, args[7]))
        elif op in ("aten::add", "aten::add_") and len(tensors) == 2 and tensors[0].shape == tensors[1].shape:
            for mine, other in ((0, 1), (1, 0)):
                made = self.made.get(id(tensors[mine]))
                if made is not None:
                    site = self.sites[made.weight]
                    self.sites[made.weight] = Site(site.call, site.operand, site.geometry, self.calls, other, made.norm)
        elif len(tensors) == 1 and id(tensors[0]) in self.names and isinstance(out, Tensor):
            self.names[id(out)] = self.names[id(tensors[0])]  # a view of a weight
        self.calls += 1
        return out

    def _convolution(self, op: str, args: tuple, out: Tensor) -> None:
        name, groups = self.names.get(id(args[1])), args[8 if op == "aten::convolution" else 6]
        if name is None or groups != 1 or args[0].dim() != 4 or (op == "aten::convolution" and args[6]):
            return
        stride, padding, dilation = (list(values) for values in args[3:6])
        if op.startswith("multipath"):  # above, below, left, right
            if padding[0] != padding[1] or padding[2] != padding[3]:
                return
            padding = [padding[0], padding[2]]
        geometry = {"kernel_size": list(args[1].shape[2:]), "stride": stride, "padding": padding, "dilation": dilation}
        self._site(name, Site(self.calls, 0, geometry), out)

    def _product(self, op: str, args: tuple, out: Tensor) -> None:
        x, weight = PRODUCTS[op]
        name = self.names.get(id(args[weight]))
        if name is None:
            return
        images = op.startswith("multipath") and args[5] == 1
        one = {"kernel_size": [1, 1], "stride": [1, 1], "padding": [0, 0], "dilation": [1, 1]}
        self._site(name, Site(self.calls, x, one if images else None), out)

    def _site(self, name: str, site: Site, out: Tensor) -> None:
        if name in self.sites:  # used twice: no one place to rebuild
            self.sites[name] = None
        else:
            self.sites[name] = site
            self.made[id(out)] = _Made(name)


def find_sites(model: nn.Module, batch: tuple) -> dict[str, Site]:
    """Where weights are multiplied by what they read, by their names; those used in one place of a run."""
    find = _Find(model)
    with evaluating(model), torch.enable_grad(), find:
        model(*batch)
    return {name: site for name, site in find.sites.items() if site is not None}


@dataclass
class _Watch(TorchDispatchMode):
    """Keeps what operators of a run were given and gave."""

    wanted: set[int]
    calls: int = 0
    found: dict[int, tuple[tuple, Any]] = field(default_factory=dict)

    def __post_init__(self):
        super().__init__()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if self.calls in self.wanted:
            self.found[self.calls] = tuple(a.detach() if isinstance(a, Tensor) else a for a in args), out.detach()
        self.calls += 1
        return out


def watched(model: nn.Module, batch: tuple, calls: set[int]) -> dict[int, tuple[tuple, Tensor]]:
    """Arguments and result of operators of a run in evaluation mode, by their number in it."""
    watch = _Watch(calls)
    with evaluating(model), torch.enable_grad(), watch:
        model(*batch)
    return watch.found
