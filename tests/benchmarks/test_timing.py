from types import SimpleNamespace

import pytest
import timing
import torch
from timing import Clock, Times, extra_memory, interleaved

CPU = torch.device("cpu")


@pytest.fixture
def now(monkeypatch):
    """Seconds on a clock that only the calls move."""
    now = [0.0]
    monkeypatch.setattr(timing, "time", SimpleNamespace(perf_counter=lambda: now[0]))
    return now


def test_rounds_are_interleaved_and_capped(now):
    order = []

    def call(name, seconds):
        order.append(name)
        now[0] += seconds

    calls = {
        "quick": lambda: call("quick", 0.025),
        "slow": lambda: call("slow", 0.05),
        "other": lambda: call("other", 0.025),
    }
    found = interleaved(calls, Clock(CPU), seconds=0.11, rounds=(3, 50), capped=["slow"], cap=0.12)
    assert {name: len(times.seconds) for name, times in found.items()} == {"quick": 4, "slow": 2, "other": 4}
    assert (found["quick"].median, found["slow"].median) == pytest.approx((0.025, 0.05))
    warm, rounds = order[:6], order[6:]
    assert warm == ["quick", "quick", "slow", "slow", "other", "other"]
    # another one first in each round; the capped one takes part in every second
    assert rounds == ["quick", "other", "slow", "other", "quick", "other", "quick", "quick", "slow", "other"]


def test_bounds_on_the_rounds_and_no_second_pilot_of_a_long_call(now):
    def call():
        now[0] += 2.0

    assert len(interleaved({"a": call}, Clock(CPU), seconds=0, rounds=(3, 9))["a"].seconds) == 3
    assert now[0] == 2.0 * (1 + 3)
    assert len(interleaved({"a": call}, Clock(CPU), seconds=99, rounds=(3, 9))["a"].seconds) == 9


@pytest.mark.parametrize("flush", [False, True])
def test_short_calls_are_taken_together_unless_caches_are_flushed(flush, now, monkeypatch):
    monkeypatch.setattr(timing, "_last_level_cache", lambda device: 1024)

    def call():
        now[0] += timing.SHORT / 10

    found = interleaved({"a": call}, Clock(CPU, flush), seconds=0, rounds=(5, 5))
    assert found["a"].seconds == pytest.approx(5 * (timing.SHORT / 10,))
    assert round(10 * now[0] / timing.SHORT) == (2 + 5 if flush else 2 + 5 * (1 + 10))


def test_slower_needs_the_factor_and_quartiles_apart():
    fast, slow, wide = Times((1.0, 1.0, 1.1)), Times((1.2, 1.2, 1.3)), Times((0.5, 1.2, 2.0))
    assert slow.slower_than(fast, 1.05) and not slow.slower_than(fast, 1.25)
    assert not wide.slower_than(fast, 1.05) and not fast.slower_than(slow, 1.05)


def test_extra_memory_leaves_the_results_out():
    def call(extra):
        result = torch.ones(32 * 2**20 // 4)
        scratch = torch.ones(extra * 2**20 // 4) if extra else None
        return (result if scratch is None else result.add_(0),)

    assert extra_memory(lambda: call(0), CPU) == pytest.approx(0, abs=5)
    assert extra_memory(lambda: call(100), CPU) == pytest.approx(100, abs=5)


def test_the_machine_is_described(monkeypatch):
    facts = timing.describe(Clock(CPU))
    assert {"hardware", "threads", "torch", "THP_MEM_ALLOC_ENABLE", "caches"} <= set(facts)
    monkeypatch.setattr(timing, "COPY_BYTES", 4_000_000)
    assert 1e8 < timing.bandwidth(Clock(CPU)) < 1e13
