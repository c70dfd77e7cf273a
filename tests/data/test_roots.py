import pytest

from multipath_gcn.data.roots import MissingData, cache_root, data_root, raw_folder


def give(folder):
    (folder / "a.npz").write_text("fetched")


def refuse(folder):
    (folder / "half.npz").write_text("half")
    raise OSError("no network")


def test_roots_are_read_when_asked(monkeypatch, tmp_path):
    assert data_root() is None
    monkeypatch.setenv("MULTIPATH_GCN_DATA", "~/data")
    monkeypatch.delenv("MULTIPATH_GCN_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert (data_root(), cache_root()) == (tmp_path / "data", tmp_path / ".cache/multipath_gcn")


def test_order_is_data_root_then_cache_then_download(root, cache):
    arguments = ("set", ["set/raw", "Set/raw"], ["a.npz"])
    assert raw_folder(*arguments, give) == cache / "set/raw"
    assert raw_folder(*arguments, refuse) == cache / "set/raw"
    (root.path / "Set/raw").mkdir(parents=True)
    (root.path / "Set/raw/a.npz").write_text("root")
    root.seal()
    assert raw_folder(*arguments, refuse) == root.path / "Set/raw"


@pytest.mark.parametrize("is_set", [True, False])
def test_missing_without_network(root, cache, monkeypatch, is_set):
    where = str(root.path)
    if not is_set:
        monkeypatch.delenv("MULTIPATH_GCN_DATA")
        where = "MULTIPATH_GCN_DATA is not set"
    with pytest.raises(MissingData, match="no network") as caught:
        raw_folder("set", ["set/raw"], ["a.npz", "b.npz"], refuse)
    assert isinstance(caught.value, FileNotFoundError)
    for part in (where, str(cache), "set/raw", "a.npz, b.npz", "data=digits", "data=synthetic"):
        assert part in str(caught.value)
    assert list(cache.rglob("*.npz")) == []


def test_incomplete_folder_is_not_overwritten(cache):
    (cache / "set").mkdir(parents=True)
    (cache / "set/b.npz").write_text("mine")
    with pytest.raises(MissingData, match="does not hold them all: move it away"):
        raw_folder("set", ["set"], ["a.npz", "b.npz"], give)
    assert (cache / "set/b.npz").read_text() == "mine"
