"""Examples of which labels can be asked for, nodes or images, by numbers of their own."""

from typing import Any

import torch
from torch import Tensor, nn

from multipath_gcn.data.augment import Normalize
from multipath_gcn.data.image_dataset import ImageDataset
from multipath_gcn.data.node_dataset import PARTS, NodeDataset, check_known
from multipath_gcn.graph import Graph
from multipath_gcn.ops import keep_product
from multipath_gcn.ops.features import compressed, is_sparse
from multipath_gcn.tasks.image import check_takes_images
from multipath_gcn.tasks.node import check_takes_graph

_IMAGES = 500  # computed at once


class NodePool:
    """Nodes of one graph: those outside validation and test are the pool; of each part at most so many, at random."""

    def __init__(self, dataset: NodeDataset, most: int | None, device: torch.device):
        if dataset.metric != "acc":
            raise ValueError(f"dataset must have classes for task=active, got the metric {dataset.metric}")
        outside = torch.ones(dataset.x.size(0), dtype=torch.bool)
        for part in ("valid", "test"):
            outside[dataset.split[part]] = False
        nodes = outside.nonzero().squeeze(1)
        check_known(dataset.y[nodes], nodes, dataset.num_outputs, binary=False)
        whole = {"train": nodes, "valid": dataset.split["valid"], "test": dataset.split["test"]}
        self.nodes = {part: whole[part][_some(len(whole[part]), most)] for part in PARTS}
        self.ids = self.nodes["train"]
        self.labels = {part: dataset.y[self.nodes[part]].to(device) for part in PARTS}
        self.graph = Graph.normalized(dataset.edge_index, dataset.edge_weight, num_nodes=outside.numel()).to(device)
        self.x = compressed(dataset.x).to(device)
        if not is_sparse(self.x):
            keep_product(self.graph, self.x)
        self.in_channels, self.out_channels = dataset.x.size(1), dataset.num_outputs
        self.example = (self.x, self.graph)

    def check(self, model: nn.Module) -> None:
        check_takes_graph(model)

    def outputs(self, call: Any, part: str, positions: Tensor) -> Tensor:
        """[..., n, K]; the nodes of a graph are computed together."""
        return call(self.x, self.graph)[..., self.nodes[part][positions].to(self.x.device), :]


class ImagePool:
    """Images: the training split is the pool; of each part at most so many, at random."""

    def __init__(self, dataset: ImageDataset, most: int | None, device: torch.device):
        self.splits, self.device = dataset.splits, device
        self.rows = {part: _some(len(split), most) for part, split in dataset.splits.items()}
        self.ids = dataset.splits["train"].rows[self.rows["train"]]
        self.labels = {part: self.splits[part].labels[rows].to(device) for part, rows in self.rows.items()}
        self.normalize = Normalize(dataset.mean, dataset.std)
        self.in_channels, self.out_channels = dataset.channels, dataset.num_classes
        self.example = (self._images("train", torch.arange(2)),)

    def check(self, model: nn.Module) -> None:
        check_takes_images(model)

    def outputs(self, call: Any, part: str, positions: Tensor) -> Tensor:
        """[..., n, K]; a training step is one batch, of which norms count the statistics."""
        batches = [positions] if torch.is_grad_enabled() else positions.split(_IMAGES)
        return torch.cat([call(self._images(part, batch)) for batch in batches], dim=-2)

    def _images(self, part: str, positions: Tensor) -> Tensor:
        return self.normalize(self.splits[part].batch(self.rows[part][positions]).to(self.device))


def _some(size: int, most: int | None) -> Tensor:
    """Positions, ascending."""
    return torch.arange(size) if most is None or most >= size else torch.randperm(size)[:most].sort().values
