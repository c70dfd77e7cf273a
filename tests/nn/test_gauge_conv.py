import pytest
import torch
from meshes import graph_of, mesh, representation, turned
from torch.utils._python_dispatch import TorchDispatchMode

from multipath_gcn.data.mesh_geometry import turn_frames
from multipath_gcn.graph import GaugeGraph
from multipath_gcn.nn import GaugeEquivariantConv

F64 = torch.float64
WINDOWS = [{}, {"transform": "grouped", "groups": 2}, {"transform": "sliding", "groups": 2, "overlap": 0.5}]
ORDERS = [(2, 2), (0, 2), (2, 0), (1, 3), (0, 0)]


def full(conv, weight):
    """Weights [*, O, K] of windows as [*, O, C]."""
    dense = torch.zeros(*weight.shape[:-1], conv.in_channels, dtype=weight.dtype)
    for o, start in enumerate(conv.windows.start.tolist()):
        for k in range(conv.windows.width):
            dense[..., o, (start + k) % conv.in_channels] = weight[..., o, k]
    return dense


def by_definition(conv, x, data):
    """One edge after the other, as the paper writes it."""
    kernel = full(conv, conv.weight.transpose(1, 2))  # [2L'+1, 2L+1, O, C]
    own = full(conv, conv.weight_self)
    y = torch.zeros(len(x), 2 * conv.out_order + 1, conv.out_channels, dtype=x.dtype)
    y[:, 0] = x[:, 0] @ own[0].t() + conv.bias
    for n in range(1, min(conv.in_order, conv.out_order) + 1):
        re, im = 2 * n - 1, 2 * n
        y[:, re] = x[:, re] @ own[re].t() - x[:, im] @ own[im].t()
        y[:, im] = x[:, re] @ own[im].t() + x[:, im] @ own[re].t()
    degree = data.edge_index[1].bincount()
    for (q, p), angle, transport in zip(data.edge_index.t().tolist(), data.angle, data.transport, strict=True):
        out, back = representation(conv.out_order, angle), representation(conv.in_order, -angle)
        there = back @ representation(conv.in_order, transport) @ x[q]
        y[p] += torch.einsum("ab,bcol,cl->ao", out, kernel, there) / degree[p]
    return y


@pytest.mark.parametrize("options", WINDOWS)
@pytest.mark.parametrize("orders", ORDERS)
@pytest.mark.parametrize("kind", ["sphere", "torus"])
def test_is_the_sum_of_kernels_over_edges(kind, orders, options):
    data = mesh(kind)
    conv = GaugeEquivariantConv(4, 6, *orders, dtype=F64, **options)
    torch.nn.init.normal_(conv.bias)
    x = torch.randn(data.num_nodes, 2 * orders[0] + 1, 4, dtype=F64)
    torch.testing.assert_close(conv(x, graph_of(data)), by_definition(conv, x, data), atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, F64])
@pytest.mark.parametrize("options", WINDOWS)
@pytest.mark.parametrize("orders", ORDERS)
def test_turns_with_the_frames(orders, options, dtype):
    data, angle = mesh(), torch.rand(162, dtype=F64) * 6
    x = torch.randn(162, 2 * orders[0] + 1, 4, dtype=F64)
    conv = GaugeEquivariantConv(4, 6, *orders, dtype=dtype, **options)
    y = turned(conv(x.to(dtype), as_type(data, dtype)), angle.to(dtype))
    other = conv(turned(x, angle).to(dtype), as_type(turn_frames(data, angle), dtype))
    tolerance = 1e-10 if dtype == F64 else 1e-5
    torch.testing.assert_close(other, y, atol=tolerance, rtol=0)


def as_type(data, dtype):
    return GaugeGraph(data.edge_index, data.angle.to(dtype), data.transport.to(dtype), data.num_nodes)


def test_weights_that_do_not_fit_the_formula_would_be_seen():
    """A kernel that does not turn with the angle, K(theta) = K(0), fails the test above."""
    data, angle = mesh(), torch.rand(162, dtype=F64) * 6
    conv, x = GaugeEquivariantConv(4, 4, dtype=F64), torch.randn(162, 5, 4, dtype=F64)
    still = data.clone()
    still.angle = torch.zeros_like(data.angle)
    other = turn_frames(data, angle)
    other.angle = torch.zeros_like(data.angle)
    difference = conv(turned(x, angle), graph_of(other)) - turned(conv(x, graph_of(still)), angle)
    assert difference.abs().max() > 0.1


