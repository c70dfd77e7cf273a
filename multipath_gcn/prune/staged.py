"""Compression that trains in between: what a task hands to it, and what it gives back."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor, nn

from multipath_gcn.prune.plan import Plan


class Train(Protocol):
    """Trains a model in place, as the run's configuration says but for so many epochs; a run that was cut off goes on
    where it was.

    Args:
        model: has the same parameters whenever a stage of this name begins.
        stage: a name of its own for every call.
        epochs: how many, 1 or more.
        penalty: added to the loss of every step; None for none.
        keep: the weights of the epoch that is ``"best"`` on validation, or of the ``"last"``.
    """

    def __call__(
        self,
        model: nn.Module,
        stage: str,
        epochs: int,
        penalty: Callable[[], Tensor] | None = None,
        keep: str = "best",
    ) -> None: ...


@dataclass(frozen=True)
class Compressed:
    """What is left of a network.

    Args:
        model: the new network; the one it was made of is as it was.
        plans: what became of it, in this order: for :func:`~multipath_gcn.prune.save_pruned`.
        asked, achieved: in the terms of the method.
        difference: the largest difference between the outputs of the trained network and those of what is left.
    """

    model: nn.Module
    plans: list[Plan]
    asked: dict[str, Any]
    achieved: dict[str, Any]
    difference: float


class StagedMethod(Protocol):
    """Compresses a network by training it: the structure that is left is what comes out."""

    def compress(self, model: nn.Module, inputs: tuple[Any, ...], train: Train) -> Compressed:
        """Of a trained network, which stays as it was.

        Raises:
            ValueError: before anything is trained, for what does not fit the network.
        """
