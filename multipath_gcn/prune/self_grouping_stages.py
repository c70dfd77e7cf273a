"""Self-grouping of a whole network: group, train, group again, and real groups at the end."""

import copy
import math
from collections.abc import Callable, Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any

from torch import Tensor, nn

from multipath_gcn.nn import layer_costs
from multipath_gcn.prune.cut_regrouped import check_regroupable
from multipath_gcn.prune.masks import fold_masks, mask_weights
from multipath_gcn.prune.repack import repack
from multipath_gcn.prune.self_grouping import Grouping, importance, self_group
from multipath_gcn.prune.staged import Compressed, Train

FINE_TUNING = ("local_and_global", "global")
Assign = Callable[[Tensor, float, int, int], tuple[Tensor, Grouping]]


class SelfGrouping:
    r"""The schedule of `SG-CNN <https://arxiv.org/abs/2009.13803>`_, and the groups that its authors left as masks.

    At sparsities ``step``, ``2 step``, ..., ``sparsity`` the filters of every layer are clustered anew, by what is left
    of their weights, and masked (:func:`~multipath_gcn.prune.self_group`); masks only grow. After every level the
    network trains: the paper's local fine-tuning. Then :func:`~multipath_gcn.prune.repack` makes real groups of what is
    left, and whoever called trains that: global fine-tuning.

    After the authors' code: the order of these steps, clusters, thresholds, a lower limit for linear layers. Ours:
    which layers, by a rule instead of by hand, and that groups are real.

    Args:
        sparsity: part of the kernels of every layer that are off at the end, in (0, 1).
        step: from level to level, above 0; the last is ``sparsity`` itself.
        groups: clusters of every layer.
        epochs: of training after every level.
        fine_tuning: ``"local_and_global"`` trains after every level, ``"global"`` after all but the last.
        linear_sparsity: the most for linear layers; 0 leaves them alone.
        skip: patterns of names of layers to be left alone beside the first and the last one called.
        seed: of k-means.
        assign: what makes masks and groups.

    Raises:
        ValueError: for values out of range.
    """

    def __init__(
        self,
        sparsity: float = 0.75,
        step: float = 0.25,
        groups: int = 16,
        epochs: int = 1,
        fine_tuning: str = "local_and_global",
        linear_sparsity: float = 0.6,
        skip: Iterable[str] = (),
        seed: int = 0,
        assign: Assign = self_group,
    ):
        if not 0 < sparsity < 1:
            raise ValueError(f"sparsity must lie between 0 and 1, got {sparsity!r}")
        if not step > 0 or not math.isfinite(step):
            raise ValueError(f"step must be above 0, or the schedule would not end, got {step!r}")
        if not 0 <= linear_sparsity < 1:
            raise ValueError(f"linear_sparsity must lie in [0, 1), got {linear_sparsity!r}")
        for name, value in (("groups", groups), ("epochs", epochs)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} must be an integer of at least 1, got {value!r}")
        if fine_tuning not in FINE_TUNING:
            raise ValueError(f"fine_tuning must be one of {list(FINE_TUNING)}, got {fine_tuning!r}")
        if isinstance(skip, str):
            raise ValueError(f"skip must be a list of patterns, got {skip!r}")
        self.sparsity, self.step, self.groups, self.epochs = sparsity, step, groups, epochs
        self.fine_tuning, self.linear_sparsity = fine_tuning, linear_sparsity
        self.skip, self.seed, self.assign = tuple(skip), seed, assign

    @property
    def levels(self) -> list[float]:
        """Sparsities, the last one being what is asked for."""
        count = math.ceil(self.sparsity / self.step - 1e-9)
        return [*(round(self.step * k, 9) for k in range(1, count)), self.sparsity]

    def layers(self, model: nn.Module, *inputs: Any) -> list[str]:
        """The layers to be grouped, in the order in which they are called.

        Raises:
            ValueError: where there are none, a pattern of ``skip`` matches nothing, or a layer has fewer filters than
                there are ``groups``.
        """
        called = list(dict.fromkeys(cost.name for cost in layer_costs(model, *inputs)))
        for pattern in self.skip:
            if not any(fnmatchcase(name, pattern) for name in called):
                raise ValueError(f"skip must match names of layers, {pattern!r} matches none of {called}")
        found = []
        for name in called[1:-1]:
            layer = model.get_submodule(name)
            skipped = any(fnmatchcase(name, pattern) for pattern in self.skip)
            if skipped or not _is_regroupable(model, name) or not self._most(layer):
                continue
            if len(layer.weight) < self.groups:
                raise ValueError(
                    f"groups must be at most the filters of every layer, {name} has {len(layer.weight)}, got "
                    f"{self.groups}: take fewer, or skip that layer"
                )
            found.append(name)
        if not found:
            raise ValueError(f"model must have layers that can be grouped between its first and last, got {called}")
        return found

    def compress(self, model: nn.Module, inputs: tuple[Any, ...], train: Train) -> Compressed:
        """See :class:`~multipath_gcn.prune.staged.StagedMethod`."""
        layers, levels = self.layers(model, *inputs), self.levels
        masked, groupings = copy.deepcopy(model), {}
        for level in levels:
            masks, groupings = self.masks(masked, layers, level)
            mask_weights(masked, masks)
            if level != levels[-1] or self.fine_tuning == "local_and_global":
                train(masked, f"sparsity{round(100 * level, 4):g}", self.epochs)
        fold_masks(masked)
        found = repack(masked.eval(), groupings, *inputs)
        asked = {"sparsity": self.sparsity, "groups": self.groups}
        achieved = {"sparsity": kernel_sparsity(masked, layers), "layers": len(layers)}
        return Compressed(found.model, found.plans, asked, achieved, found.difference)

    def masks(
        self, model: nn.Module, layers: Iterable[str], level: float
    ) -> tuple[dict[str, Tensor], Mapping[str, Grouping]]:
        """Masks and groups of every layer at a sparsity."""
        found = {}
        for name in layers:
            layer = model.get_submodule(name)
            try:
                found[name] = self.assign(layer.weight.detach(), min(level, self._most(layer)), self.groups, self.seed)
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from error
        return {name: mask for name, (mask, _) in found.items()}, {name: groups for name, (_, groups) in found.items()}

    def _most(self, layer: nn.Module) -> float:
        return self.linear_sparsity if layer.weight.dim() == 2 else self.sparsity


def _is_regroupable(model: nn.Module, name: str) -> bool:
    try:
        check_regroupable(model, name)
    except ValueError:
        return False
    return True


def kernel_sparsity(model: nn.Module, layers: Iterable[str]) -> float:
    """Part of the kernels of these layers that are zero."""
    off = [(importance(model.get_submodule(name).weight) == 0).flatten() for name in layers]
    return sum(int(part.sum()) for part in off) / sum(map(len, off))
