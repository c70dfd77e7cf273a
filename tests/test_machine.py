import torch

from multipath_gcn.machine import PeakMemory, describe


def test_peak_grows_with_use_and_is_reset():
    big = torch.ones(50_000_000)  # 191 MiB
    high = PeakMemory(torch.device("cpu")).peak_mib()
    del big
    memory = PeakMemory(torch.device("cpu"))
    before = memory.peak_mib()
    assert before < high
    more = torch.ones(25_000_000)
    assert memory.peak_mib() > before + 80
    assert more.sum() > 0
    assert PeakMemory(torch.device("cpu"), floor=1e9).peak_mib() == 1e9


def test_describe_names_the_processor_and_the_threads():
    found = describe(torch.device("cpu"))
    assert found["device"] == "cpu" and found["threads"] == torch.get_num_threads()
    assert found["hardware"].endswith(f"{torch.get_num_threads()} threads")
