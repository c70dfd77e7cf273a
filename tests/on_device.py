"""What every operator owes a GPU, asked of a step: a function of tensors on a device that calls it and its gradients."""

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor

Step = Callable[..., Sequence[Tensor]]


def assert_same_bits(first: Sequence[Tensor], second: Sequence[Tensor]) -> None:
    for a, b in zip(first, second, strict=True):
        assert torch.equal(a, b)


def assert_same_bits_every_time(step: Step, tensors: Sequence[Tensor]) -> None:
    first = step(*tensors)
    for _ in range(5):
        assert_same_bits(step(*tensors), first)


def assert_queued_on_the_current_stream(step: Step, tensors: Sequence[Tensor], late: Sequence[int]) -> None:
    """The tensors numbered ``late`` get their values on a stream of their own, after a while."""
    want = step(*tensors)
    given = [torch.zeros_like(t) if i in late else t for i, t in enumerate(tensors)]
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        torch.cuda._sleep(200_000_000)  # a kernel on another stream would see the zeros
        for i in late:
            given[i].copy_(tensors[i])
        got = step(*given)
    stream.synchronize()
    assert_same_bits(got, want)


def assert_nothing_waits(step: Step, tensors: Sequence[Tensor]) -> None:
    torch.cuda.set_sync_debug_mode("error")
    try:
        step(*tensors)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def captured(run: Callable[[], Sequence[Tensor]]) -> tuple[torch.cuda.CUDAGraph, Sequence[Tensor]]:
    """A graph of the calls, and the tensors that it writes to."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        run()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        results = run()
    return graph, results


def assert_runs_where_the_tensors_are(step: Step, example: Callable[[torch.device], Sequence[Tensor]]) -> None:
    if torch.cuda.device_count() < 2:
        pytest.skip("one GPU")
    tensors = example(torch.device("cuda", 1))
    with torch.cuda.device(0):
        other = step(*tensors)
        assert torch.cuda.current_device() == 0
    with torch.cuda.device(1):
        assert_same_bits(other, step(*tensors))
