"""Inference within a stated memory gives what a call gives, and stays within it."""

import re

import pytest
import torch

from multipath_gcn.graph import Graph
from multipath_gcn.machine import PeakMemory
from multipath_gcn.models import GCN, ResGCN
from multipath_gcn.nn import MultiPathGCN
from multipath_gcn.ops.features import compressed

PATHS = {
    "identity": ((),),
    "shared": ((24, 24), (24,)),
    "mixed": ((12, 24), (24,), ()),
    "one": ((24, 24),),
}


@pytest.fixture(scope="module")
def problem():
    generator = torch.Generator().manual_seed(0)
    edges = torch.randint(0, 300, (2, 1500), generator=generator)
    return edges, torch.randn(300, 24, generator=generator)


def network(**options):
    torch.manual_seed(0)
    model = MultiPathGCN(24, 24, 7, **options).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model


def least(model, edges, x) -> int:
    with pytest.raises(ValueError, match=r"memory_limit must be at least \d+ bytes .* here, got 1000") as error:
        model.inference(edges, x, memory_limit=1000)
    return int(re.search(r"least (\d+)", str(error.value))[1])


def same(model, edges, x):
    with torch.no_grad():
        wanted = model(x, edges)
    for limit in (None, "1 GB", least(model, edges, x)):
        torch.testing.assert_close(model.inference(edges, x, memory_limit=limit), wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("combine", ["sum", "mean", "max", "concat", "attention"])
@pytest.mark.parametrize("readout", ["linear", "gcn"])
@pytest.mark.parametrize("stem", [0, 1, 2])
@pytest.mark.parametrize("paths", PATHS)
def test_is_what_a_call_gives(problem, paths, stem, readout, combine):
    same(network(paths=PATHS[paths], stem=stem, readout=readout, combine=combine), *problem)


@pytest.mark.parametrize(
    "options",
    [
        dict(norm="batch"),
        dict(norm="layer", residual=True),
        dict(residual=True, stem=2),
        dict(aggr="max"),
        dict(aggr="mean", act="elu"),
        dict(transform="sliding", groups=3),
    ],
    ids=str,
)
def test_every_kind_of_layer(problem, options):
    same(network(paths=((24, 24), (48, 24)), **options), *problem)


def test_baselines_sparse_features_and_reordered_graphs(problem):
    edges, x = problem
    graph = Graph.normalized(edges, num_nodes=300)
    for model in (GCN(24, 16, 5).eval(), ResGCN(24, 16, 5).eval(), network()):
        sparse = compressed(torch.nn.functional.dropout(x, 0.95))
        same(model, graph, sparse)
        same(model, graph.reordered("rcm"), x)


def test_stays_within_its_limit():
    nodes, width = 200_000, 64
    graph = Graph.normalized(torch.randint(0, nodes, (2, 400_000)), num_nodes=nodes)
    x, model = torch.randn(nodes, width), MultiPathGCN(width, width, 8).eval()
    limit = least(model, graph, x) + 16 * nodes * 4
    model.inference(graph, x, memory_limit=limit)  # what is loaded at the first call is not its work
    device = x.device
    before = PeakMemory(device).peak_mib()
    memory = PeakMemory(device)
    model.inference(graph, x, memory_limit=limit)
    assert memory.peak_mib() - before < limit / 2**20 + 16
    assert limit < 3 * nodes * width * 4  # fewer than three tensors of a layer: a call takes more


def test_refuses(problem):
    edges, x = problem
    model = network()
    for limit in ("6 GG", -1, True, "much"):
        with pytest.raises(ValueError, match="memory_limit must be a number of bytes above 0 or a string such as"):
            model.inference(edges, x, memory_limit=limit)
    with pytest.raises(ValueError, match="inference must be called in evaluation mode"):
        model.train().inference(edges, x)
    with pytest.raises(ValueError, match=r"x must have shape \[N, F\], got \[2, 300, 24\]"):
        model.eval().inference(edges, torch.stack([x, x]))
