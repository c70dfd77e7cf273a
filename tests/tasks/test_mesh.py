import app
import pytest
import torch
from meshes import graph_of
from torch import nn
from torch.nn import functional as F

from multipath_gcn.data import load_digits, mesh_gradients
from multipath_gcn.data.mesh_gradients import load_mesh_gradients
from multipath_gcn.models import GCN, GaugeEquivariantNet
from multipath_gcn.tasks import MeshTask


@pytest.fixture(scope="module")
def data():
    return load_mesh_gradients(train=5, valid=2, test=3, level=1)


def test_an_epoch_sees_every_mesh_once(data):
    task, model = MeshTask(data, batch_size=2), GaugeEquivariantNet(2, 4, 6)
    losses = list(task.train_losses(model, 1))
    assert task.steps == len(losses) == 3 and task.in_channels == 2 and task.out_channels == 6
    seen = torch.cat([batch.x for batch in task.batches["train"]]).sort(0).values
    assert seen.equal(torch.cat([mesh.x for mesh in data.splits["train"]]).sort(0).values)
    assert all(loss.requires_grad for loss in losses)


def test_meshes_of_a_batch_do_not_touch(data):
    task, model = MeshTask(data, batch_size=3), GaugeEquivariantNet(2, 4, 6).eval()
    x, graph, y = task.batches["test"][0]
    one = MeshTask(data, batch_size=1).batches["test"]
    torch.testing.assert_close(model(x, graph), torch.cat([model(b.x, b.graph) for b in one]))
    assert y.equal(torch.cat([b.y for b in one]))


def test_scores_are_shares_of_vertices(data):
    task, model = MeshTask(data), GaugeEquivariantNet(2, 4, 6).eval()
    row = task.evaluate(model)
    scores = torch.cat([model(b.x, b.graph) for b in task.batches["valid"]])
    y = torch.cat([b.y for b in task.batches["valid"]])
    assert row["valid"] == pytest.approx((scores.argmax(1) == y).float().mean().item())
    assert row["valid_loss"] == pytest.approx(F.cross_entropy(scores, y).item(), rel=1e-5)


def test_labels_are_mirrored_with_the_mesh(monkeypatch):
    """Sectors s and S - s change places, and a network without orientation says the same of both."""
    options = {"train": 2, "valid": 1, "test": 1, "level": 2, "noise": 0, "sectors": 5}
    seen = load_mesh_gradients(**options).splits["train"]
    mirror = torch.tensor([1.0, 1.0, -1.0], dtype=torch.float64)
    field, geometry = mesh_gradients._field, mesh_gradients.MeshGeometry.forward

    def of_mirrored(pos, generator):
        values, slopes = field(pos * mirror, generator)
        return values, slopes * mirror

    def mirrored(self, data):
        data.face = data.face.flip(0)
        return geometry(self, data)

    monkeypatch.setattr(mesh_gradients, "_field", of_mirrored)
    monkeypatch.setattr(mesh_gradients.MeshGeometry, "forward", mirrored)
    turn = mesh_gradients.rotation
    monkeypatch.setattr(mesh_gradients, "rotation", lambda generator: torch.diag(mirror) @ turn(generator))
    there = load_mesh_gradients(**options).splits["train"]
    model = GaugeEquivariantNet(2, 4, 5, paths=((0, 0),)).eval()
    for one, other in zip(seen, there, strict=True):
        torch.testing.assert_close(other.pos, one.pos * mirror.float())
        torch.testing.assert_close(other.x, one.x)
        assert (other.y == (5 - one.y) % 5).float().mean() > 0.99  # all but what lies on a border
        assert one.y.bincount(minlength=5).min() > 0
        torch.testing.assert_close(model(other.x, graph_of(other)), model(one.x, graph_of(one)))


def test_generated_meshes_are_the_same_every_time():
    data = load_mesh_gradients(train=2, valid=1, test=1, level=1, noise=0)
    assert data.synthetic and data.num_classes == 6 and data.num_features == 2
    again = load_mesh_gradients(train=2, valid=1, test=1, level=1, noise=0)
    assert all(a.x.equal(b.x) for a, b in zip(data.splits["train"], again.splits["train"], strict=True))


@pytest.mark.parametrize("model", ["gauge_equivariant", "isotropic_mesh"])
def test_trains(model, monkeypatch, tmp_path):
    small = ["data.train=3", "data.valid=1", "data.test=2", "data.level=1", "hidden_channels=8"]
    (result,) = app.run(monkeypatch, tmp_path, "task=mesh", f"model={model}", "fit.epochs=2", *small)
    assert result["data"] == "mesh_gradients" and result["model"] == model and result["synthetic"]
    assert next(tmp_path.rglob("figure.png")).stat().st_size > 10_000


def test_orientation_is_learned(monkeypatch, tmp_path):
    few = ["data.train=8", "data.valid=2", "data.test=4", "data.level=2", "data.sectors=4", "hidden_channels=8"]
    few += ["data.noise=0", "task.batch_size=1", "fit.epochs=20"]
    scores = {}
    for model in ("gauge_equivariant", "isotropic_mesh"):
        (result,) = app.run(monkeypatch, tmp_path / model, "task=mesh", f"model={model}", *few)
        scores[model] = result["test"]
    assert scores["gauge_equivariant"] > scores["isotropic_mesh"] + 0.1


def test_wrong_arguments(data):
    with pytest.raises(ValueError, match="dataset must be a MeshDataset for task=mesh.*NodeDataset"):
        MeshTask(load_digits())
    with pytest.raises(ValueError, match="batch_size must be an integer of at least 1, got 0"):
        MeshTask(data, batch_size=0)
    task = MeshTask(data)
    task.check(GaugeEquivariantNet(2, 4, 6))

    class Users(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = GaugeEquivariantNet(2, 4, 6)

        def forward(self, features, surface):
            return self.inner(features, surface)

    task.check(Users())
    for model in (GCN(2, 4, 6), nn.Linear(2, 6)):
        with pytest.raises(ValueError, match="take vertex features and a GaugeGraph.*got"):
            task.check(model)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"train": 0}, "train must be at least 1"),
        ({"sectors": 2}, "sectors must be at least 3"),
        ({"level": 0}, r"level must be in \[1, 6\]"),
        ({"strength": 0.5}, "strength must be in"),
        ({"noise": -1}, "noise must be at least 0"),
    ],
)
def test_wrong_data(options, message):
    with pytest.raises(ValueError, match=message):
        load_mesh_gradients(**options)
