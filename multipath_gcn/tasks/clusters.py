"""Node property prediction on a graph in parts, by one process or several, in memory for a few parts at a time."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, distributed, nn

from multipath_gcn.data.large_dataset import LargeNodeDataset
from multipath_gcn.data.node_dataset import PARTS, NodeDataset
from multipath_gcn.data.ogb import evaluator
from multipath_gcn.data.partition import partitioned
from multipath_gcn.data.partitioned_graph import Subgraph
from multipath_gcn.graph import Graph
from multipath_gcn.machine import resident_mib
from multipath_gcn.tasks.footprint import kept_bytes
from multipath_gcn.tasks.node import NodeTask, check_takes_graph

_EVALUATIONS = ("graph", "parts")
_BYTES_PER_ENTRY = 40  # while a subgraph is read: columns, their places, which are inside, and sums over these


class ClusterTask:
    r"""Trains on subgraphs of some parts of the graph at a time, from `"Cluster-GCN: An Efficient Algorithm for
    Training Deep and Large Graph Convolutional Networks" <https://arxiv.org/abs/1905.07953>`_.

    In every epoch the P parts are drawn, without replacement, into subgraphs of ``batch`` parts; edges among the parts
    of a subgraph count, others do not, and :math:`\hat{A}` is normalised within it. A step has the loss

    .. math::
        L = \frac{1}{|T|} \sum_{s=1}^{S} \sum_{i \in T_s} \ell(z_i, y_i)

    over the training nodes :math:`T = \bigcup_s T_s` of its S subgraphs. Where several processes train (``torchrun``,
    or a job with several tasks), each has S / processes of them and gradients are averaged: the draws depend on the
    seed, the epoch and the subgraph alone, so that any number of processes computes the same gradients.

    Args:
        dataset: in memory or in files.
        parts: number P of parts.
        batch: parts of a subgraph; each is in memory for ``batch`` / P of the graph.
        subgraphs: number S of subgraphs of a step, a multiple of the number of processes.
            P must be a multiple of ``batch`` * S.
        method: how the graph is cut, see :func:`multipath_gcn.data.partitioned`.
        evaluation: on the whole ``"graph"``, which must fit into memory, or on its ``"parts"``, without the edges
            between subgraphs; ``None`` takes the graph where the data set is in memory and that is not limited.
        memory_mib: refuses, before training on parts on the CPU, what would take the process over so many MiB;
            ``None`` for no limit. Cutting the graph is not counted.
        loss: as for :class:`~multipath_gcn.tasks.NodeTask`.
        device: where subgraphs are computed on.

    Attributes:
        in_channels, out_channels: widths that a model for this task must have.
        steps: training steps of an epoch.

    Raises:
        ValueError: for an argument outside the above, naming rule and value.
    """

    shares_steps = True

    def __init__(
        self,
        dataset: NodeDataset | LargeNodeDataset,
        parts: int = 32,
        batch: int = 1,
        subgraphs: int = 1,
        method: str = "metis",
        evaluation: str | None = None,
        memory_mib: float | None = None,
        loss: Callable[[Tensor, Tensor], Tensor] | None = None,
        device: torch.device | str = "cpu",
    ):
        self.rank, self.processes = _place()
        if evaluation is None:
            evaluation = "graph" if isinstance(dataset, NodeDataset) and memory_mib is None else "parts"
        _check(dataset, parts, batch, subgraphs, self.processes)
        _check_evaluation(dataset, evaluation, method, memory_mib, torch.device(device))
        self.graph = partitioned(dataset, parts, method)
        self.parts, self.batch, self.subgraphs, self.memory_mib = parts, batch, subgraphs, memory_mib
        self.device = torch.device(device)
        self.loss = loss or (nn.CrossEntropyLoss() if dataset.metric == "acc" else nn.BCEWithLogitsLoss())
        self.evaluation = evaluation
        if evaluation == "graph" and self.rank == 0:
            self.whole = NodeTask(dataset, loss, device=device)
        self.labels = {part: self.graph.labels(part) for part in PARTS}
        self.in_channels, self.out_channels = self.graph.num_features, dataset.num_outputs
        self.steps = parts // (batch * subgraphs)
        self.seed = torch.initial_seed()
        self.train_counts = self.graph.counts("train")

    def check(self, model: nn.Module) -> None:
        """Refuses a model whose ``forward`` does not take node features and a graph, or that needs too much memory."""
        check_takes_graph(model)
        if self.memory_mib is not None:
            self._check_memory(model)

    def train_losses(self, model: nn.Module, epoch: int) -> Iterator[Tensor]:
        """The loss of each step of an epoch, counted from 1, as this process is to differentiate it: its share of the
        sum, times the number of processes, over which gradients are averaged. A step without training nodes is none."""
        model.train()
        order = torch.randperm(self.parts, generator=torch.Generator().manual_seed(_mixed(self.seed, epoch, 0)))
        groups = order.view(self.steps, self.subgraphs, self.batch)
        for step, chosen in enumerate(groups):
            count = int(self.train_counts[chosen].sum())
            if count == 0:
                continue
            mine = range(self.rank, self.subgraphs, self.processes)
            losses = [
                self._share(model, chosen[i], _mixed(self.seed, epoch, step * self.subgraphs + i + 1)) for i in mine
            ]
            yield torch.stack(losses).sum() * (self.processes / count)

    def _share(self, model: nn.Module, parts: Tensor, seed: int) -> Tensor:
        """The sum of the losses of the training nodes of a subgraph."""
        torch.manual_seed(seed)  # of dropout: the same, whichever process computes the subgraph
        subgraph = self.graph.read(parts)
        scores = self._scores(model, subgraph)
        nodes = subgraph.nodes["train"]
        if nodes.numel() == 0:
            return scores.sum() * 0.0  # every process must have a gradient
        return self.loss(scores[nodes.to(self.device)], subgraph.y[nodes].to(self.device)) * nodes.numel()

    def _scores(self, model: nn.Module, subgraph: Subgraph) -> Tensor:
        return model(subgraph.x.to(self.device), self._normalized(subgraph).to(self.device))

    def _normalized(self, subgraph: Subgraph) -> Graph:
        scale = subgraph.rowptr.diff().double().rsqrt().float()  # a node's degree in the subgraph, its loop included
        scales = {"row_scale": scale, "col_scale": scale}
        return Graph(subgraph.rowptr, subgraph.col, **scales, symmetric=self.graph.symmetric)

    @torch.no_grad()
    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """Score of every split as a fraction, and the loss over the validation nodes as ``valid_loss``."""
        model.eval()
        return self._evaluate_graph(model) if self.evaluation == "graph" else self._evaluate_parts(model)

    def _evaluate_graph(self, model: nn.Module) -> dict[str, float]:
        names = (*PARTS, "valid_loss")
        found = torch.zeros(len(names), dtype=torch.float64, device=self.device)
        if self.rank == 0:
            row = self.whole.evaluate(model)
            found += torch.tensor([row[name] for name in names], dtype=torch.float64, device=self.device)
        if self.processes > 1:
            distributed.broadcast(found, 0)
        return dict(zip(names, found.tolist(), strict=True))

    def _evaluate_parts(self, model: nn.Module) -> dict[str, float]:
        classes = self.graph.metric == "acc"
        width = 1 if classes else self.out_channels
        dtype = torch.int64 if classes else torch.float32
        predicted = {part: torch.zeros(len(self.labels[part]), width, dtype=dtype) for part in PARTS}
        loss = torch.zeros((), dtype=torch.float64)
        for parts in torch.arange(self.parts).view(-1, self.batch)[self.rank :: self.processes]:
            subgraph = self.graph.read(parts)
            scores = self._scores(model, subgraph)
            for part in PARTS:
                rows = scores[subgraph.nodes[part].to(self.device)]
                found = rows.argmax(dim=1, keepdim=True) if classes else rows.float()
                predicted[part][subgraph.positions[part]] = found.cpu()
            nodes = subgraph.nodes["valid"]
            if nodes.numel():
                part_loss = self.loss(scores[nodes.to(self.device)], subgraph.y[nodes].to(self.device))
                loss += part_loss.double().cpu() * nodes.numel()
        if self.processes > 1:
            for found in (*predicted.values(), loss):
                _sum_over_processes(found, self.device)
        result = {part: self._score(predicted[part], self.labels[part]) for part in PARTS}
        return result | {"valid_loss": loss.item() / len(self.labels["valid"])}

    def _score(self, predicted: Tensor, true: Tensor) -> float:
        true = true.view(len(true), -1)
        metric = self.graph.metric
        return float(evaluator(metric, true.size(1)).eval({"y_true": true, "y_pred": predicted})[metric])

    def calibration(self, count: int, batch_size: int) -> list[tuple]:
        """What the model is called with: the first subgraph, whatever is asked for."""
        subgraph = self.graph.read(torch.arange(self.batch))
        return [(subgraph.x.to(self.device), self._normalized(subgraph).to(self.device))]

    def _check_memory(self, model: nn.Module) -> None:
        """From what the smallest part takes to what the largest possible subgraph would."""
        there = resident_mib()
        sizes = self.graph.begins.diff()
        smallest = self.graph.read(sizes.argmin().view(1))
        kept = kept_bytes(model, smallest.x, self._normalized(smallest)) / len(smallest.x)
        # What is kept, and as much again for gradients; the features, and once more while they are put together.
        per_node = 2 * (kept + 4 * self.in_channels + 4 * self.out_channels)
        entries = self.graph.entries.topk(self.batch).values.sum().item()
        nodes = sizes.topk(self.batch).values.sum().item()
        each = (nodes * per_node + entries * _BYTES_PER_ENTRY) / 2**20
        weights = 16 * sum(p.numel() for p in model.parameters()) / 2**20  # gradients, two moments, a checkpoint
        needed = there + weights + each * (self.subgraphs // self.processes)
        if needed > self.memory_mib:
            rule = f"hold what is there, {there:.0f}, and a step, about {needed - there:.0f}"
            raise ValueError(
                f"memory_mib must {rule}, got {self.memory_mib:g}; a smaller batch or more parts need less"
            )


def _place() -> tuple[int, int]:
    """(rank, number of processes)."""
    if not distributed.is_available() or not distributed.is_initialized():
        return 0, 1
    return distributed.get_rank(), distributed.get_world_size()


def _sum_over_processes(found: Tensor, device: torch.device) -> None:
    there = found.to(device)
    distributed.all_reduce(there)
    found.copy_(there)


def _mixed(seed: int, epoch: int, number: int) -> int:
    """One seed from three numbers; a multiplicative hash, since seeds that differ by 1 give related draws."""
    mixed = seed
    for value in (epoch, number):
        mixed = ((mixed ^ value) * 0x9E3779B97F4A7C15 + 0x7F4A7C15) % 2**63
    return mixed


def _check(dataset, parts, batch, subgraphs, processes) -> None:
    if not isinstance(dataset, NodeDataset | LargeNodeDataset):
        kind = type(dataset).__name__
        raise ValueError(f"dataset must be a NodeDataset, such as data=cora, got {kind}; images need task=image")
    for name, value in (("parts", parts), ("batch", batch), ("subgraphs", subgraphs)):
        if not isinstance(value, int) or value < 1:
            raise ValueError(f"{name} must be an integer of at least 1, got {value!r}")
    if subgraphs % processes:
        raise ValueError(f"subgraphs must be a multiple of the {processes} processes, got {subgraphs}")
    if parts % (batch * subgraphs):
        rule = f"a multiple of batch * subgraphs = {batch} * {subgraphs}"
        raise ValueError(f"parts must be {rule}, got {parts}")


def _check_evaluation(dataset, evaluation, method, memory_mib, device) -> None:
    if evaluation not in _EVALUATIONS:
        raise ValueError(f"evaluation must be null or one of {list(_EVALUATIONS)}, got {evaluation!r}")
    if evaluation == "graph" and not isinstance(dataset, NodeDataset):
        raise ValueError(f"evaluation must be 'parts' for a data set in files, got 'graph' for {dataset.name}")
    if memory_mib is None:
        return
    if not memory_mib > 0 or evaluation == "graph" or device.type != "cpu":
        given = f"{memory_mib} with {evaluation} on {device.type}"
        raise ValueError(f"memory_mib must be null, or above 0 with evaluation=parts on the CPU, got {given}")
    if method == "metis" and isinstance(dataset, LargeNodeDataset):
        rule = "contiguous with memory_mib for a data set in files"
        raise ValueError(f"method must be {rule}, got {method!r}, which holds the graph in memory")
