import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from multipath_gcn.data import NodeDataset
from multipath_gcn.graph import Graph
from multipath_gcn.machine import resident_mib
from multipath_gcn.nn import MultiPathGCN
from multipath_gcn.tasks import ClusterTask, NodeTask
from multipath_gcn.tasks.footprint import kept_bytes

N = 48
SPLIT = {"train": torch.arange(12), "valid": torch.arange(12, 20), "test": torch.arange(20, N)}


def dataset(binary=False, both=True):
    draw = torch.Generator().manual_seed(0)
    pairs = torch.randint(0, N, (2, 120), generator=draw)
    pairs = (torch.cat([pairs, pairs.flip(0)], dim=1) if both else pairs).unique(dim=1)
    y = (torch.arange(N)[:, None] // torch.tensor([1, 2]) % 2).float() if binary else torch.arange(N) % 3
    facts = (2, "rocauc") if binary else (3, "acc")
    return NodeDataset("toy", torch.randn(N, 5, generator=draw), pairs, y, SPLIT, *facts)


def model_for(task, **options):
    return MultiPathGCN(task.in_channels, 8, task.out_channels, **options)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MULTIPATH_GCN_CACHE", str(tmp_path / "cache"))


def task(data=None, **options):
    return ClusterTask(data or dataset(), **{"method": "contiguous"} | options)


@pytest.mark.parametrize("both", [True, False], ids=["undirected", "directed"])
@pytest.mark.parametrize("binary", [False, True], ids=["classes", "binary"])
@pytest.mark.parametrize("evaluation", ["graph", "parts"])
def test_all_parts_at_once_are_the_whole_graph(evaluation, binary, both):
    data = dataset(binary, both)
    whole, parts = NodeTask(data), task(data, parts=4, batch=4, evaluation=evaluation)
    model = model_for(whole)
    (loss,) = parts.train_losses(model, 1)
    torch.testing.assert_close(loss, whole.train_loss(model, 1))
    assert parts.evaluate(model) == pytest.approx(whole.evaluate(model), rel=1e-5)
    assert parts.steps == 1 and (parts.in_channels, parts.out_channels) == (5, data.num_outputs)


def test_a_step_is_the_mean_over_the_training_nodes_of_its_subgraphs():
    data = dataset()
    single, pair = task(data, parts=4), task(data, parts=4, subgraphs=2)
    model = model_for(single)
    counts = single.train_counts.tolist()
    assert counts == [12, 0, 0, 0]  # the first part has all of them
    assert len(list(single.train_losses(model, 1))) == 1  # steps without training nodes are left out
    (alone,), (together,) = single.train_losses(model, 1), pair.train_losses(model, 1)
    torch.testing.assert_close(alone, together)


def test_draws_depend_on_the_seed_and_the_epoch_alone():
    torch.manual_seed(3)
    first = task(parts=6, subgraphs=3)
    model = model_for(first, dropout=0.5)
    losses = [list(first.train_losses(model, epoch)) for epoch in (1, 2)]
    torch.manual_seed(3)
    again = task(parts=6, subgraphs=3)
    torch.rand(100)
    assert torch.stack(list(again.train_losses(model, 2))).equal(torch.stack(losses[1]))
    assert not torch.stack(losses[0]).equal(torch.stack(losses[1]))


def test_memory_is_refused_before_training(monkeypatch):
    limited = task(parts=4, evaluation="parts", memory_mib=1.0)
    model = model_for(limited, norm="batch")
    before, random = [t.clone() for t in (*model.parameters(), *model.buffers())], torch.get_rng_state()
    with pytest.raises(
        ValueError, match=r"memory_mib must hold what is there, \d+, and a step, about 0, got 1; a smaller"
    ):
        limited.check(model)
    assert all(a.equal(b) for a, b in zip(before, (*model.parameters(), *model.buffers()), strict=True))
    assert torch.get_rng_state().equal(random)
    task(parts=4, evaluation="parts", memory_mib=1e6).check(model)
    # A step of a wide network counts, not only what is there.
    wide = MultiPathGCN(5, 4096, 3, paths=((4096,) * 4,))
    small = task(parts=4, batch=4, evaluation="parts", memory_mib=resident_mib() + 20)
    small.check(model)
    with pytest.raises(ValueError, match="and a step, about"):
        small.check(wide)


class OneLayer(nn.Module):
    def __init__(self):
        super().__init__()
        self.lin = nn.Linear(100, 30)

    def forward(self, x, graph):
        return self.lin(x).tanh()


def test_what_a_pass_keeps_is_counted():
    graph = Graph.normalized(torch.tensor([[0, 1], [1, 0]]), num_nodes=64)
    x = torch.randn(64, 100, requires_grad=True)
    assert kept_bytes(OneLayer(), x, graph) == 64 * 30 * 4  # of tanh; x and the weight are there anyway


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"parts": 4, "batch": 3}, r"parts must be a multiple of batch \* subgraphs = 3 \* 1, got 4"),
        ({"parts": 4, "subgraphs": 0}, "subgraphs must be an integer of at least 1, got 0"),
        ({"parts": 4, "evaluation": "whole"}, r"evaluation must be null or one of \['graph', 'parts'\], got 'whole'"),
        ({"parts": 4, "memory_mib": 0}, "above 0 with evaluation=parts on the CPU, got 0 with parts on cpu"),
        ({"parts": 4, "memory_mib": 9, "evaluation": "graph"}, "got 9 with graph on cpu"),
        ({"parts": 4, "memory_mib": 9, "device": "meta"}, "got 9 with parts on meta"),
    ],
)
def test_refused(options, message):
    with pytest.raises(ValueError, match=message):
        task(**options)


