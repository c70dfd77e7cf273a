"""Channels and residual branches that training itself removes."""

import copy
import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from multipath_gcn.nn import layer_costs
from multipath_gcn.prune.budget import cost
from multipath_gcn.prune.channels import ChannelGroup, Channels
from multipath_gcn.prune.cut import cut
from multipath_gcn.prune.cut_branches import branches, plan_branches
from multipath_gcn.prune.expected_cost import ExpectedCost, Term, share
from multipath_gcn.prune.find import find_channels
from multipath_gcn.prune.gates import BRANCH, CHANNEL, Gate, GatedNorm
from multipath_gcn.prune.plan import Plan
from multipath_gcn.prune.readers import readers
from multipath_gcn.prune.staged import Compressed, Train
from multipath_gcn.prune.verify import same_outputs, verify

COSTS = ("parameters", "macs")


class AdaptivePruning:
    r"""Learns how many channels of every layer and which residual blocks a network needs: the proportion is what comes
    out of training, not what is asked for.

    .. math::
        \mathcal{L} = \mathcal{L}_{\text{task}} + \lambda \; \frac{\mathrm{E}[\text{cost}]}{\text{cost}}

    over weights and gates (:mod:`multipath_gcn.prune.gates`), with the expected cost of
    :mod:`multipath_gcn.prune.expected_cost`. Then channels whose gate is 0 are removed, and blocks whose gate is 0
    become their shortcut; both are proven as any plan is. Whoever called fine-tunes what is left.

    Our reading of a paper, *Adaptive pruning of channel and layer*, of which the abstract alone is known to us: both
    proportions are learned, half of the parameters go, accuracy stays. Gates and penalty are our choice. A layer
    whose channels are added to others' (the stream between residual blocks) keeps them all.

    Args:
        strength: :math:`\lambda`, above 0. How much goes depends on steps and learning rate, too: with SGD and momentum
            m, under the penalty alone, a channel closes when :math:`\lambda` times the sum of lr / (1 - m) over the
            steps passes 47.
        epochs: of training with gates, at a learning rate that weights and gates share.
        cost: ``"parameters"`` or ``"macs"``.
        gates: names of layers and blocks to be gated; None: all that can be.

    Raises:
        ValueError: for values out of range.
    """

    def __init__(
        self,
        strength: float = 0.65,
        epochs: int = 6,
        cost: str = "parameters",
        gates: Iterable[str] | None = None,
    ):
        if not strength > 0 or not math.isfinite(strength):
            raise ValueError(f"strength must be a number above 0, got {strength!r}")
        if isinstance(epochs, bool) or not isinstance(epochs, int) or epochs < 1:
            raise ValueError(f"epochs must be an integer of at least 1, got {epochs!r}")
        if cost not in COSTS:
            raise ValueError(f"cost must be one of {list(COSTS)}, got {cost!r}")
        if isinstance(gates, str):
            raise ValueError(f"gates must be a list of names, got {gates!r}")
        self.strength, self.epochs, self.cost = strength, epochs, cost
        self.gates = None if gates is None else list(gates)

    def compress(self, model: nn.Module, inputs: tuple[Any, ...], train: Train) -> Compressed:
        """See :class:`~multipath_gcn.prune.staged.StagedMethod`."""
        channels = find_channels(model, *inputs)
        of_channels, of_branches = self.norms(model, channels)
        terms = self._terms(model, inputs, channels, of_channels, of_branches)
        for name, norm in (of_channels | of_branches).items():
            if not share(terms, norm):
                raise ValueError(
                    f"gates must be on layers whose cost nn.layer_costs counts, got {name!r}; there are "
                    f"{[x for x, at in (of_channels | of_branches).items() if share(terms, at)]}"
                )
        gated = copy.deepcopy(model)
        for norm in of_channels.values():
            plain = gated.get_submodule(norm)
            gate = Gate((plain.num_features,), share(terms, norm) / plain.num_features, **CHANNEL)
            gated.set_submodule(norm, GatedNorm(plain, gate))
        for norm in of_branches.values():
            gated.set_submodule(norm, GatedNorm(gated.get_submodule(norm), Gate((), share(terms, norm), **BRANCH)))
        for some in filter(None, (of_channels, of_branches)):
            self._rehearse(gated, inputs, of_channels, of_branches, list(some.values()))
        expected = ExpectedCost(gated, terms)
        train(gated, "gates", self.epochs, penalty=lambda: self.strength * expected(), keep="last")
        return self._finish(gated, inputs, of_channels, of_branches)

    def norms(self, model: nn.Module, channels: Channels) -> tuple[dict[str, str], dict[str, str]]:
        """The batch norms that get gates: by layer, and by residual block.

        Raises:
            ValueError: for a name in ``gates`` that cannot have one, or a model where nothing can.
        """
        of_channels: dict[str, str] = {}
        why: dict[str, str] = {}
        for group in channels.groups:
            for layer in group.layers:
                norm = _only_norm(model, channels, group, layer)
                held = next((reason for reason in group.held if reason is not None), None)
                if held is not None:
                    why[layer] = held
                elif len(group.layers) > 1:
                    why[layer] = f"it shares its channels with {next(x for x in group.layers if x != layer)}"
                elif norm is None:
                    why[layer] = "it has no batch norm with scale and shift alone for itself"
                else:
                    of_channels[layer] = norm
        of_branches = {}
        for block in branches(model):
            last = [name for name, m in model.get_submodule(block).body.named_modules() if isinstance(m, _BatchNorm)]
            of_branches[block] = f"{block}.body.{last[-1]}"
        if self.gates is not None:
            for name in self.gates:
                if name not in of_channels and name not in of_branches:
                    reason = why.get(name, f"there are {[*of_channels, *of_branches]}")
                    raise ValueError(f"gates must name layers and blocks that can be removed, got {name!r}: {reason}")
            of_channels = {name: norm for name, norm in of_channels.items() if name in self.gates}
            of_branches = {name: norm for name, norm in of_branches.items() if name in self.gates}
        if not of_channels and not of_branches:
            raise ValueError(f"model must have channels or residual blocks that can be gated, got {why}")
        return of_channels, of_branches

    def _terms(
        self,
        model: nn.Module,
        inputs: tuple[Any, ...],
        channels: Channels,
        of_channels: dict[str, str],
        of_branches: dict[str, str],
    ) -> list[Term]:
        whole: dict[str, list[str]] = {}  # by layer: the gates that all of its weight depends on
        read: dict[str, dict[str, float]] = {}  # by layer: the gates of what it reads, and how large a part that is
        for layer, norm in of_channels.items():
            group = channels.group(layer)
            whole.setdefault(group.weights[layer].rpartition(".")[0], []).append(norm)
            for reader in readers(model, channels, group):
                columns, filters = reader.weight.size(1), len(reader.weight)
                entries = sum(len(at) * (filters if rows is None else 1) for rows, at in reader.columns)
                read.setdefault(reader.name.rpartition(".")[0], {})[norm] = entries / (columns * filters)
        costs = layer_costs(model, *inputs)
        for block, norm in of_branches.items():
            for name in {found.name for found in costs if found.name.startswith(f"{block}.body.")}:
                whole.setdefault(name, []).append(norm)
        return [Term(getattr(c, self.cost), tuple(whole.get(c.name, ())), read.get(c.name, {})) for c in costs]

    def _rehearse(
        self,
        gated: nn.Module,
        inputs: tuple[Any, ...],
        of_channels: dict[str, str],
        of_branches: dict[str, str],
        shut: list[str],
    ) -> None:
        """Closes every second channel, or branches, and removes them: what cannot go is known before training."""
        tried = copy.deepcopy(gated)
        for norm in shut:
            raw = tried.get_submodule(norm).gate.raw
            (raw[1::2] if raw.dim() else raw).data.fill_(-1e4)
        if any(not tried.get_submodule(norm).eval().gate().all() for norm in shut):
            self._finish(tried, inputs, of_channels, of_branches)

    def _finish(
        self, gated: nn.Module, inputs: tuple[Any, ...], of_channels: dict[str, str], of_branches: dict[str, str]
    ) -> Compressed:
        """Gates folded and what they have closed removed; ``gated`` is no longer gated then."""
        gated.eval()
        open_ = {norm: gated.get_submodule(norm).gate() != 0 for norm in (*of_channels.values(), *of_branches.values())}
        for norm in open_:
            gated.set_submodule(norm, gated.get_submodule(norm).folded())
        closed = [block for block, norm in of_branches.items() if not open_[norm]]
        gone = {layer: ~open_[norm].numpy(force=True) for layer, norm in of_channels.items()}
        return self._remove(gated, inputs, gone, closed)

    def _remove(
        self, model: nn.Module, inputs: tuple[Any, ...], shut: dict[str, np.ndarray], closed: list[str]
    ) -> Compressed:
        before, smaller = cost(model, *inputs), copy.deepcopy(model)
        plans: list[Plan] = []
        if closed:
            plans.append(plan_branches(smaller, closed))
            verify(smaller, plans[-1], *inputs)
            cut(smaller, plans[-1])
        channels, gone = find_channels(smaller, *inputs), {}
        for layer, rows in shut.items():
            if not any(layer.startswith(f"{block}.") for block in closed):
                group = channels.group(layer)
                units = group.rows[layer]  # a unit of several rows goes when all of them are shut
                gone[group.name] = group.spared(np.setdiff1d(units[rows], units[~rows]))
        gone = {name: units for name, units in gone.items() if units}
        if gone:
            plans.append(channels.plan_units(gone))
            verify(smaller, plans[-1], *inputs)
            cut(smaller, plans[-1])
        if not plans:
            raise ValueError(
                f"strength must be large enough to close a gate: {self.strength} has closed none in {self.epochs} "
                "epochs (more steps, or a larger learning rate, close more, too)"
            )
        after = cost(smaller, *inputs)
        achieved = {name: getattr(after, name) / getattr(before, name) for name in COSTS}
        achieved |= {"channels": sum(map(len, gone.values())), "branches": len(closed)}
        asked = {"strength": self.strength, "cost": self.cost}
        return Compressed(smaller, plans, asked, achieved, same_outputs(model, smaller, inputs))


def _only_norm(model: nn.Module, channels: Channels, group: ChannelGroup, layer: str) -> str | None:
    """The batch norm that a layer's channels pass before anything reads them, if it is the only one that they pass, and
    they are all that it has, in their order."""
    happens = channels.happening(group)
    kinds = [event.kind for event, _ in happens]
    if kinds.count("normalised") != 1 or "read" in kinds[: kinds.index("normalised")]:
        return None
    event, units = happens[kinds.index("normalised")]
    if None in event.names[:2] or not np.array_equal(units, group.rows[layer]):
        return None
    norm = event.names[0].rpartition(".")[0]
    return norm if isinstance(model.get_submodule(norm), _BatchNorm) else None
