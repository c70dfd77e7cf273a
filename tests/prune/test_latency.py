import time

import torch
from torch import nn

from multipath_gcn.prune.latency import milliseconds


class Sleeper(nn.Module):
    def __init__(self, seconds, calls):
        super().__init__()
        self.seconds, self.calls = seconds, calls

    def forward(self, x):
        assert not self.training and not torch.is_grad_enabled()
        self.calls.append(self.seconds)
        time.sleep(self.seconds)
        return x


def test_models_are_timed_in_turns_and_left_in_their_mode():
    calls = []
    models = [Sleeper(0.002, calls), Sleeper(0.008, calls)]
    fast, slow = milliseconds(models, (torch.zeros(1),), seconds=0.01)
    assert 2 <= fast < slow and slow >= 8
    assert calls == [0.002, 0.008] + [0.002, 0.008, 0.008, 0.002] * 5  # a warm-up and ten, the first in turns
    assert all(model.training for model in models)


def test_short_calls_fill_the_time():
    calls = []
    milliseconds([Sleeper(0.001, calls)], (torch.zeros(1),), seconds=0.2)
    assert 11 < len(calls) <= 202
