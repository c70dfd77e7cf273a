"""Zero-shot classification by attributes, with adversaries between groups of attributes."""

import inspect
import logging
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from multipath_gcn.data.node_dataset import PARTS
from multipath_gcn.data.zero_shot_dataset import ZeroShotDataset
from multipath_gcn.models.attribute_groups import attribute_groups, correlation_change
from multipath_gcn.tasks.compatibility import LOSSES, Loss, compatibility

log = logging.getLogger(__name__)
EVALUATED = 8192  # examples at a time


class ZeroShotTask:
    r"""Trains on the training classes, scores every part among the classes of that part alone.

    .. math::
        L = \ell(s, y) + \sum_{g \ne a} w_{ga} \sum_{k \in a} \mathrm{BCE}(\hat a_{gk}, a_k), \qquad
        w_{ga} = \frac{\max_{j \in g, k \in a} \Delta_{jk}}{\sum_{g' \ne a'} \max_{j \in g', k \in a'} \Delta_{jk}}

    :math:`\ell` is a loss of :mod:`multipath_gcn.tasks.compatibility`, :math:`\hat a_g` are the guesses of group g's
    latent about the attributes a of other groups, and :math:`\Delta` says which correlations of the training examples
    do not hold in the unseen classes (see :func:`~multipath_gcn.models.attribute_groups.correlation_change`; these
    are the classes of ``valid`` and ``test``, of which the attributes are known, and nothing else). Guesses learn by
    the gradient of L; latents get from them that gradient reversed and scaled by

    .. math::
        \lambda_i = \lambda \Big(\frac{2}{1 + e^{-3 i / T}} - 1\Big) \text{ for } i < T, \qquad \lambda_i = \lambda
        \text{ from there on}

    in the epochs i = 0, 1, ... For BCE every attribute is brought to [0, 1] over the training classes.

    Args:
        dataset: features, classes and their attributes.
        loss: ``ale``, ``devise``, ``eszsl``, ``sje``, ``softmax``, or a function of scores, labels and attributes.
        groups: how many groups of attributes are asked for; 1: the plain loss, without adversaries.
        adversary: :math:`\lambda`, 0 or more; at 0 adversaries learn and change nothing else.
        ramp_epochs: T, 0 or more.
        change: which changes of a correlation count: ``lost`` or ``absolute``.
        group_seed: of the clustering.
        batch_size: examples of a training step, at most; 2 at least, since batch norm learns nothing from one.
        device: where the tensors live.

    Attributes:
        in_channels, out_channels: features and attributes.
        further_sizes: the groups, with which a model is made.
        change: :math:`\Delta` [A, A].
        weights: [G, A], :math:`w_{ga}` in the columns of a's attributes, 0 in those of g's own.
        steps: training steps of an epoch.

    Raises:
        ValueError: for an argument out of its range.
    """

    def __init__(
        self,
        dataset: ZeroShotDataset,
        loss: str | Loss = "ale",
        groups: int = 3,
        adversary: float = 0.5,
        ramp_epochs: int = 10,
        change: str = "lost",
        group_seed: int = 0,
        batch_size: int = 128,
        device: torch.device | str = "cpu",
    ):
        if not isinstance(dataset, ZeroShotDataset):
            kind = type(dataset).__name__
            rule = "be a ZeroShotDataset for task=zero_shot, such as data=digit_segments"
            raise ValueError(f"dataset must {rule}, got {kind}")
        if not callable(loss) and loss not in LOSSES:
            raise ValueError(f"loss must be one of {', '.join(LOSSES)}, got {loss!r}")
        if not 0 <= adversary < math.inf:
            raise ValueError(f"adversary must be 0 or more, got {adversary}")
        for name, value, least in (("ramp_epochs", ramp_epochs, 0), ("batch_size", batch_size, 2)):
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ValueError(f"{name} must be an integer of at least {least}, got {value!r}")
        self.dataset, self.device = dataset, torch.device(device)
        self.loss = loss if callable(loss) else LOSSES[loss]
        self.adversary, self.ramp_epochs = adversary, ramp_epochs
        self.x, self.attributes = dataset.x.to(device), dataset.attributes.to(device)
        self.rows = {part: dataset.split[part].to(device) for part in PARTS}
        self.classes = {part: dataset.classes(part).to(device) for part in PARTS}
        y = dataset.y.to(device)
        self.labels = {part: torch.searchsorted(self.classes[part], y[self.rows[part]]) for part in PARTS}

        seen = dataset.attributes[dataset.y[dataset.split["train"]]]
        unseen = dataset.attributes[torch.cat([dataset.classes(part) for part in PARTS[1:]])]
        self.change = correlation_change(seen, unseen, change)
        self.groups = attribute_groups(seen, unseen, groups, group_seed, change)
        if len(self.groups) < groups:
            log.warning("%d groups of attributes were asked for, co-clustering found %d", groups, len(self.groups))
        self.weights = pair_weights(self.change, self.groups).float().to(device)
        self.targets = _to_unit_range(self.attributes[self.classes["train"]])

        self.in_channels, self.out_channels = dataset.x.shape[1], dataset.attributes.shape[1]
        self.further_sizes = {"groups": self.groups}
        examples = len(self.rows["train"])
        self.steps = max(1, min(-(-examples // batch_size), examples // 2))

    def check(self, model: nn.Module) -> None:
        """Refuses a model whose ``forward`` does not take features, and ``reverse`` where there are adversaries."""
        try:
            inspect.signature(model.forward).bind(None, **({"reverse": 0.0} if len(self.groups) > 1 else {}))
        except TypeError as error:
            rule = "take features and reverse=, such as model=grouped_attributes, for task=zero_shot"
            raise ValueError(f"model must {rule}, got {type(model).__name__}: {error}") from error

    def ramp(self, epoch: int) -> float:
        """The scale of reversed gradients in an epoch, counted from 1."""
        done = epoch - 1
        if done >= self.ramp_epochs:
            return self.adversary
        return self.adversary * (2 / (1 + math.exp(-3 * done / self.ramp_epochs)) - 1)

    def train_losses(self, model: nn.Module, epoch: int) -> Iterator[Tensor]:
        """The loss of every step of an epoch, with a gradient; the model must be stepped before the next is taken."""
        attributes = self.attributes[self.classes["train"]]
        for drawn in torch.randperm(len(self.rows["train"])).to(self.device).tensor_split(self.steps):
            model.train()
            x, labels = self.x[self.rows["train"][drawn]], self.labels["train"][drawn]
            if len(self.groups) == 1:
                yield self.loss(model(x), labels, attributes)
                continue
            scores, guesses = model(x, reverse=self.ramp(epoch))
            truth = self.targets[labels][:, None].expand_as(guesses)
            errors = F.binary_cross_entropy_with_logits(guesses, truth, reduction="none").mean(dim=0)
            yield self.loss(scores, labels, attributes) + (self.weights * errors).sum()

    @torch.no_grad()
    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """Per-class accuracy of every part among its own classes, as a fraction, and the loss of the classes to
        validate, without adversaries, as ``valid_loss``."""
        found = {}
        for part in PARTS:
            scores, attributes = self._scores(model, part), self.attributes[self.classes[part]]
            guesses = compatibility(scores, attributes).argmax(dim=1)
            found[part] = class_accuracy(guesses, self.labels[part])
            if part == "valid":
                loss = self.loss(scores, self.labels[part], attributes).item()
        return found | {"valid_loss": loss}

    @torch.no_grad()
    def finish(self, model: nn.Module, history: list[dict[str, float]], directory: Path) -> dict[str, Any]:
        """The groups, as numbers of attributes, and the share of all changes that is between groups, where adversaries
        are; draws both, and the unseen classes, into ``figure.png``."""
        from multipath_gcn.report.attributes import plot_attributes  # here, since importing matplotlib takes a second

        truth, found, names = [], [], []
        for part in PARTS[1:]:
            scores = self._scores(model, part)
            for number, label in enumerate(self.classes[part].tolist()):
                names.append(f"{self.dataset.class_names[label] if self.dataset.class_names else label} ({part})")
                truth.append(self.attributes[label].cpu())
                found.append(scores[self.labels[part] == number].mean(dim=0).cpu())
        plot_attributes(
            self.change.numpy(),
            self.groups,
            torch.stack(truth).numpy(),
            torch.stack(found).numpy(),
            names,
            self.dataset.attribute_names,
            directory / "figure.png",
        )
        return {"attribute_groups": self.groups, "change_between_groups": share_between(self.change, self.groups)}

    def _scores(self, model: nn.Module, part: str) -> Tensor:
        model.eval()
        return torch.cat([model(self.x[rows]).float() for rows in self.rows[part].split(EVALUATED)])


def class_accuracy(guesses: Tensor, labels: Tensor) -> float:
    """The mean over classes of the share of their examples that are guessed right; every class has examples."""
    count = torch.bincount(labels)
    right = torch.bincount(labels[guesses == labels], minlength=len(count))
    return (right / count).mean().item()


def pair_weights(change: Tensor, groups: list[list[int]]) -> Tensor:
    r"""[G, A]: in row g and the columns of group a, :math:`w_{ga}` (see :class:`ZeroShotTask`); all 0 where nothing
    changes between groups."""
    weights = change.new_zeros(len(groups), len(change))
    for g, own in enumerate(groups):
        for other in groups:
            if other is not own:
                weights[g, other] = change[own][:, other].max()
    once = sum(weights[:, group[0]].sum() for group in groups)  # every pair of groups, whatever their sizes
    return weights / once if once > 0 else weights


def share_between(change: Tensor, groups: list[list[int]]) -> float:
    """The part of the changes of correlation, as a fraction of their sum, that is between attributes of different
    groups; 0 where nothing changes."""
    within = sum(change[group][:, group].sum().item() for group in groups)
    total = change.sum().item()
    return (total - within) / total if total > 0 else 0.0


def _to_unit_range(table: Tensor) -> Tensor:
    low, high = table.amin(dim=0), table.amax(dim=0)
    return (table - low) / (high - low).masked_fill(high == low, 1.0)
