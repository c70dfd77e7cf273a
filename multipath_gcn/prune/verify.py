"""Proof that removing channels is what setting their weights to zero is."""

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from multipath_gcn.prune.blame import blame
from multipath_gcn.prune.cut import cut
from multipath_gcn.prune.cut_branches import silence_branches
from multipath_gcn.prune.cut_paths import silence_paths
from multipath_gcn.prune.errors import CannotPrune
from multipath_gcn.prune.evaluation import evaluated
from multipath_gcn.prune.plan import Plan

TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-5, torch.bfloat16: 5e-2, torch.float16: 5e-3}


@dataclass(frozen=True)
class Verification:
    """The largest difference of the outputs, over the largest value or 1, for each of the ``runs`` compared."""

    differences: dict[str, float]

    @property
    def difference(self) -> float:
        return max(self.differences.values())


def verify(model: nn.Module, plan: Plan, *inputs: Any) -> Verification:
    """Proves a plan on a copy of the model, which is not changed.

    The model without the channels must give what the model with zeros for them gives: with its own weights on
    ``inputs`` and on random ones, and with random weights, so that a layer that happens to compute nothing (a scale of
    zero at the end of a residual branch, say) hides nothing.

    Args:
        model: any module.
        plan: what would be removed.
        inputs: what ``forward`` takes.

    Raises:
        CannotPrune: naming the operator from which on the two differ, or at which the smaller model fails.
    """
    compared = {
        "given inputs": (model, inputs),
        "random inputs": (model, shaken(inputs, seed=0)),
        "random weights": (_with_random_weights(model), shaken(inputs, seed=1)),
    }
    found = {name: _difference(*pair, plan, name) for name, pair in compared.items()}
    return Verification({name: difference for name, difference in found.items() if difference is not None})


def same_outputs(model: nn.Module, other: nn.Module, inputs: tuple) -> float:
    """The largest difference of the outputs of two models, over the largest value or 1, on given and random inputs.

    Raises:
        CannotPrune: where it is more than rounding.
    """
    worst = 0.0
    for x in (inputs, shaken(inputs, seed=0)):
        try:
            all_wanted = _tensors(evaluated(model, copied(x)))
        except Exception:  # of random numbers where the model wants others
            if x is inputs:
                raise
            continue
        if x is not inputs and not all(y.isfinite().all() for y in all_wanted):
            continue
        for wanted, y in zip(all_wanted, _tensors(evaluated(other, copied(x))), strict=True):
            worst = max(worst, _relative(y, wanted))
            if not worst <= TOLERANCE.get(wanted.dtype, 1e-5):
                raise CannotPrune(f"outputs must stay the same, they differ by {worst:.3g}", "the model")
    return worst


def zeroed(model: nn.Module, plan: Plan) -> nn.Module:
    """A copy of the model with zeros in the place of what the plan removes."""
    copied = copy.deepcopy(model)
    known = dict([*copied.named_parameters(), *copied.named_buffers()])
    with torch.no_grad():
        for name, dims in plan.kept.items():
            for dim, at in dims.items():
                gone = torch.ones(known[name].size(dim), dtype=torch.bool)
                gone[at] = False
                known[name].index_fill_(dim, gone.nonzero().flatten().to(known[name].device), 0)
        for name, read in plan.grouped.items():
            _zero_groups(known[name], read)
        for name, read in plan.windowed.items():
            windows = copied.get_submodule(name.rpartition(".")[0]).windows
            start = torch.from_numpy(windows.start.copy())[:, None] + torch.arange(windows.width)
            gone = ~torch.isin(start % windows.in_channels, torch.tensor(read["channels"]))
            known[name][gone.to(known[name].device)] = 0
        for name, told in plan.regrouped.items():
            _zero_regrouped(known[name], plan.kept.get(name, {}), told)
    silence_paths(copied, plan)
    silence_branches(copied, plan)
    return copied


def _zero_regrouped(weight: Tensor, kept: dict[int, list[int]], told: dict[str, Any]) -> None:
    rows, columns = (torch.tensor(kept.get(dim, range(weight.size(dim)))) for dim in (0, 1))
    for own, inputs in zip(rows.split(told["filters"]), told["inputs"], strict=True):
        gone = torch.ones(weight.size(1), dtype=torch.bool)
        gone[columns[torch.tensor(inputs, dtype=torch.long)]] = False
        weight[own[:, None], gone.nonzero().flatten()] = 0


