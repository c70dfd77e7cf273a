"""Sums over surfaces and layers of them on a GPU, against the CPU."""

import pytest
import torch
from meshes import mesh

from multipath_gcn.graph import GaugeGraph
from multipath_gcn.models import GaugeEquivariantNet
from multipath_gcn.ops import gauge_sums


def graph_on(device):
    data = mesh(dtype=torch.float32)
    return GaugeGraph(data.edge_index, data.angle, data.transport, data.num_nodes).to(device)


@pytest.mark.parametrize("order", [0, 2])
def test_sums_are_those_of_the_cpu(cuda, order):
    x = torch.randn(162, 2 * order + 1, 5)
    y = gauge_sums(graph_on(cuda), x.to(cuda), 2)
    torch.testing.assert_close(y.cpu(), gauge_sums(graph_on("cpu"), x, 2), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("transform", [{}, {"transform": "sliding", "groups": 2}])
def test_network_and_its_gradients_are_those_of_the_cpu(cuda, transform):
    model, x = GaugeEquivariantNet(2, 8, 3, **transform), torch.randn(162, 2)
    found = []
    for device in ("cpu", cuda):
        model = model.to(device)
        model.zero_grad()
        y = model(x.to(device), graph_on(device))
        y.square().sum().backward()
        found.append([y.detach().cpu(), *(p.grad.cpu() for p in model.parameters())])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(other, one, atol=1e-4, rtol=1e-4)