def test_a_model_for_images_is_refused():
    with pytest.raises(ValueError, match="model must take features and a graph, such as model=multipath"):
        task(parts=2).check(nn.Linear(5, 3))


GRADIENTS = """
import sys, torch
from multipath_gcn.data import load_digits
from multipath_gcn.fabric import make_fabric
from multipath_gcn.fit import average_statistics
from multipath_gcn.nn import MultiPathGCN
from multipath_gcn.tasks import ClusterTask
torch.set_num_threads(1)
fabric = make_fabric("cpu", "32-true")
found = []
for norm, evaluation in (("batch", "graph"), (None, "parts")):
    torch.manual_seed(0)
    task = ClusterTask(load_digits(), parts=8, subgraphs=4, method="contiguous", evaluation=evaluation)
    model = MultiPathGCN(task.in_channels, 16, task.out_channels, dropout=0.5, norm=norm, combine="attention")
    model, optimizer = fabric.setup(model, torch.optim.SGD(model.parameters(), 0.1))
    for loss in task.train_losses(model, 1):
        optimizer.zero_grad()
        fabric.backward(loss)
        found.append([p.grad.clone() for p in model.parameters()])
        optimizer.step()
    for buffer in [b for b in model.buffers() if b.is_floating_point()]:
        mean = fabric.all_gather(buffer).reshape(fabric.world_size, -1).mean(0)
        average_statistics(model, fabric)
        torch.testing.assert_close(buffer, mean)
    scores = task.evaluate(model)
if fabric.is_global_zero:
    torch.save((found, scores, fabric.world_size), sys.argv[1])
"""


def launched(folder: Path, processes: int) -> tuple:
    script, found = folder / "gradients.py", folder / f"{processes}.pt"
    script.write_text(GRADIENTS)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    subprocess.run(
        [*command, str(script), str(found)], check=True, timeout=200, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    return torch.load(found, weights_only=True)


def test_two_processes_compute_the_gradients_of_one(tmp_path):
    (one, scores, single), (two, shared, double) = launched(tmp_path, 1), launched(tmp_path, 2)
    assert (single, double) == (1, 2) and len(one) == len(two) == 4
    for alone, together in zip(one, two, strict=True):
        for a, b in zip(alone, together, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)
    assert scores == pytest.approx(
        shared, abs=1e-3
    )  # of the second network, on parts that two share: one node of 1,000
