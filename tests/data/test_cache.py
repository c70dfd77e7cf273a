import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from multipath_gcn.data.cache import CorruptCache, build, load_derived, verify

REPOSITORY = str(Path(__file__).parents[2])


def test_build_publishes_a_whole_folder(tmp_path):
    with build(tmp_path / "a/b") as folder:
        (folder / "x.txt").write_text("1")
        assert not (tmp_path / "a/b").exists()
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["b"]
    assert json.loads((tmp_path / "a/b/manifest.json").read_text()).keys() == {"x.txt"}
    verify(tmp_path / "a/b")


def test_build_leaves_nothing_when_it_fails(tmp_path):
    with pytest.raises(KeyError), build(tmp_path / "b") as folder:
        (folder / "x.txt").write_text("1")
        raise KeyError
    assert list(tmp_path.iterdir()) == []


def test_build_first_one_wins(tmp_path):
    with build(tmp_path / "b") as late:
        (late / "x.txt").write_text("late")
        with build(tmp_path / "b") as early:
            (early / "x.txt").write_text("early")
    assert (tmp_path / "b/x.txt").read_text() == "early"
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


def test_sigkill_leaves_no_final_name_and_stale_leftovers_go(tmp_path):
    code = (
        "import os, pathlib, signal\nfrom multipath_gcn.data.cache import build\n"
        f"with build(pathlib.Path({str(tmp_path)!r}) / 'b') as folder:\n"
        "    (folder / 'x').write_text('half')\n    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    assert subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": REPOSITORY}).returncode == -9
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(".b.partial-")
    with build(tmp_path / "b"):
        assert left.exists()  # young enough to be somebody's
    two_days_ago = time.time() - 48 * 3600
    os.utime(left, (two_days_ago, two_days_ago))
    (tmp_path / "b").rename(tmp_path / "c")
    with build(tmp_path / "b"):
        assert not left.exists()


@pytest.mark.parametrize("damage", ["x.txt", "manifest.json", "missing"])
def test_verify_sets_a_changed_folder_aside(tmp_path, damage):
    for turn in range(2):
        with build(tmp_path / "b") as folder:
            (folder / "x.txt").write_text("1")
        if damage == "missing":
            (tmp_path / "b/x.txt").unlink()
        else:
            (tmp_path / "b" / damage).write_text("2")
        name = "x.txt" if damage == "missing" else damage
        aside = "b.corrupt" + ("1" if turn else "")
        with pytest.raises(CorruptCache, match=f"corrupted cache file .*b/{name}.*kept aside as .*{aside};"):
            verify(tmp_path / "b")
        assert (tmp_path / aside).is_dir() and not (tmp_path / "b").exists()


def derive(root):
    """A loader as PyG's: keeps a derived file beside the raw one."""
    derived = root / "processed.txt"
    if not derived.exists():
        derived.write_text((root / "raw/in.txt").read_text() * 2)
    return derived.read_text()


def test_load_derived_follows_the_raw_files(tmp_path):
    raw = tmp_path / "raw"
    raw.mkdir()
    (raw / "in.txt").write_text("a")
    arguments = (tmp_path / "derived", raw, ["in.txt"], "raw", derive)
    assert load_derived(*arguments) == load_derived(*arguments) == "aa"
    assert len(list(tmp_path.glob("derived-*"))) == 1
    (raw / "in.txt").write_text("bc")
    assert load_derived(*arguments) == "bcbc"
    assert len(list(tmp_path.glob("derived-*"))) == 2
    assert [path.name for path in raw.iterdir()] == ["in.txt"]


def test_load_derived_names_unreadable_raw_files(tmp_path):
    (tmp_path / "in.txt").write_text("a")

    def fail(root):
        raise EOFError("ended early")

    with pytest.raises(ValueError, match=f"raw files in {tmp_path} cannot be read: EOFError: ended early"):
        load_derived(tmp_path / "derived", tmp_path, ["in.txt"], "raw", fail)
    assert list(tmp_path.glob("*derived*")) == []
