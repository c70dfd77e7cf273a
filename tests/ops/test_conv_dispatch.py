"""Which kernel computes a convolution, and that it says so."""

import pytest
import torch

from multipath_gcn.ops import conv_dispatch, explain_conv2d, grouped_conv2d


def layer(channels, groups, size, batch=1, dtype=torch.float32, last=False):
    x = torch.randn(batch, channels, size, size).to(dtype)
    x = x.contiguous(memory_format=torch.channels_last) if last else x
    return x, torch.randn(channels, channels // groups, 3, 3).to(dtype)


def test_explains_what_runs_and_why():
    x, weight = layer(64, 16, 56)
    found = explain_conv2d(x, weight, padding=1, groups=16)
    assert found.forward.startswith("rows: ") and found.weight_grad.startswith(("rows: ", "lanes: ", "tape: "))
    assert str(found).splitlines()[0] == f"forward: {found.forward}"
    x, weight = layer(64, 16, 7, last=True, dtype=torch.float64)
    found = explain_conv2d(x, weight, padding=1, groups=16)
    assert {found.forward[:5], found.input_grad[:5], found.weight_grad[:5]} == {"lanes"}
    assert explain_conv2d(x[0], weight, padding=1, groups=16).forward


@pytest.fixture
def on(monkeypatch):
    """Plans as on a processor with such vectors; what computes is still this one's."""

    def choose(vectors):
        monkeypatch.setattr(conv_dispatch, "_VECTORS", vectors)
        conv_dispatch._known_plan.cache_clear()

    yield choose
    conv_dispatch._known_plan.cache_clear()


def test_pytorchs_operator_where_it_is_faster(on):
    on("AVX512")
    x, weight = layer(512, 2, 14, batch=4)
    found = explain_conv2d(x, weight, padding=1, groups=2)
    assert all(f.startswith("PyTorch's operator: oneDNN") for f in (found.forward, found.input_grad, found.weight_grad))
    x, weight = layer(256, 256, 28, batch=4, last=True)
    assert explain_conv2d(x, weight, padding=1, groups=256).forward.startswith("PyTorch's")
    x, weight = layer(128, 32, 28, batch=4, last=True)
    found = explain_conv2d(x, weight, stride=2, padding=1, groups=32)
    assert found.input_grad.startswith("PyTorch's") and not found.forward.startswith("PyTorch's")


def test_narrower_vectors_have_a_rule_of_their_own(on):
    def theirs(*sizes, **options):
        x, weight = layer(*sizes, **options)
        found = explain_conv2d(x, weight, padding=1, groups=sizes[1])
        return [text.startswith("PyTorch's") for text in (found.forward, found.input_grad, found.weight_grad)]

    on("AVX2")
    assert theirs(16, 1, 8, batch=4) == theirs(64, 2, 28, batch=4, last=True) == [True] * 3
    assert theirs(64, 8, 28, batch=4) == theirs(64, 8, 28, batch=4, last=True) == [False] * 3
    assert theirs(64, 4, 28, batch=4) == [True, False, True]  # gradients by planar inputs up to 16 channels
    assert theirs(64, 64, 8, batch=4) == [True] * 3 and theirs(64, 64, 8) == [False] * 3
    assert theirs(64, 2, 28, batch=4, dtype=torch.bfloat16) == [False] * 3
    on("DEFAULT")
    assert theirs(64, 2, 28, batch=4) == [False] * 3


def test_deterministic_algorithms_are_ours():
    x, weight = layer(64, 1, 28)
    torch.use_deterministic_algorithms(True)
    try:
        assert not explain_conv2d(x, weight, padding=1).forward.startswith("PyTorch")
    finally:
        torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize("batch, channels, groups, last", [(4, 64, 2, False), (4, 64, 2, True), (2, 256, 256, True)])
def test_both_ways_give_the_same(batch, channels, groups, last):
    """Whatever the rule says: outputs and gradients of one are those of the other, within float32."""
    x, weight = layer(channels, groups, 28, batch, last=last)
    x.requires_grad_(), weight.requires_grad_()
    y = grouped_conv2d(x, weight, padding=1, groups=groups)
    found = y, *torch.autograd.grad(y.square().sum(), (x, weight))
    torch.use_deterministic_algorithms(True)
    try:
        ours = grouped_conv2d(x, weight, padding=1, groups=groups)
        wanted = ours, *torch.autograd.grad(ours.square().sum(), (x, weight))
    finally:
        torch.use_deterministic_algorithms(False)
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4 * b.abs().max().item())


def test_refuses_what_the_convolution_refuses():
    with pytest.raises(ValueError, match="groups must divide"):
        explain_conv2d(*layer(8, 2, 5), groups=3)
