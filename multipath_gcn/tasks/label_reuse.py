import torch
from torch import Tensor


class LabelReuse:
    r"""Known labels as further input columns: some training nodes show their label, the others are trained on.

    From `"Bag of Tricks for Node Classification with Graph Neural Networks" <https://arxiv.org/abs/2103.13355>`_,
    section "label usage". In evaluation all training nodes show theirs.

    Args:
        targets: labels as columns [N, T] (one-hot for classes).
        train: ids of the training nodes.
        fraction: probability in (0, 1) that a training node shows its label.

    Raises:
        ValueError: for a ``fraction`` outside (0, 1).
    """

    def __init__(self, targets: Tensor, train: Tensor, fraction: float):
        if not 0.0 < fraction < 1.0:
            raise ValueError(f"label_reuse must lie in (0, 1), got {fraction}")
        self.targets, self.train, self.fraction = targets, train, fraction
        self.width = targets.size(1)

    def draw(self) -> tuple[Tensor, Tensor]:
        """(nodes that show their label, nodes to train on), drawn from PyTorch's generator; neither is empty."""
        shown = torch.rand(self.train.numel(), device=self.train.device) < self.fraction
        if shown.all() or not shown.any():  # only on tiny training sets
            shown[0] = ~shown[0]
        return self.train[shown], self.train[~shown]

    def append(self, x: Tensor, nodes: Tensor) -> Tensor:
        """[x, labels], the labels of all but ``nodes`` zero."""
        columns = torch.zeros_like(self.targets, dtype=x.dtype)
        columns[nodes] = self.targets[nodes].to(x.dtype)
        return torch.cat([x, columns], dim=1)