def test_relabelled_vertices_are_relabelled_outputs():
    data, conv = mesh(), GaugeEquivariantConv(3, 3, dtype=F64)
    x, order = torch.randn(162, 5, 3, dtype=F64), torch.randperm(162)
    place = order.argsort()  # vertex v is now place[v]
    graph = GaugeGraph(place[data.edge_index], data.angle, data.transport, 162)
    torch.testing.assert_close(conv(x[order], graph), conv(x, graph_of(data))[order])


@pytest.mark.parametrize("options", WINDOWS)
def test_gradients(options):
    data = mesh("torus")
    keep = (data.edge_index < 12).all(0)
    graph = GaugeGraph(data.edge_index[:, keep], data.angle[keep], data.transport[keep], 12)
    conv = GaugeEquivariantConv(4, 2, 1, 2, dtype=F64, **options)
    x = torch.randn(12, 3, 4, dtype=F64, requires_grad=True)
    weights = (conv.weight, conv.weight_self, conv.bias)
    assert torch.autograd.gradcheck(lambda x, *_: conv(x, graph), (x, *weights))


class Largest(TorchDispatchMode):
    """The number of values of the largest tensor that an operator makes."""

    def __init__(self):
        super().__init__()
        self.values = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        made = function(*args, **(kwargs or {}))
        for tensor in made if isinstance(made, tuple | list) else [made]:
            if isinstance(tensor, torch.Tensor):
                self.values = max(self.values, tensor.numel())
        return made


def test_makes_nothing_of_the_size_of_edges_times_channels():
    data, conv = mesh(dtype=torch.float32), GaugeEquivariantConv(32, 32, 1, 1)
    graph, x = graph_of(data), torch.randn(162, 3, 32, requires_grad=True)
    conv(x, graph)
    with Largest() as largest:
        conv(x, graph).sum().backward()
    assert largest.values == 162 * 9 * 32  # sums: vertices times what they see
    assert largest.values < data.num_edges * 3 * 32 * 32 / 50


def test_a_vertex_without_neighbours_sees_itself():
    conv = GaugeEquivariantConv(2, 2, 1, 1, dtype=F64)
    graph = GaugeGraph(torch.tensor([[0], [1]]), torch.zeros(1, dtype=F64), torch.zeros(1, dtype=F64), 3)
    x = torch.randn(3, 3, 2, dtype=F64)
    torch.testing.assert_close(conv(x, graph)[2, 0], conv.weight_self[0] @ x[2, 0] + conv.bias)


def test_number_of_weights_is_that_of_the_docstring():
    for low, high in ORDERS:
        count = 4 * 6 * ((2 * low + 1) * (2 * high + 1) + 2 * min(low, high) + 1) + 6
        assert sum(p.numel() for p in GaugeEquivariantConv(4, 6, low, high).parameters()) == count


def test_names_itself():
    assert repr(GaugeEquivariantConv(4, 6, 1, 2)) == "GaugeEquivariantConv(4, 6, in_order=1, out_order=2)"
    grouped = GaugeEquivariantConv(4, 6, 1, 2, transform="grouped", groups=2)
    assert repr(grouped).endswith("transform='grouped', groups=2)")


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((4, 4, -1), {}, "in_order must be an integer of at least 0, got -1"),
        ((4, 4, 1, 1.5), {}, "out_order must be an integer of at least 0, got 1.5"),
        ((4, 4), {"transform": "round"}, "transform must be one of"),
        ((4, 6), {"transform": "grouped", "groups": 4}, "out_channels"),
        ((4, 4), {"groups": 2}, "groups must be None"),
    ],
)
def test_wrong_arguments(arguments, options, message):
    with pytest.raises(ValueError, match=message):
        GaugeEquivariantConv(*arguments, **options)


def test_wrong_input():
    data = mesh("torus")
    with pytest.raises(ValueError, match="graph must be a GaugeGraph, got Tensor"):
        GaugeEquivariantConv(3, 3)(torch.zeros(112, 5, 3), data.edge_index)
    with pytest.raises(ValueError, match=r"x must have shape \[112, 5, 3\], got \[112, 3, 3\]"):
        GaugeEquivariantConv(3, 3, dtype=F64)(torch.zeros(112, 3, 3, dtype=F64), graph_of(data))


def test_autocast_multiplies_in_its_type_and_sums_in_float32():
    data = mesh("torus")
    conv, x = GaugeEquivariantConv(4, 6), torch.randn(data.num_nodes, 5, 4)
    graph = graph_of(data)
    wanted = conv(x, graph)
    with torch.autocast("cpu", torch.bfloat16):
        found = conv(x, graph)
    assert found.dtype is torch.bfloat16
    torch.testing.assert_close(found.float(), wanted, atol=0.05, rtol=0.05)
    found.float().square().sum().backward()
    assert conv.weight.grad.dtype is torch.float32 and conv.weight.grad.isfinite().all()
