"""Inference within a stated memory gives what a call gives, and stays within it."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from multipath_gcn.graph import Graph
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


def least(model, edges, x, *weight) -> int:
    with pytest.raises(ValueError, match=r"memory_limit must be at least \d+ bytes .* here, got 1000") as error:
        model.inference(edges, x, *weight, memory_limit=1000)
    return int(re.search(r"least (\d+)", str(error.value))[1])


def same(model, adjacency, x, *weight, rtol=1e-4):
    """The least memory that is said to do does, and nothing less."""
    with torch.no_grad():
        wanted = model(x, adjacency, *weight)
    enough = least(model, adjacency, x, *weight)
    with pytest.raises(ValueError, match=f"memory_limit must be at least {enough} bytes"):
        model.inference(adjacency, x, *weight, memory_limit=enough - 1)
    for limit in (None, "1 GB", enough):
        found = model.inference(adjacency, x, *weight, memory_limit=limit)
        torch.testing.assert_close(found, wanted, rtol=rtol, atol=rtol)


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
        dict(aggr="max", readout="gcn"),
        dict(act=None, dropout=0.5, input_dropout=0.5),
        dict(act="prelu", recompute=True),
        dict(transform="sliding", groups=3),
        dict(transform="grouped", stem_transform="sliding"),
        dict(transform="grouped", stem=0),
        dict(stem_transform="grouped", residual=True),
    ],
    ids=str,
)
@pytest.mark.parametrize("features", ["dense", "sparse"])
@pytest.mark.parametrize("order", ["as given", "reordered"])
def test_every_kind_of_layer(problem, options, features, order):
    edges, x = problem
    graph = Graph.normalized(edges, torch.rand(edges.size(1)), num_nodes=300)
    graph = graph if order == "as given" else graph.reordered("rcm")
    x = x if features == "dense" else torch.nn.functional.dropout(x, 0.9).to_sparse_csr()
    for paths in (((24, 24), (48, 24)), ((24,), ())):
        model = network(paths=paths, **options)
        for buffer in model.buffers():  # statistics as training leaves them
            if buffer.is_floating_point():
                buffer.uniform_(0.5, 1.5)
        same(model, graph, x)


@pytest.mark.parametrize("form", ["edge_index", "coo", "csr", "unnormalised"])
def test_every_form_of_graph(problem, form):
    edges, x = problem
    weight = torch.rand(edges.size(1))
    sparse = torch.sparse_coo_tensor(edges.flip(0), weight, (300, 300)).coalesce()
    given = {
        "edge_index": (edges, x, weight),
        "coo": (sparse, x),
        "csr": (sparse.to_sparse_csr(), x),
        "unnormalised": (Graph.from_adjacency(edges, weight, num_nodes=300), x),
    }
    same(network(), *given[form])


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.bfloat16, 0.1)])
def test_types(problem, dtype, tolerance):
    edges, x = problem
    for options in ({}, dict(norm="layer", combine="attention"), dict(transform="sliding"), dict(readout="gcn")):
        model = network(**options)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(0.5)
        same(model.to(dtype), edges, x.to(dtype), rtol=tolerance)


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("stem", [0, 1])
def test_a_width_taken_from_the_first_input(problem, stem, sparse):
    edges, x = problem
    x = torch.nn.functional.dropout(x, 0.9).to_sparse_csr() if sparse else x
    model = MultiPathGCN(-1, 24, 7, stem=stem).eval()
    found = model.inference(edges, x)
    with torch.no_grad():
        torch.testing.assert_close(found, model(x, edges), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("nodes", [0, 1])
def test_hardly_a_graph(nodes):
    model, edges, x = network(), torch.empty(2, 0, dtype=torch.long), torch.randn(nodes, 24)
    with torch.no_grad():
        torch.testing.assert_close(model.inference(edges, x), model(x, edges), rtol=1e-4, atol=1e-4)


def test_rows_of_sparse_features_are_laid_out_a_few_at_a_time(problem, monkeypatch):
    monkeypatch.setattr("multipath_gcn.nn.path_sum.ROWS", 70)
    x = torch.nn.functional.dropout(problem[1], 0.9).to_sparse_csr()
    same(network(paths=((24,), ()), stem=0, transform="grouped"), problem[0], x)


def test_baselines_sparse_features_and_reordered_graphs(problem):
    edges, x = problem
    graph = Graph.normalized(edges, num_nodes=300)
    for model in (GCN(24, 16, 5).eval(), ResGCN(24, 16, 5).eval(), network()):
        sparse = compressed(torch.nn.functional.dropout(x, 0.95))
        same(model, graph, sparse)
        same(model, graph.reordered("rcm"), x)


WITHIN = """
import torch
from test_inference import least
from multipath_gcn.graph import Graph
from multipath_gcn.machine import PeakMemory
from multipath_gcn.nn import MultiPathGCN

nodes, width = 200_000, 64
graph = Graph.normalized(torch.randint(0, nodes, (2, 400_000)), num_nodes=nodes)
x, model = torch.randn(nodes, width), MultiPathGCN(width, width, 8).eval()
limit = least(model, graph, x) + 16 * nodes * 4
model.inference(graph, x, memory_limit=limit)  # what is loaded at the first call is not its work
before = PeakMemory(x.device).peak_mib()
memory = PeakMemory(x.device)
model.inference(graph, x, memory_limit=limit)
assert memory.peak_mib() - before < limit / 2**20 + 16, (memory.peak_mib(), before, limit / 2**20)
assert limit < 3 * nodes * width * 4  # fewer than three tensors of a layer: a call takes more
"""


def test_stays_within_its_limit():
    """In a process of its own, which gives back what it frees: the C library keeps some of it otherwise."""
    path = [*map(str, Path(__file__).parents[:2]), os.environ.get("PYTHONPATH", "")]
    gives_back = {"GLIBC_TUNABLES": "glibc.malloc.mmap_threshold=131072", "PYTHONPATH": os.pathsep.join(path)}
    run = subprocess.run([sys.executable, "-c", WITHIN], env=os.environ | gives_back, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


def test_refuses(problem):
    edges, x = problem
    model = network()
    for limit in ("6 GG", -1, True, "much", float("inf")):
        with pytest.raises(ValueError, match="memory_limit must be a number of bytes above 0 or a string such as"):
            model.inference(edges, x, memory_limit=limit)
    for module in (model.stem[0], model.paths[0][1].conv, model.readout):
        handle = module.register_forward_hook(lambda *_: None)
        with pytest.raises(
            ValueError, match="inference needs layers without hooks, .*, got one on (stem|paths|readout)"
        ):
            model.inference(edges, x)
        handle.remove()
    with pytest.raises(ValueError, match="inference must be called in evaluation mode"):
        model.train().inference(edges, x)
    model.eval()
    for wrong, message in (
        (x[:, :9], r"x must have 24 channels, got shape \[300, 9\]"),
        (torch.cat([x, x], dim=1).to_sparse_csr(), r"x must have 24 channels, got shape \[300, 48\]"),
        (x.double(), r"x must be of the type of the parameters \(torch.float32\), got torch.float64"),
        (None, "x must be one tensor of node features, got a NoneType"),
        (x[:, 0], r"x must have shape \(\*, N, F\), got \[300\]"),
    ):
        with pytest.raises(ValueError, match=message):
            model.inference(edges, wrong)
        with pytest.raises(ValueError, match="^(x|weight) must "):
            model(wrong, edges)
    with pytest.raises(ValueError, match=r"x must have shape \[N, F\], got \[2, 300, 24\]"):
        model.eval().inference(edges, torch.stack([x, x]))
