import pytest

from multipath_gcn.files import set_aside, write_atomically


def test_a_failed_write_leaves_the_old_content_and_no_other_file(tmp_path):
    path = tmp_path / "a.json"
    write_atomically(path, lambda file: file.write(b"old"))

    def fail(file):
        file.write(b"half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_atomically(path, fail)
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_set_aside_never_overwrites(tmp_path):
    kept = []
    for content in ("first", "second", "third"):
        path = tmp_path / "x.pt"
        path.write_text(content)
        kept.append(set_aside(path))
    assert [p.name for p in kept] == ["x.pt.corrupt", "x.pt.corrupt1", "x.pt.corrupt2"]
    assert [p.read_text() for p in kept] == ["first", "second", "third"]
