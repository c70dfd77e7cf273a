from collections.abc import Callable, Iterator
from typing import Protocol

from torch import Tensor, nn


class Task(Protocol):
    def train_losses(self, model: nn.Module, epoch: int) -> Iterator[Tensor]: ...

    def evaluate(self, model: nn.Module) -> dict[str, float]: ...


class Penalised:
    """A task whose loss has one more term in every step.

    Args:
        task: what is trained.
        penalty: called once a step.
    """

    def __init__(self, task: Task, penalty: Callable[[], Tensor]):
        self.task, self.penalty = task, penalty

    def train_losses(self, model: nn.Module, epoch: int) -> Iterator[Tensor]:
        for loss in self.task.train_losses(model, epoch):
            yield loss + self.penalty()

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        return self.task.evaluate(model)
