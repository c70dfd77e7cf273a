import torch
from torch import Tensor

from multipath_gcn.graph import Graph
from multipath_gcn.ops import propagate


def with_hops(graph: Graph, x: Tensor, hops: int) -> Tensor:
    r"""Features of neighbourhoods of growing size: :math:`[X, \hat{A} X, \dots, \hat{A}^K X]`, a constant of training.

    A path without layers that reads them is a graph network whose propagation costs nothing.

    Shapes:
        - **input:** x :math:`(N, F)`
        - **output:** :math:`(N, (K + 1) F)`
    """
    found = [x]
    for _ in range(hops):
        found.append(propagate(graph, found[-1]))
    return torch.cat(found, dim=1)
