"""What a training step on a subgraph takes of memory, told before the first one from a small part."""

import copy

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from multipath_gcn.graph import Graph


def kept_bytes(model: nn.Module, x: Tensor, graph: Graph) -> int:
    """Bytes that a training pass keeps for backward, parameters and ``x`` not counted; the model stays as it is."""
    probe = copy.deepcopy(model).train()
    known = {tensor.untyped_storage().data_ptr() for tensor in (x, *probe.parameters(), *probe.buffers())}
    kept: dict[int, tuple[int, Tensor]] = {}

    def keep(tensor: Tensor) -> Tensor:
        if tensor.layout is torch.strided and (place := tensor.untyped_storage().data_ptr()) not in known:
            kept[place] = tensor.untyped_storage().nbytes(), tensor  # held, so that no other takes its place
        return tensor

    with torch.random.fork_rng(), saved_tensors_hooks(keep, lambda tensor: tensor):
        probe(x, graph)
    return sum(size for size, _ in kept.values())
