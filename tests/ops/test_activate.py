"""Bias, activation and dropout: the generator, the mask, and what they do to values."""

import pytest
import torch
from torch.nn import functional as F

from multipath_gcn.graph import Graph
from multipath_gcn.ops import activate, combine, dropout_mask, propagate
from multipath_gcn.ops.reference.activate import pack_bits, philox, unpack_bits

SEED = torch.tensor(-1234567890123456789)
# Random123, tests/kat_vectors: philox4x32 10, counter, key -> words
KNOWN = [
    ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
]


@pytest.mark.parametrize(("counter", "key", "words"), KNOWN)
def test_the_generator_gives_the_published_words(counter, key, words):
    low, high = (int(part, 16) for part in key.split())
    seed = low + (high << 32)
    seed = torch.tensor(seed - 2**64 if seed >= 2**63 else seed)
    found = philox(*(torch.tensor(int(part, 16)) for part in counter.split()), seed)
    assert [f"{int(word):08x}" for word in found] == words.split()


@pytest.mark.parametrize("features", [1, 15, 16, 17, 63, 64, 65, 200])
def test_the_mask_takes_its_word_by_place(features):
    """Column f of row i: word (f / 16) mod 4 of the block 16 (f / 64) + f mod 16 of this row."""
    mask = dropout_mask((9, features), 0.4, SEED)
    for i, f in ((0, 0), (8, features - 1), (5, features // 2)):
        counter = (torch.tensor(c) for c in (f // 64 * 16 + f % 16, i, 0, 0))
        assert mask[i, f] == (philox(*counter, SEED)[f // 16 % 4] >= int(0.4 * 2**32))


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_dropout_zeroes_its_part_and_scales_the_rest(p):
    x = torch.rand(500, 200) + 1
    y = activate(x, None, None, p)
    kept = y != 0
    torch.testing.assert_close(y[kept], x[kept] / (1 - p))
    part, deviation = 1 - p, (p * (1 - p) / x.numel()) ** 0.5
    assert abs(kept.double().mean() - part) < 5 * deviation
    for dim, n in ((0, 500), (1, 200)):  # no column or row is special
        assert (kept.double().mean(dim) - part).abs().max() < 6 * (p * (1 - p) / n) ** 0.5
    neighbours = (kept[:, 1:] == kept[:, :-1]).double().mean()
    assert abs(neighbours - (part**2 + p**2)) < 0.01


def test_expectation_is_the_input():
    x = torch.randn(1, 40)
    many = activate(x.expand(20_000, 40), None, None, 0.25).mean(0)
    theirs = F.dropout(x.expand(20_000, 40), 0.25).mean(0)
    bound = 6 * x[0].abs() * (0.25 / 0.75 / 20_000) ** 0.5
    assert ((many - x[0]).abs() < bound).all() and ((theirs - x[0]).abs() < bound).all()


def test_generator_of_torch_decides_and_a_seed_stands_for_itself():
    x = torch.rand(60, 70) + 1
    torch.manual_seed(3)
    first, second = activate(x, None, None, 0.5), activate(x, None, None, 0.5)
    assert not torch.equal(first, second)
    torch.manual_seed(3)
    assert torch.equal(activate(x, None, None, 0.5), first)
    state = torch.get_rng_state()
    seeded = [activate(x, None, None, 0.5, SEED) for _ in range(2)]
    assert torch.equal(*seeded) and torch.equal(torch.get_rng_state(), state)
    assert torch.equal(seeded[0] != 0, dropout_mask((60, 70), 0.5, SEED))
    assert not torch.equal(dropout_mask((60, 70), 0.5, SEED + 1), dropout_mask((60, 70), 0.5, SEED))


def test_propagation_and_activation_have_one_mask():
    n = 50
    graph = Graph.from_adjacency(torch.arange(n).repeat(2, 1), num_nodes=n)  # the identity
    x, bias = torch.randn(n, 65), torch.randn(65)
    for reduce in ("sum", "mean", "max"):
        y = propagate(graph, x, reduce, bias=bias, activation="relu", dropout=0.3, seed=SEED)
        assert torch.equal(y, activate(x, bias, "relu", 0.3, SEED))


def test_no_dropout_and_no_activation_draws_nothing_and_is_the_input():
    x, state = torch.randn(3, 4), torch.get_rng_state()
    assert activate(x, None, None) is x
    torch.testing.assert_close(activate(x, torch.ones(4), None), x + 1)
    assert torch.equal(activate(x), x.relu())
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("shape", [(4,), (2, 3, 4), (2, 0, 4), (3, 0), (0, 4)])
def test_leading_dimensions_count_as_one(shape):
    x, bias = torch.randn(shape), torch.randn(shape[-1])
    y = activate(x, bias, "relu", 0.5, SEED)
    expected = activate(x.reshape(-1, shape[-1]) if x.numel() else x.reshape(0, shape[-1]), bias, "relu", 0.5, SEED)
    assert y.shape == x.shape and torch.equal(y.flatten(), expected.flatten())
    torch.testing.assert_close(combine([x, x, x], 0.5), 1.5 * x)


def test_bits_are_packed_and_unpacked():
    bits = torch.rand(5, 19) < 0.5
    assert pack_bits(bits).shape == (5, 3) and torch.equal(unpack_bits(pack_bits(bits), 19), bits)
    assert pack_bits(torch.tensor([[True] + [False] * 8 + [True]])).tolist() == [[1, 2]]


def test_nan_passes_relu_and_has_no_slope():
    x = torch.tensor([[torch.nan, -1.0, 2.0]], requires_grad=True)
    y = activate(x)
    y.nan_to_num(0).sum().backward()
    assert y.isnan().tolist() == [[True, False, False]] and x.grad.tolist() == [[0.0, 0.0, 1.0]]


def test_a_kept_nan_or_infinity_does_not_leak_through_a_dropped_place():
    x = torch.full((40, 50), torch.inf)
    y = activate(x, None, None, 0.5, SEED)
    assert torch.equal(y == 0, ~dropout_mask((40, 50), 0.5, SEED))
