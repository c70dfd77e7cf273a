"""Node property prediction on one full graph: what a training step and an evaluation are."""

import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch_geometric.utils import to_torch_csr_tensor

from multipath_gcn.data.node_dataset import NodeDataset
from multipath_gcn.graph import Graph
from multipath_gcn.ops import keep_product
from multipath_gcn.ops.features import compressed, drop_rows, is_sparse
from multipath_gcn.tasks.consistency import ConsistencyLoss
from multipath_gcn.tasks.hops import with_hops
from multipath_gcn.tasks.label_reuse import LabelReuse


class NodeTask:
    r"""Trains on the labels of the training nodes, scores all three splits with the data set's own metric.

    Args:
        dataset: the graph, its labels and its split.
        loss: maps (scores, labels) of a set of nodes to a scalar; ``None`` means cross-entropy for classes and
            binary cross-entropy for binary tasks.
        label_reuse: fraction in (0, 1) of the training labels that each step gives as input and does not train on
            (see :class:`~multipath_gcn.tasks.label_reuse.LabelReuse`); ``None`` for none.
        drop_node: probability in [0, 1) that a training pass sees a node without its features, the others scaled up.
        consistency: added over several passes of a step (see :class:`~multipath_gcn.tasks.ConsistencyLoss`);
            ``None`` for a single pass. Only for classes.
        hops: K, 0 or more: features are :math:`[X, \hat{A} X, \dots, \hat{A}^K X]`, computed once, as in `"SIGN:
            Scalable Inception Graph Neural Networks" <https://arxiv.org/abs/2004.11198>`_.
        refine: what is made of the probabilities of the trained network, once: called with these [N, C], the labels
            and ids of the training nodes and the transposed adjacency in ``torch.sparse_csr``, as PyG's
            ``CorrectAndSmooth`` is. ``None`` for nothing. Only for classes.
        device: where the tensors live.

    Attributes:
        in_channels, out_channels: widths that a model for this task must have.
        steps: training steps of an epoch, 1: all nodes are trained on at once.

    Raises:
        ValueError: for ``label_reuse``, ``drop_node`` or ``hops`` out of range, or ``consistency`` or ``refine`` with
            binary tasks.
    """

    def __init__(
        self,
        dataset: NodeDataset,
        loss: Callable[[Tensor, Tensor], Tensor] | None = None,
        label_reuse: float | None = None,
        drop_node: float = 0.0,
        consistency: ConsistencyLoss | None = None,
        hops: int = 0,
        refine: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor] | None = None,
        device: torch.device | str = "cpu",
    ):
        if not isinstance(dataset, NodeDataset):
            kind = type(dataset).__name__
            raise ValueError(f"dataset must be a NodeDataset, such as data=cora, got {kind}; images need task=image")
        if not 0.0 <= drop_node < 1.0:
            raise ValueError(f"drop_node must lie in [0, 1), got {drop_node}")
        if not isinstance(hops, int) or hops < 0:
            raise ValueError(f"hops must be 0 or more, got {hops!r}")
        for name, value in (("consistency", consistency), ("refine", refine)):
            if value is not None and dataset.metric != "acc":
                raise ValueError(f"{name} must be None for binary tasks, got {value}")
        self.dataset, self.drop_node, self.consistency, self.refine = dataset, drop_node, consistency, refine
        graph = Graph.normalized(dataset.edge_index, dataset.edge_weight, num_nodes=dataset.x.size(0))
        x = with_hops(graph, dataset.x, hops) if hops else dataset.x
        self.graph, self.y = graph.to(device), dataset.y.to(device)
        self.x = (x if label_reuse else compressed(x)).to(device)  # labels are columns beside dense features
        self.split = {name: nodes.to(device) for name, nodes in dataset.split.items()}
        self.loss = loss or (nn.CrossEntropyLoss() if dataset.metric == "acc" else nn.BCEWithLogitsLoss())
        self.labels = None if label_reuse is None else LabelReuse(self._targets(), self.split["train"], label_reuse)
        if not is_sparse(self.x):
            keep_product(self.graph, self.x)
        self.in_channels = self.x.shape[1] + (self.labels.width if self.labels else 0)
        self.out_channels = dataset.num_outputs
        self.steps = 1

    def check(self, model: nn.Module) -> None:
        """Refuses a model whose ``forward`` does not take node features and a graph."""
        check_takes_graph(model)

    def train_losses(self, model: nn.Module, epoch: int) -> Iterator[Tensor]:
        """The loss of the only step of an epoch."""
        yield self.train_loss(model, epoch)

    def train_loss(self, model: nn.Module, epoch: int) -> Tensor:
        """The loss of the step of an epoch, counted from 1, over the training nodes, with a gradient."""
        model.train()
        if self.labels is None:
            x, nodes = self.x, self.split["train"]
        else:
            given, nodes = self.labels.draw()
            x = self._with_labels(given)
        if self.consistency is None:
            return self.loss(model(drop_rows(x, self.drop_node), self.graph)[nodes], self.y[nodes])
        passes = [model(drop_rows(x, self.drop_node), self.graph) for _ in range(self.consistency.passes)]
        supervised = torch.stack([self.loss(scores[nodes], self.y[nodes]) for scores in passes]).mean()
        return supervised + self.consistency(torch.stack(passes), epoch)

    @torch.no_grad()
    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """Score of every split as a fraction, and the loss over the validation nodes as ``valid_loss``."""
        model.eval()
        x = self.x if self.labels is None else self._with_labels(self.split["train"])
        output = model(x, self.graph)
        scores = {name: self.dataset.score(output, nodes) for name, nodes in self.split.items()}
        valid = self.split["valid"]
        return scores | {"valid_loss": self.loss(output[valid], self.y[valid]).item()}

    @torch.no_grad()
    def finish(self, model: nn.Module, history: list[dict[str, float]], directory: Path) -> dict[str, Any]:
        """With ``refine``: the score of every split after it, and before it under ``before_refinement``."""
        if self.refine is None:
            return {}
        scores = self.evaluate(model)
        x = self.x if self.labels is None else self._with_labels(self.split["train"])
        train, edge_index = self.split["train"], self.dataset.edge_index.to(self.y.device)
        adj_t = to_torch_csr_tensor(edge_index.flip(0), self.dataset.edge_weight, size=(self.x.shape[0],) * 2)
        output = self.refine(model(x, self.graph).float().softmax(dim=1), self.y[train], train, adj_t)
        refined = {name: self.dataset.score(output, nodes) for name, nodes in self.split.items()}
        return {"before_refinement": {name: scores[name] for name in refined}} | refined

    def calibration(self, count: int, batch_size: int) -> list[tuple]:
        """What the model is called with in evaluation: the whole graph, whatever is asked for."""
        x = self.x if self.labels is None else self._with_labels(self.split["train"])
        return [(x, self.graph)]

    def _with_labels(self, given: Tensor) -> Tensor:
        x = self.labels.append(self.x, given)
        keep_product(self.graph, x, self.x)
        return x

    def _targets(self) -> Tensor:
        """The training labels as columns: one-hot for classes, as they are for binary tasks; 0 for other nodes."""
        train = self.split["train"]
        columns = torch.zeros(self.x.size(0), self.dataset.num_outputs, device=self.x.device)
        columns[train] = (F.one_hot(self.y[train], columns.size(1)) if self.y.dim() == 1 else self.y[train]).float()
        return columns


def check_takes_graph(model: nn.Module) -> None:
    try:
        inspect.signature(model.forward).bind(None, None)
    except TypeError as error:
        rule = "take features and a graph, such as model=multipath; images need task=image"
        raise ValueError(f"model must {rule}, got {type(model).__name__}: {error}") from error
