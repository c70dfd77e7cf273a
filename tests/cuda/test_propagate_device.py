"""What only a GPU can show of propagation: streams, graphs, determinism, no synchronisation, large tensors."""

import pytest
import torch
from on_device import (
    assert_nothing_waits,
    assert_queued_on_the_current_stream,
    assert_runs_where_the_tensors_are,
    assert_same_bits,
    assert_same_bits_every_time,
    captured,
)

OPS = torch.ops.multipath_gcn
NONE = (None,) * 6


def example(device, dtype=torch.float32, rows=20_000, features=64):
    """x, grad, rowptr, col, weight, bias and seed; degrees fall off as a power, from 10 000 down to 3."""
    degree = (10_000 / torch.arange(1, rows + 1)).long().clamp(min=3)
    rowptr = torch.cat([degree.new_zeros(1), degree.cumsum(0)])
    row = torch.repeat_interleave(degree)
    col = (row * 7919 + torch.arange(row.numel()) - rowptr[row]) % rows  # ascends but for one place in a row
    x, grad = (torch.randn(rows, features, device=device, dtype=dtype) for _ in range(2))
    weight = torch.randn(col.numel(), device=device, dtype=torch.promote_types(dtype, torch.float32))
    bias, seed = torch.randn(features, device=device, dtype=dtype), torch.tensor(3, device=device)
    return x, grad, rowptr.to(device, torch.int32), col.to(device, torch.int32), weight, bias, seed


def step(x, grad, rowptr, col, weight, bias, seed):
    """All operators. The matrix stands for its transpose too: what is computed matters less than that it is the same."""
    matrix = rowptr, col, weight, None, None
    y, kept = OPS.propagate_activated(x, *matrix, None, None, None, bias, True, 0.5, seed)
    extreme, source = OPS.propagate_extreme(x, *matrix, None, None, None, True)
    return (
        OPS.propagate(x, *matrix, None, None, None),
        *(y, kept, extreme, source),
        OPS.propagate_weight_grad(grad, x, rowptr, col, None, None),
        OPS.propagate_extreme_grad(grad, source, *matrix),
        *OPS.activate(x, bias, True, 0.5, seed),
        *OPS.activate_grad(grad, kept, 0.5),
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("features", [64, 47, 300])
def test_the_same_bits_every_time(cuda, dtype, features):
    assert_same_bits_every_time(step, example(cuda, dtype, features=features))


def test_work_is_queued_on_the_current_stream(cuda):
    assert_queued_on_the_current_stream(step, example(cuda), late=(0, 1))


def test_nothing_waits_for_the_device(cuda):
    assert_nothing_waits(step, example(cuda))


def test_a_graph_draws_by_the_seed_it_finds(cuda):
    tensors = example(cuda)
    x, seed = tensors[0], tensors[-1]
    graph, results = captured(lambda: step(*tensors))
    kept = []
    for value in range(3):
        x.normal_()
        seed.fill_(value)
        graph.replay()
        assert_same_bits(results, step(*tensors))
        kept.append(results[2].clone())
    assert not torch.equal(kept[0], kept[1]) and not torch.equal(kept[1], kept[2])


def test_tensors_of_a_device_that_is_not_current(cuda):
    assert_runs_where_the_tensors_are(step, example)


def test_more_than_two_to_the_31_elements(cuda):
    rows, features, tail = 40 * (1 << 20), 64, 1000
    if torch.cuda.mem_get_info()[0] < 5 * rows * features * 2:
        pytest.skip("too little memory")
    x = torch.empty(rows, features, device=cuda, dtype=torch.bfloat16).normal_()
    rowptr = torch.arange(rows + 1, device=cuda)
    col = torch.arange(rows - 1, -1, -1, device=cuda)  # rows in reverse
    y = OPS.propagate(x, rowptr, col, *NONE)
    assert y.numel() > 2**31
    assert torch.equal(y[:tail].flip(0), x[-tail:]) and torch.equal(y[-tail:].flip(0), x[:tail])
    dweight = OPS.propagate_weight_grad(y, x, rowptr, col, None, None)
    torch.testing.assert_close(dweight[-tail:], y[-tail:].float().square().sum(1), rtol=1e-5, atol=1e-4)
    del dweight
    y, kept = OPS.activate(x, None, True, 0.0, None)
    assert torch.equal(y[-tail:], x[-tail:].relu())
    dx, dbias = OPS.activate_grad(x, kept, 0.0)
    assert torch.equal(dx[-tail:], y[-tail:])
    torch.testing.assert_close(dbias.float(), y.sum(0, dtype=torch.float32), rtol=1e-2, atol=0)


def test_extra_memory(cuda):
    """Beyond its result a call takes bounded parts of sums: no message of an entry is ever stored."""
    tensors = example(cuda, rows=200_000)
    step(*tensors)
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    results = step(*tensors)
    assert torch.cuda.max_memory_allocated() - before - sum(t.nbytes for t in results) <= 65 << 20
