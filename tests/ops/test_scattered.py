"""Max and min by torch-scatter are those of the definition: values, sources, gradients; and which one is used where."""

import os
import subprocess
import sys

import pytest
import sparse_cases
import torch
from sparse_cases import DTYPES, FEATURES

from multipath_gcn.ops import reference
from multipath_gcn.ops.reference import scattered

torch_scatter = pytest.importorskip("torch_scatter")
BOTH = [True, False]
TOP = torch.finfo(torch.float32).max


def extremes(case, largest):
    """By torch-scatter and by definition."""
    args = (case.x, *case.matrix, *case.transpose, largest)
    return scattered.propagate_extreme(*args), reference.propagate.propagate_extreme(*args)


def assert_same(found, expected):
    for got, want in zip(found, expected, strict=True):
        assert got.dtype == want.dtype and got.is_contiguous()
        torch.testing.assert_close(got, want, rtol=0, atol=0, equal_nan=True)


@pytest.fixture
def calls(monkeypatch):
    """What torch-scatter was asked."""
    seen = []
    for name in ("segment_max_csr", "segment_min_csr"):
        function = getattr(torch_scatter, name)
        monkeypatch.setattr(torch_scatter, name, lambda *args, f=function, n=name: seen.append(n) or f(*args))
    return seen


@pytest.mark.parametrize("largest", BOTH)
@pytest.mark.parametrize("integers", BOTH, ids=["ties", "random"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("features", [0, *FEATURES])
def test_values_and_sources(features, dtype, integers, largest, calls):
    cases = list(sparse_cases.cases(features, dtype, integers=integers))
    for case in cases:
        assert_same(*extremes(case, largest))
    assert calls == ["segment_max_csr" if largest else "segment_min_csr"] * len(cases)


@pytest.mark.parametrize("largest", BOTH)
@pytest.mark.parametrize("first", [torch.nan, torch.inf, -torch.inf, TOP, -TOP, 1.0])
@pytest.mark.parametrize("second", [torch.nan, torch.inf, -torch.inf, TOP, -TOP, 1.0])
def test_values_at_the_end_of_their_type(first, second, largest, calls):
    """torch-scatter takes them for none at all: rows that hold nothing else come from entries of other rows."""
    rowptr, col = torch.tensor([0, 3, 5, 5, 6]), torch.tensor([0, 1, 2, 1, 2, 1])
    x = torch.tensor([[2.0, 3.0], [first, 3.0], [second, 4.0]])
    matrix = rowptr, col, None, None, None, None, None, None
    found = scattered.propagate_extreme(x, *matrix, largest)
    assert_same(found, reference.propagate.propagate_extreme(x, *matrix, largest))
    assert bool(calls) == (first == second == 1)


GRADIENTS = """
import sys
if {blocked}:
    sys.modules["torch_scatter"] = None
import torch
from multipath_gcn.graph import Graph
from multipath_gcn.ops import propagate
asked = 0
if not {blocked}:
    import torch_scatter
    function = torch_scatter.segment_max_csr
    def counted(*args):
        global asked
        asked += 1
        return function(*args)
    torch_scatter.segment_max_csr = counted

# Row 0 has a tie of sources 1 and 3, row 2 one of all its entries; row 1 is empty.
edges = torch.tensor([[0, 1, 3, 0, 1, 2], [0, 0, 0, 2, 2, 2]])
weight = torch.ones(6, dtype=torch.float64, requires_grad=True)
x = torch.tensor([[1.0, 5], [2, 5], [0, 5], [2, 4]], dtype=torch.float64, requires_grad=True)
plain = Graph.from_adjacency(edges, num_nodes=(4, 3))
weighted = Graph.from_adjacency(edges, weight, num_nodes=(4, 3))
for graph, leaves in ((plain, [x]), (weighted, [x, weight])):
    y = propagate(graph, x, "max")
    print(y.tolist(), [g.tolist() for g in torch.autograd.grad(y.sum(), leaves)])
far = torch.randn(4, 2, dtype=torch.float64, requires_grad=True)
assert torch.autograd.gradcheck(lambda x: propagate(plain, x, "max"), far)
assert torch.autograd.gradgradcheck(lambda x: propagate(plain, x, "max"), far)
with torch.autocast("cpu"):
    assert propagate(plain, x.detach().float(), "max").dtype is torch.float32
compiled = torch.compile(lambda x: propagate(plain, x, "max"), backend="aot_eager", fullgraph=True)
print(torch.autograd.grad(compiled(x).sum(), x)[0].tolist())
print(asked > 0)
"""


def in_mode(mode, blocked):
    environment = {**os.environ, "MULTIPATH_GCN_NATIVE": mode}
    code = GRADIENTS.format(blocked=blocked)
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert run.returncode == 0, run.stderr
    *results, asked = run.stdout.splitlines()
    return results, asked == "True"


def test_gradients_of_ties_and_who_is_asked():
    """In reference mode torch-scatter where it can be imported, else the definition; the kernels ask nobody."""
    native, by_kernels = in_mode("native", blocked=False)
    found, by_scatter = in_mode("reference", blocked=False)
    stock, by_stock = in_mode("reference", blocked=True)
    assert (by_kernels, by_scatter, by_stock) == (False, True, False)
    assert found == stock == native
    assert found[0] == "[[2.0, 5.0], [0.0, 0.0], [2.0, 5.0]] [[[0.0, 2.0], [2.0, 0.0], [0.0, 0.0], [0.0, 0.0]]]"


def test_only_the_cpus_operator_is_another():
    """Its CUDA kernels number results in 32 bits."""
    assert reference.functions("CPU")["propagate_extreme"] is scattered.propagate_extreme
    assert reference.functions("CUDA")["propagate_extreme"] is reference.propagate.propagate_extreme