def _zero_groups(weight: Tensor, read: dict[str, Any]) -> None:
    k, m = weight.size(1), weight.size(0) // read["groups"]
    staying = set(read["channels"])
    for g in range(read["groups"]):
        gone = [c for c in range(k) if g * k + c not in staying]
        weight[g * m : (g + 1) * m, gone] = 0


def shaken(inputs: tuple, seed: int) -> tuple:
    """The same shapes and integers with random numbers; sparse values and graphs as they are."""
    generator = torch.Generator().manual_seed(seed)

    def one(leaf: Any) -> Any:
        if isinstance(leaf, Tensor) and leaf.is_floating_point() and leaf.layout == torch.strided:
            return torch.randn(leaf.shape, generator=generator).to(leaf)
        return leaf

    return tree_map(one, inputs)


def _with_random_weights(model: nn.Module) -> nn.Module:
    copied, generator = copy.deepcopy(model), torch.Generator().manual_seed(2)
    positive = {
        id(module.running_var) for module in copied.modules() if getattr(module, "running_var", None) is not None
    }
    for tensor in [*copied.parameters(), *copied.buffers()]:
        if not tensor.is_floating_point() or tensor.layout != torch.strided:
            continue
        size = tensor.shape[1:].numel() if tensor.dim() > 1 else 1
        values = torch.rand(tensor.shape, generator=generator) + 0.5
        if tensor.dim() > 1:
            values = torch.randn(tensor.shape, generator=generator) * (2 / max(1, size)) ** 0.5
        elif id(tensor) not in positive:
            values *= torch.randint(0, 2, tensor.shape, generator=generator) * 2 - 1
        tensor.data.copy_(values.to(tensor))
    return copied


def _difference(model: nn.Module, inputs: tuple, plan: Plan, name: str) -> float | None:
    """None where the model itself cannot be compared: it refuses random inputs, or gives infinities of them."""
    reference, smaller = zeroed(model, plan), copy.deepcopy(model)
    cut(smaller, plan)
    given = name == "given inputs"
    try:
        wanted = _tensors(evaluated(reference, copied(inputs)))
    except Exception:  # of random numbers where the model wants others; with its own it ran
        if given:
            raise
        return None
    if not all(y.isfinite().all() for y in wanted):
        if given:
            raise CannotPrune(
                f"the model must give finite values to be compared, got nan or inf on {name}", "the model"
            )
        return None
    try:
        found = _tensors(evaluated(smaller, copied(inputs)))
    except Exception as error:  # whatever the code of the model raises when a width is not what it was
        where = blame(reference, smaller, plan, inputs)
        raise CannotPrune(f"{where} cannot do without the channels that plan removes: {error}", where) from error
    worst = 0.0
    for y, full in zip(found, wanted, strict=True):
        if y.shape != full.shape:
            where = blame(reference, smaller, plan, inputs)
            raise CannotPrune(f"{where} changes the output from {list(full.shape)} to {list(y.shape)}", where)
        difference = _relative(y, full)
        worst = max(worst, difference)
        if not difference <= TOLERANCE.get(full.dtype, 1e-5):
            where = blame(reference, smaller, plan, inputs)
            raise CannotPrune(
                f"{where} computes something else without the channels than with zeros for them: "
                f"outputs differ by {difference:.3g} on {name}", where)  # fmt: skip
    return worst


def _relative(y: Tensor, wanted: Tensor) -> float:
    """Over the largest value, or 1; of numbers that are not floating the part that differs."""
    if not wanted.numel():
        return 0.0
    if not (wanted.is_floating_point() or wanted.is_complex()):
        return float((y != wanted).double().mean())
    difference = (y - wanted).abs().max()
    return float(difference) / max(1.0, float(wanted.abs().max())) if difference.isfinite() else float("inf")


def _tensors(y: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(y) if isinstance(leaf, Tensor)]


def copied(inputs: tuple) -> tuple:
    """Inputs that a model may write into."""
    return tree_map(lambda leaf: leaf.clone() if isinstance(leaf, Tensor) else leaf, inputs)
