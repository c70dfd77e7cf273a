"""Classification of the vertices of meshes: what the training steps of an epoch and an evaluation are."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch_geometric.data import Batch, Data

from multipath_gcn.data.mesh_dataset import MeshDataset
from multipath_gcn.graph import GaugeGraph


class Meshes(NamedTuple):
    """Some meshes as one that does not hang together."""

    x: Tensor
    graph: GaugeGraph
    y: Tensor


class MeshTask:
    r"""Trains on batches of meshes, scores all three splits by the share of vertices that are told right.

    Meshes are put into batches once, at random, so that the matrices of a batch are made once; an epoch takes the
    batches in an order of its own.

    Args:
        dataset: meshes.
        batch_size: meshes of a batch, at most.
        device: where steps are computed.

    Attributes:
        in_channels, out_channels: of the vertices, and the number of classes.
        steps: training steps of an epoch.

    Raises:
        ValueError: for another kind of data set, or a batch size below 1.
    """

    def __init__(self, dataset: MeshDataset, batch_size: int = 4, device: torch.device | str = "cpu"):
        if not isinstance(dataset, MeshDataset):
            kind = type(dataset).__name__
            raise ValueError(f"dataset must be a MeshDataset for task=mesh, such as data=mesh_gradients, got {kind}")
        if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
            raise ValueError(f"batch_size must be an integer of at least 1, got {batch_size!r}")
        self.dataset = dataset
        self.in_channels, self.out_channels = dataset.num_features, dataset.num_classes
        self.batches = {}
        for part, meshes in dataset.splits.items():
            order = torch.randperm(len(meshes)) if part == "train" else torch.arange(len(meshes))
            groups = [[meshes[i] for i in chosen] for chosen in order.split(batch_size)]
            self.batches[part] = [_batch(group, device) for group in groups]
        self.steps = len(self.batches["train"])
        self._train_score = 0.0

    def check(self, model: nn.Module) -> None:
        """Refuses a model whose ``forward`` does not take vertex features and a ``GaugeGraph``."""
        x, graph, _ = self.batches["valid"][0]
        training = model.training
        try:
            with torch.no_grad():
                model.eval()(x, graph)
        except (TypeError, ValueError, AttributeError, RuntimeError) as error:
            rule = "take vertex features and a GaugeGraph, such as model=gauge_equivariant, for task=mesh"
            raise ValueError(f"model must {rule}, got {type(model).__name__}: {error}") from error
        finally:
            model.train(training)

    def train_losses(self, model: nn.Module, epoch: int) -> Iterator[Tensor]:
        """The cross-entropy of every step of an epoch, with a gradient."""
        hits = total = 0
        for number in torch.randperm(self.steps).tolist():
            model.train()
            x, graph, y = self.batches["train"][number]
            scores = model(x, graph)
            hits, total = hits + (scores.detach().argmax(1) == y).sum(), total + len(y)
            yield F.cross_entropy(scores, y)
        self._train_score = float(hits / total)

    @torch.no_grad()
    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """Accuracy of every split as a fraction, and the cross-entropy of the validation vertices as ``valid_loss``.

        ``train`` is the accuracy of the last epoch's steps, by weights that were still changing.
        """
        model.eval()
        valid, valid_loss = self._score(model, "valid")
        return {
            "train": self._train_score,
            "valid": valid,
            "test": self._score(model, "test")[0],
            "valid_loss": valid_loss,
        }

    def _score(self, model: nn.Module, part: str) -> tuple[float, float]:
        hits = loss = total = 0
        for x, graph, y in self.batches[part]:
            scores = model(x, graph).float()
            hits, total = hits + int((scores.argmax(1) == y).sum()), total + len(y)
            loss += F.cross_entropy(scores, y, reduction="sum").item()
        return hits / total, loss / total

    @torch.no_grad()
    def finish(self, model: nn.Module, history: list[dict[str, float]], directory: Path) -> dict[str, Any]:
        """Draws the first test meshes into ``figure.png``: input, classes, what the network says, where it errs."""
        from multipath_gcn.report.mesh_plot import plot_meshes  # here: matplotlib takes a second

        model.eval()
        rows = []
        for mesh in self.dataset.splits["test"][:2]:
            x, graph, y = _batch([mesh], next(model.parameters()).device)
            said = model(x, graph).argmax(1)
            values = (mesh.x[:, 0], y, said, (said != y).long())
            rows.append((mesh.pos.numpy(), mesh.face.numpy(), [value.cpu().numpy() for value in values]))
        plot_meshes(rows, ("first input", "class", "network", "wrong"), self.out_channels, directory / "figure.png")
        return {}


def _batch(meshes: list[Data], device: torch.device | str) -> Meshes:
    """What counts of the meshes, side by side."""
    kept = [Data(x=m.x, y=m.y, edge_index=m.edge_index, angle=m.angle, transport=m.transport) for m in meshes]
    all_ = Batch.from_data_list(kept)
    graph = GaugeGraph(all_.edge_index, all_.angle, all_.transport, all_.num_nodes)
    return Meshes(all_.x.to(device), graph.to(device), all_.y.to(device))
