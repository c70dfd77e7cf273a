import mmap

import torch

from multipath_gcn.machine import PeakMemory, describe


def pages(size):
    """Memory straight from the system: what other tests have freed may hold a tensor without any growth."""
    memory = mmap.mmap(-1, size)
    memory[::4096] = b"1" * len(range(0, size, 4096))
    return memory


def test_peak_grows_with_use_and_is_reset():
    big = pages(200_000_000)
    high = PeakMemory(torch.device("cpu")).peak_mib()
    big.close()
    memory = PeakMemory(torch.device("cpu"))
    before = memory.peak_mib()
    assert before < high
    more = pages(100_000_000)
    assert memory.peak_mib() > before + 80
    more.close()
    assert PeakMemory(torch.device("cpu"), floor=1e9).peak_mib() == 1e9


def test_describe_names_the_processor_and_the_threads():
    found = describe(torch.device("cpu"))
    assert found["device"] == "cpu" and found["threads"] == torch.get_num_threads()
    assert found["hardware"].endswith(f"{torch.get_num_threads()} threads")
