import pytest
import torch
from meshes import graph_of, mesh

from multipath_gcn.data import MeshGeometry
from multipath_gcn.data.mesh_geometry import turn_frames
from multipath_gcn.data.mesh_shapes import rotation
from multipath_gcn.models import GaugeEquivariantNet, build_matched, count_parameters

F64 = torch.float64
PATHS = ((2, 2), (1,), (0, 3))


def network(**options):
    torch.manual_seed(0)
    return GaugeEquivariantNet(2, 8, 3, paths=PATHS, **options).to(F64).eval()


def test_gated_output_does_not_depend_on_frames_place_and_order():
    data, model = mesh(), network(nonlinearity="gated", transform="sliding", groups=2)
    x = torch.randn(162, 2, dtype=F64)
    y = model(x, graph_of(data))
    assert y.shape == (162, 3) and y.std() > 1e-3
    turned = turn_frames(data, torch.rand(162, dtype=F64) * 6)
    torch.testing.assert_close(model(x, graph_of(turned)), y, atol=1e-10, rtol=0)
    moved = data.clone()
    moved.pos = data.pos @ rotation(torch.Generator().manual_seed(1)).t() + 3.0
    torch.testing.assert_close(model(x, graph_of(MeshGeometry()(moved))), y, atol=1e-10, rtol=0)
    order = torch.randperm(162)
    again = data.clone()
    again.pos, again.face = data.pos[order], order.argsort()[data.face]
    torch.testing.assert_close(model(x[order], graph_of(MeshGeometry()(again))), y[order], atol=1e-10, rtol=0)


def test_gated_output_in_float32():
    data, model = mesh(dtype=torch.float32), network(nonlinearity="gated").float()
    x = torch.randn(162, 2)
    turned = turn_frames(data, torch.rand(162) * 6)
    torch.testing.assert_close(model(x, graph_of(turned)), model(x, graph_of(data)), atol=1e-5, rtol=0)


def test_sampled_output_depends_on_frames_the_less_the_more_samples_there_are():
    data, x = mesh(), torch.randn(162, 2, dtype=F64)
    turned = turn_frames(data, torch.rand(162, dtype=F64) * 6)
    found = []
    for samples in (7, 15, 63):
        model = network(samples=samples)
        y = model(x, graph_of(data))
        found.append(float((model(x, graph_of(turned)) - y).abs().max() / y.std()))
    assert found[0] > found[1] > found[2] and found[2] < found[0] / 20


def test_order_0_sees_no_directions():
    data, x = mesh(), torch.randn(162, 2)
    model = GaugeEquivariantNet(2, 8, 3, paths=((0, 0),))
    other = data.clone()
    other.angle, other.transport = torch.rand_like(data.angle), torch.rand_like(data.angle)
    for one in (data, other):
        one.angle, one.transport = one.angle.float(), one.transport.float()
    torch.testing.assert_close(model(x, graph_of(other)), model(x, graph_of(data)))


def test_isotropic_network_of_as_many_parameters():
    from functools import partial

    wide = partial(GaugeEquivariantNet, paths=((0, 0),))
    oriented = partial(GaugeEquivariantNet, hidden_channels=16, paths=((2, 2),))
    counts = [
        count_parameters(m) for m in (build_matched(2, 6, wide, oriented), oriented(in_channels=2, out_channels=6))
    ]
    assert abs(counts[0] - counts[1]) < 0.02 * counts[1]


def test_resets_and_names_itself():
    model = network()
    before = [p.clone() for p in model.parameters()]
    torch.manual_seed(7)
    model.reset_parameters()
    changed = [not p.equal(q) for p, q in zip(model.parameters(), before, strict=True) if p.dim() > 1]
    assert all(changed)
    assert repr(model) == f"GaugeEquivariantNet(2, 8, 3, paths={PATHS}, nonlinearity='regular')"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"paths": ()}, "paths must hold at least one path"),
        ({"paths": ((),)}, "paths must hold at least one path of at least one order"),
        ({"nonlinearity": "tanh"}, "nonlinearity must be one of"),
        ({"samples": 3}, "samples must be at least 2"),
        ({"transform": "grouped", "groups": 3}, "groups"),
    ],
)
def test_wrong_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        GaugeEquivariantNet(2, 8, 3, **options)
