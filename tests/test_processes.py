import pytest

from multipath_gcn.fabric import make_fabric
from multipath_gcn.processes import in_a_job, place


@pytest.fixture(autouse=True)
def nobody_has_started_us(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "SUBMITIT_EXECUTOR"):
        monkeypatch.delenv(name, raising=False)


def test_alone_unless_torchrun_says_otherwise(monkeypatch):
    assert place() == (0, 1) and not in_a_job()
    assert make_fabric("cpu", "32-true").world_size == 1
    monkeypatch.setenv("RANK", "3")
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert place() == (3, 4)


@pytest.mark.parametrize("here", ["0", "3"])
def test_variables_that_do_not_fit_together(monkeypatch, here):
    for name, value in (("RANK", "0"), ("WORLD_SIZE", "4"), ("LOCAL_WORLD_SIZE", here)):
        monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=f"LOCAL_WORLD_SIZE must divide WORLD_SIZE=4, .* got {here}"):
        make_fabric("cpu", "32-true")
