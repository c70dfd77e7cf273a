"""One graph, its labels and its split: all that training and scoring need to know, checked before the first step."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

METRICS = ("acc", "rocauc")
PARTS = ("train", "valid", "test")


@dataclass(frozen=True, eq=False)
class NodeDataset:
    r"""A node property prediction task on one graph of N nodes and E directed edges.

    Args:
        name: what reports call it.
        x: float32 [N, F], finite.
        edge_index: int64 [2, E], source over target, every id in [0, N).
        y: int64 [N], a class in [0, num_outputs) for every node in the split; or, for the metric ``rocauc``, float32
            [N, num_outputs] of 0 and 1. Labels of nodes outside the split are not looked at.
        split: ``train``, ``valid`` and ``test`` as int64 node ids: none empty, no node twice.
        num_outputs: number of classes, or of binary tasks.
        metric: ``acc`` or ``rocauc``.
        edge_weight: optional, floating [E], finite.
        synthetic: whether the graph is generated; reports label it so.

    Raises:
        ValueError: naming argument, rule and value, where one of these rules is broken.
    """

    name: str
    x: Tensor
    edge_index: Tensor
    y: Tensor
    split: dict[str, Tensor]
    num_outputs: int
    metric: str
    edge_weight: Tensor | None = None
    synthetic: bool = False

    def __post_init__(self) -> None:
        if self.metric not in METRICS:
            raise ValueError(f"metric must be one of {', '.join(METRICS)}, got {self.metric!r}")
        if self.num_outputs < 1:
            raise ValueError(f"num_outputs must be at least 1, got {self.num_outputs}")
        _check_features(self.x)
        _check_edges(self.edge_index, self.edge_weight, self.x.size(0))
        check_split(self.split, self.x.size(0))
        _check_labels(self.y, torch.cat([self.split[part] for part in PARTS]), self)

    def score(self, output: Tensor, nodes: Tensor) -> float:
        r"""The official OGB score of the raw model ``output`` (N, num_outputs) on ``nodes`` (n), a fraction in [0, 1].

        ``acc`` is the share of nodes whose largest output is their class; ``rocauc`` the mean over tasks of the area
        under the ROC curve, tasks with one class only left out (Hu et al., arXiv 2005.00687).
        """
        from multipath_gcn.data.ogb import evaluator  # here, since importing ogb takes a second

        if output.shape != (self.x.size(0), self.num_outputs):
            raise ValueError(f"output must have shape {(self.x.size(0), self.num_outputs)}, got {tuple(output.shape)}")
        predicted = output.detach()[nodes.to(output.device)]
        true = self.y[nodes.to(self.y.device)]
        if self.metric == "acc":
            predicted, true = predicted.argmax(dim=1, keepdim=True), true.unsqueeze(1)
        else:
            predicted = predicted.float()
        return float(evaluator(self.metric, true.size(1)).eval({"y_true": true, "y_pred": predicted})[self.metric])


def _describe(tensor: Tensor) -> str:
    return f"{tensor.dtype} {tuple(tensor.shape)}"


def _check_features(x: Tensor) -> None:
    if x.dtype != torch.float32 or x.dim() != 2 or x.numel() == 0:
        raise ValueError(f"x must be float32 of shape [N, F] with N, F >= 1, got {_describe(x)}")
    # The extremes carry every NaN and infinity and need no mask as large as x.
    if not all(map(math.isfinite, map(float, x.aminmax()))):
        node, feature = (~x.isfinite()).nonzero()[0].tolist()
        raise ValueError(f"x must be finite, got {float(x[node, feature])} at node {node}, feature {feature}")


def _check_edges(edge_index: Tensor, edge_weight: Tensor | None, num_nodes: int) -> None:
    if edge_index.dtype != torch.int64 or edge_index.dim() != 2 or edge_index.size(0) != 2:
        raise ValueError(f"edge_index must be int64 of shape [2, E], got {_describe(edge_index)}")
    if edge_index.numel():
        low, high = map(int, edge_index.aminmax())
        if low < 0 or high >= num_nodes:
            raise ValueError(f"edge_index must lie in [0, {num_nodes}), the rows of x, got {low if low < 0 else high}")
    if edge_weight is None:
        return
    if not edge_weight.is_floating_point() or edge_weight.shape != edge_index.shape[1:]:
        shape = tuple(edge_index.shape[1:])
        raise ValueError(f"edge_weight must be floating of shape [E] = {shape}, got {_describe(edge_weight)}")
    if not edge_weight.isfinite().all():
        edge = int((~edge_weight.isfinite()).nonzero()[0])
        raise ValueError(f"edge_weight must be finite, got {float(edge_weight[edge])} at edge {edge}")


def check_split(split: dict[str, Tensor], num_nodes: int) -> None:
    """Three sets of nodes, none empty, no node in two of them or twice in one."""
    if set(split) != set(PARTS):
        raise ValueError(f"split must have exactly the keys {', '.join(PARTS)}, got {sorted(split)}")
    owner = torch.full((num_nodes,), -1, dtype=torch.int8)
    for number, part in enumerate(PARTS):
        nodes = split[part]
        if nodes.dtype != torch.int64 or nodes.dim() != 1:
            raise ValueError(f"split[{part!r}] must be int64 of shape [n], got {_describe(nodes)}")
        if nodes.numel() == 0:
            raise ValueError(f"split[{part!r}] must not be empty, got 0 nodes")
        low, high = map(int, nodes.aminmax())
        if low < 0 or high >= num_nodes:
            raise ValueError(f"split[{part!r}] must lie in [0, {num_nodes}), got {low if low < 0 else high}")
        nodes = nodes.cpu()
        taken = nodes[owner[nodes] >= 0]
        if taken.numel():
            other = PARTS[int(owner[taken[0]])]
            raise ValueError(f"split[{part!r}] must not overlap split[{other!r}], got node {int(taken[0])} in both")
        owner[nodes] = number
        count = torch.bincount(nodes)
        if int(count.max()) > 1:
            raise ValueError(f"split[{part!r}] must hold each node once, got node {int(count.argmax())} repeatedly")


def _check_labels(y: Tensor, nodes: Tensor, data: NodeDataset) -> None:
    binary = data.metric == "rocauc"
    dtype, shape = (torch.float32, (data.x.size(0), data.num_outputs)) if binary else (torch.int64, (data.x.size(0),))
    if y.dtype != dtype or y.shape != shape:
        raise ValueError(f"y must be {dtype} of shape {shape} for the metric {data.metric}, got {_describe(y)}")
    check_known(y[nodes.to(y.device)], nodes, data.num_outputs, binary)


def check_known(known: Tensor, nodes: Tensor, num_outputs: int, binary: bool) -> None:
    """Labels of these nodes: classes in [0, num_outputs), or 0 and 1."""
    wrong = (known != 0) & (known != 1) if binary else (known < 0) | (known >= num_outputs)
    if wrong.any():
        rule = "be 0 or 1" if binary else f"lie in [0, {num_outputs})"
        node = int(nodes[wrong.nonzero()[0, 0]])
        raise ValueError(f"y must {rule} for every node of the split, got {known[wrong][0].item()} at node {node}")
