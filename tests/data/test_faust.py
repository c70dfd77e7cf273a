import zipfile

import pytest
import torch

from multipath_gcn.data import load_faust
from multipath_gcn.data.mesh_shapes import deformed, icosphere
from multipath_gcn.data.roots import MissingData

trimesh = pytest.importorskip("trimesh")


def archive(folder, scans=100, odd=None):
    """Deformed spheres of 42 vertices in the place of people."""
    generator, (pos, face) = torch.Generator().manual_seed(0), icosphere(1)
    (folder / "FAUST/raw").mkdir(parents=True)
    with zipfile.ZipFile(folder / "FAUST/raw/MPI-FAUST.zip", "w") as content:
        for number in range(scans):
            points, faces = (pos, face) if number != odd else icosphere(0)
            scan = trimesh.Trimesh(deformed(points, 0.1, generator).numpy(), faces.t().numpy(), process=False)
            content.writestr(f"MPI-FAUST/training/registrations/tr_reg_{number:03d}.ply", scan.export(file_type="ply"))


@pytest.fixture
def roots(monkeypatch, tmp_path):
    monkeypatch.setenv("MULTIPATH_GCN_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("MULTIPATH_GCN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "data"


def test_reads_the_archive(roots):
    archive(roots)
    data = load_faust(vertices=42)
    assert [len(data.splits[part]) for part in ("train", "valid", "test")] == [70, 10, 20]
    first = data.splits["train"][0]
    expected = deformed(icosphere(1)[0], 0.1, torch.Generator().manual_seed(0)).float()
    torch.testing.assert_close(first.pos, expected, atol=1e-6, rtol=0)
    assert first.y.equal(torch.arange(42)) and first.x.equal(first.pos) and data.num_classes == 42


def test_says_where_the_archive_must_lie(roots):
    with pytest.raises(MissingData, match="FAUST/raw.*MPI-FAUST.zip") as error:
        load_faust()
    assert "faust.is.tue.mpg.de" in str(error.value)


def test_refuses_an_archive_of_something_else(roots):
    archive(roots, odd=3)
    with pytest.raises(ValueError, match="scan 3 must have 42 vertices and the triangles of scan 0, got 12 vertices"):
        load_faust(vertices=42)


def test_refuses_an_archive_that_lacks_a_scan(roots):
    archive(roots, scans=99)
    with pytest.raises(ValueError, match="must hold MPI-FAUST/training/registrations/tr_reg_099.ply"):
        load_faust(vertices=42)
