"""What is not plain eager: opcheck, fake and meta tensors, torch.compile."""

import graphs
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.library import opcheck

from multipath_gcn.graph import Graph
from multipath_gcn.nn import GCNConv, MultiPathGCN
from multipath_gcn.ops import activate, combine, propagate

OPS = torch.ops.multipath_gcn
GRAPHS = {
    "directed": lambda: Graph.normalized(graphs.SIMPLE, num_nodes=graphs.N),
    "symmetric": lambda: Graph.normalized(
        torch.cat([graphs.SIMPLE, graphs.SIMPLE.flip(0)], dim=1).unique(dim=1), num_nodes=graphs.N
    ),
    "weighted": lambda: Graph.normalized(graphs.MULTI, num_nodes=graphs.N),
}
SEED = torch.tensor(9)


@pytest.fixture(autouse=True)
def _forget():
    yield
    torch._dynamo.reset()


@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.parametrize("features", [0, 70])
def test_opcheck(features, name):
    operands = GRAPHS[name]().operands(torch.float32)
    x, grad = (torch.randn(graphs.N, features, requires_grad=True) for _ in range(2))
    bias = torch.randn(features, requires_grad=True)
    opcheck(OPS.propagate.default, (x, *operands))
    opcheck(OPS.propagate.default, (x.detach().t().contiguous().t(), *operands[:5], None, None, None))
    for relu, p, seed in ((True, 0.5, SEED), (False, 0.0, None), (True, 0.0, None)):
        opcheck(OPS.propagate_activated.default, (x, *operands, bias, relu, p, seed))
        opcheck(OPS.activate.default, (x, bias, relu, p, seed))
        kept = OPS.activate(x, bias, relu, p, seed)[1]
        opcheck(OPS.activate_grad.default, (grad, kept, p))
    opcheck(OPS.propagate_weight_grad.default, (grad, x, *operands[:2], *operands[3:5]))
    opcheck(OPS.propagate_extreme.default, (x, *operands, True))
    source = OPS.propagate_extreme(x, *operands, True)[1]
    rowptr_t, col_t, weight_t = operands[5:]
    opcheck(OPS.propagate_extreme_grad.default, (grad, source, rowptr_t, col_t, weight_t, operands[4], operands[3]))
    opcheck(OPS.combine.default, ([x, grad], 0.5))


def call(graph, reduce):
    def f(x, bias):
        return propagate(graph, x, reduce, bias=bias, activation="relu", dropout=0.5, seed=SEED)

    return f


@pytest.mark.parametrize("used", [False, True], ids=["new", "used"])
@pytest.mark.parametrize("reduce", ["sum", "mean", "max"])
@pytest.mark.parametrize("name", GRAPHS)
def test_compile(name, reduce, used):
    graph = GRAPHS[name]()
    inputs = torch.randn(graphs.N, 3, requires_grad=True), torch.randn(3, requires_grad=True)
    expected = call(GRAPHS[name](), reduce)(*inputs)
    theirs = torch.autograd.grad(expected.square().sum(), inputs)
    if used:
        call(graph, reduce)(*inputs)
    y = torch.compile(call(graph, reduce), fullgraph=True, backend="aot_eager")(*inputs)
    torch.testing.assert_close(y, expected)
    torch.testing.assert_close(torch.autograd.grad(y.square().sum(), inputs), theirs)


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("reduce", ["sum", "mean"])
@pytest.mark.parametrize("kind", ["directed", "symmetric", "reordered", "unweighted"])
def test_compiled_gradients_are_of_the_weights_and_scales_as_they_are(kind, reduce, when):
    edges, weight = torch.tensor([[0, 1, 1, 2, 3, 0], [1, 0, 2, 1, 0, 3]]), torch.tensor([0.5, 0.5, 2.0, 2.0, 3.0, 3.0])
    step = 2 if kind == "directed" else 1
    weight = None if kind == "unweighted" else weight[::step]
    graph = Graph.normalized(edges[:, ::step], weight, num_nodes=graphs.N)
    assert graph.symmetric == (kind != "directed")
    graph = graph.reordered("degree") if kind == "reordered" else graph
    inputs = torch.randn(graphs.N, 3, requires_grad=True), torch.randn(3, requires_grad=True)
    f = torch.compile(call(graph, reduce), fullgraph=True, backend="aot_eager")
    torch.autograd.grad(call(graph, reduce)(*inputs).sum(), inputs)  # what is made of the graph is kept
    if when == "after":
        torch.autograd.grad(f(*inputs).sum(), inputs)
    with torch.no_grad():
        values = graph.row_scale if graph.weight is None else graph.weight
        values.mul_(torch.arange(1.0, values.numel() + 1))  # of weights, that undoes symmetry
    grad, results = torch.randn(graphs.N, 3), []
    for function in (f, call(graph, reduce)):  # in this order: the latter makes anew what is kept
        y = function(*inputs)
        results.append([y, *torch.autograd.grad(y, inputs, grad)])
    torch.testing.assert_close(*results)


def test_compiled_dropout_draws_anew():
    graph, x = GRAPHS["directed"](), torch.ones(graphs.N, 64)
    f = torch.compile(lambda x: propagate(graph, x, dropout=0.5), fullgraph=True, backend="aot_eager")
    first, second = f(x), f(x)
    assert not torch.equal(first, second) and ((first == 0) | (second == 0) | (first == second)).all()


@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.parametrize("make", [lambda: GCNConv(4, 3), lambda: GCNConv(3, 4), lambda: MultiPathGCN(4, 8, 3)])
def test_compiled_layers(make, name):
    graph, model = GRAPHS[name](), make()
    width = model.in_channels
    x = torch.randn(graphs.N, width, requires_grad=True)
    results = []
    for f in (model, torch.compile(model, fullgraph=True, backend="aot_eager")):
        y = f(x, graph)
        results.append([y, *torch.autograd.grad(y.square().sum(), [x, *model.parameters()])])
    torch.testing.assert_close(*results)


def test_compile_tells_graphs_apart():
    model, x = GCNConv(4, 3), torch.randn(graphs.N, 4)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    for name in (*GRAPHS, "directed"):
        graph = GRAPHS[name]()
        torch.testing.assert_close(compiled(x, graph), model(x, graph))


@pytest.mark.parametrize("name", GRAPHS)
def test_meta_and_fake_tensors(name):
    graph = GRAPHS[name]()
    graph.transpose(), graph.averaged()
    meta = graph.to("meta")
    for reduce in ("sum", "max"):
        x = torch.randn(graphs.N, 3, device="meta", requires_grad=True)
        y = propagate(meta, x, reduce, activation="relu")
        assert y.is_meta and y.shape == (graphs.N, 3)
    x = torch.empty(2, 3, device="meta", requires_grad=True)
    activate(x, None, "relu", 0.5).sum().backward()
    assert x.grad.is_meta and combine([x, x], 0.5).is_meta
    with FakeTensorMode():
        x = torch.randn(4, 5)
        assert activate(x, x[0], "relu", 0.3).shape == (4, 5) and combine([x, x]).shape == (4, 5)
