import operator
import os
from functools import partial

import pytest
import timing
import turns
from turns import Here, Libraries, Library, LibraryError


@pytest.fixture
def library():
    library = Library(threads=2)
    yield library
    library.close()


def test_a_library_computes_in_its_own_process(library):
    call, found = library.make("sum", partial, float, operator.add, 3)  # partial(operator.add, 3, threads)()
    assert found == 5.0 and call() is None and 0 < call.block(1) < 0.01


def test_an_error_is_told_and_the_process_goes_on(library):
    with pytest.raises(LibraryError, match="ValueError: invalid literal"):
        library.make("bad", int, float, "x")
    with pytest.raises(LibraryError, match="KeyError"):
        library.ask("block", "never made", 1)
    assert library.make("sum", partial, float, operator.add, 3)[1] == 5.0
    library.clear()
    with pytest.raises(LibraryError, match="KeyError: 'sum'"):
        library.ask("call", "sum")


def test_a_process_that_ends_is_told(library):
    with pytest.raises(LibraryError, match="ended with status 7"):
        library.ask("make", "end", os._exit, float, 7)


def test_absent_libraries_are_named():
    with Libraries({"it": ("no_such_module", "numpy"), "numpy": ("numpy",)}) as libraries:
        assert libraries.names == ["numpy"] and libraries.absent == {"it": ["no_such_module"]}
        facts = libraries.describe()
        assert facts["absent"] == {"it": "no module no_such_module"} and facts["numpy"]
        first = libraries.get("numpy", 1)
        assert libraries.get("numpy", 1) is first and libraries.get("numpy", 2) is not first
        libraries.drop("numpy", 1)
        assert libraries.get("numpy", 1) is not first


def test_a_long_call_is_not_repeated(monkeypatch):
    calls = []
    monkeypatch.setattr(turns, "LONG", 1e-9)
    turns.block(lambda: calls.append(1), 5)
    assert len(calls) == 1
    monkeypatch.setattr(turns, "LONG", 1.0)
    turns.block(lambda: calls.append(1), 5)
    assert len(calls) > 6


def test_all_are_timed_in_the_same_rounds(library):
    call, _ = library.make("sum", partial, float, operator.add, 3)
    found = timing.interleaved({"here": Here(lambda: 3 + 2), "there": call}, turns.clock(), 0, (3, 3))
    assert [len(times.seconds) for times in found.values()] == [3, 3]
