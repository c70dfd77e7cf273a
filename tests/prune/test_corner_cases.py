"""Networks that have misled pruning once, or easily could."""

import dataclasses
import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from zoo import ZOO, Calls, case

from multipath_gcn.nn import MultiPathGCN
from multipath_gcn.prune import (
    Budget,
    CannotPrune,
    LassoReconstruction,
    Reconstruction,
    Similarity,
    by_magnitude,
    by_torch_pruning,
    compress,
    cut,
    find_channels,
    load_pruned,
    reconstruct,
    save_pruned,
    verify,
)

UNKNOWN = {
    "GAT",
    "depthwise multiplier",
    "functional",
    "gated by chunks",
    "glu",
    "prelu",
}  # of which weights say too little


@pytest.mark.parametrize("method", [Similarity, LassoReconstruction, by_magnitude], ids=lambda method: method.__name__)
@pytest.mark.parametrize("case", [case for case in ZOO if case.free], ids=repr)
def test_every_method_prunes_every_network_or_says_why_not(case, method):
    model, inputs = case.make(), case.inputs()
    budget = Budget(parameters=0.9)
    if method is Similarity and case.name in UNKNOWN:
        with pytest.raises(ValueError, match="model must have channels whose mean and deviation its weights say"):
            compress(model, inputs, budget, method)
    else:
        assert compress(model, inputs, budget, method, [inputs]).achieved["parameters"] <= 0.9


def test_nan_proves_nothing():
    layers = nn.Linear(4, 8), nn.Linear(8, 3)
    model = Calls(lambda m, x: m[1](h := m[0](x)) * (math.nan if h.shape[1] < 8 else 1), *layers)
    with pytest.raises(CannotPrune, match="aten::mul in the model computes something else .* differ by inf"):
        find_channels(model, torch.randn(2, 4))


def test_an_output_without_tensors_is_refused():
    @dataclasses.dataclass
    class Scores:
        y: torch.Tensor

    model = Calls(lambda m, x: Scores(m[0](x)), nn.Linear(4, 8))
    with pytest.raises(
        ValueError, match="its output must be a tensor, or tensors in tuples, lists and dicts, got Scores"
    ):
        find_channels(model, torch.randn(2, 4))


class TwoWeights(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Parameter(torch.randn(12, 6)), nn.Parameter(torch.randn(12, 12))

    def forward(self, x):
        return F.linear(F.linear(x, self.first).relu(), self.second).relu()


def test_several_weights_of_one_module_have_names_of_their_own():
    model = nn.Sequential(nn.Linear(4, 6), TwoWeights(), nn.Linear(12, 2))
    x = torch.randn(3, 4)
    assert [group.name for group in find_channels(model, x).groups] == ["0", "1.first", "1.second", "2"]
    assert compress(model, (x,), Budget(parameters=0.5), by_magnitude).achieved["parameters"] <= 0.5


def test_tied_weights_are_told_apart_by_their_dimension():
    model = Calls(lambda m, x: m[1]((x @ m[0].weight.t()).relu() @ m[0].weight), nn.Linear(6, 9), nn.Linear(6, 2))
    names = [group.name for group in find_channels(model, torch.randn(3, 6)).groups]
    assert "l.0.weight[0]" in names and "l.0.weight[1]" in names


def test_uneven_groups_are_pruned_again():
    model, x = (
        nn.Sequential(nn.Conv2d(3, 12, 1), nn.Conv2d(12, 8, 3, groups=4), nn.Conv2d(8, 4, 1)),
        torch.randn(2, 3, 5, 5),
    )
    cut(model, find_channels(model, x).plan({"1": [1], "0": [0, 4, 5, 11]}))
    assert compress(model, (x,), Budget(parameters=0.8), by_magnitude).plan.count > 0


def test_least_squares_sees_what_layers_read_before_they_were_overwritten():
    batches = [(torch.randn(16, 3, 8, 8),) for _ in range(3)]
    model = nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(inplace=True), nn.Conv2d(16, 8, 3))
    other = nn.Sequential(model[0], nn.ReLU(), model[2])
    works = []
    for network in (model, other):
        channels = find_channels(network, *batches[0])
        works.append(reconstruct(network, channels, {"0": 8}, batches, Reconstruction())[0])
    torch.testing.assert_close(works[0][2].weight, works[1][2].weight)


def test_the_mean_is_kept_where_a_layer_reads_two_groups_before_a_norm():
    layers = nn.Conv2d(3, 8, 1), nn.Conv2d(3, 8, 1), nn.Conv2d(16, 6, 1, bias=False), nn.BatchNorm2d(6)
    model = Calls(lambda m, x: m[3](m[2](torch.cat([m[0](x).relu(), m[1](x).relu()], 1))), *layers).eval()
    batches = [(torch.randn(32, 3, 6, 6),) for _ in range(4)]
    work, _ = reconstruct(
        model, find_channels(model, *batches[0]), {"l.0": 4, "l.1": 4}, batches, Reconstruction(places=36)
    )
    x = torch.cat([x for (x,) in batches])
    assert (work(x) - model(x)).mean((0, 2, 3)).abs().max() < 0.02


def test_what_another_group_contributes_does_not_choose():
    first, second = nn.Linear(2, 2, bias=False), nn.Linear(2, 1, bias=False)
    last = nn.Linear(3, 1, bias=False)
    with torch.no_grad():
        first.weight.copy_(torch.eye(2)), second.weight.copy_(torch.tensor([[0.0, 1.0]]))
        last.weight.copy_(torch.tensor([[1.0, 0.1, 100.0]]))  # the second of the first group goes with the other's
    model = Calls(lambda m, x: m[2](torch.cat([m[0](x), m[1](x)], 1)), first, second, last)
    batches = [(torch.randn(500, 2),)]
    _, plan = reconstruct(
        model, find_channels(model, *batches[0]), {"l.0": 1}, batches, Reconstruction(least_squares=False)
    )
    assert plan.removed == {"l.0": [1]}


@pytest.mark.parametrize("activation", [nn.Sigmoid(), nn.LeakyReLU(0.3), nn.Tanh()], ids=lambda a: type(a).__name__)
def test_a_norm_after_another_activation_is_not_where_constants_go(activation):
    model = nn.Sequential(
        nn.Conv2d(3, 16, 1),
        nn.ReLU(),
        nn.Conv2d(16, 8, 1, bias=False),
        activation,
        nn.BatchNorm2d(8),
        nn.Conv2d(8, 2, 1),
    ).eval()
    batches = [(torch.randn(32, 3, 4, 4),) for _ in range(2)]
    work, _ = reconstruct(model, find_channels(model, *batches[0]), {"0": 8}, batches, Reconstruction(places=16))
    assert torch.equal(work[4].running_mean, model[4].running_mean)
    (x,) = batches[0]
    plain, _ = reconstruct(
        model, find_channels(model, x), {"0": 8}, batches, Reconstruction(places=16, least_squares=False)
    )
    assert (work(x) - model(x)).norm() < (plain(x) - model(x)).norm()


def test_a_norm_over_concatenated_channels_is_read():
    layers = nn.Conv2d(3, 8, 1, bias=False), nn.Conv2d(3, 8, 1, bias=False), nn.BatchNorm2d(16), nn.Conv2d(16, 5, 1)
    model = Calls(lambda m, x: m[3](m[2](torch.cat([m[0](x), m[1](x)], 1)).relu()), *layers).eval()
    norm = layers[2]
    nn.init.uniform_(norm.weight, 0.5, 1.5), nn.init.normal_(norm.bias)
    with torch.no_grad():
        for tensor in (layers[0].weight, norm.weight, norm.bias):
            tensor[1] = tensor[0]
    x = torch.randn(4, 3, 6, 6)
    smaller, plan = Similarity(model, find_channels(model, x)).finish(model, 1)
    cut(smaller, plan)
    torch.testing.assert_close(smaller(x), model(x), rtol=0, atol=1e-5)


def test_paths_beside_features_are_pruned_to_their_ends():
    model = MultiPathGCN(11, 16, 3, stem=0, paths=((16, 12), (), (14,)), combine="concat").eval()
    x, edges = torch.randn(30, 11), torch.randint(30, (2, 90))
    found = compress(model, (x, edges), Budget(parameters=0.6), by_magnitude)
    ends = [found.model.paths[p][-1].conv.out_channels for p in (0, 2)]
    assert ends[0] < 12 and ends[1] < 14
    assert found.model.readout.weight.shape == (3, ends[0] + 11 + ends[1])


def test_duplicates_in_parts_of_groups_are_paired_place_by_place():
    model = nn.Sequential(nn.Conv2d(3, 4, 2), nn.ReLU(), nn.PixelUnshuffle(2), nn.Conv2d(16, 6, 1, groups=2)).eval()
    with torch.no_grad():
        model[0].weight[1], model[0].bias[1] = model[0].weight[0], model[0].bias[0]
    x = torch.randn(2, 3, 9, 9)
    smaller, plan = Similarity(model, find_channels(model, x)).finish(model, 1)
    cut(smaller, plan)
    torch.testing.assert_close(smaller(x), model(x), rtol=0, atol=1e-5)


def test_a_bias_of_a_layer_that_loses_inputs_only_is_left():
    model, x = (
        nn.Sequential(nn.Conv2d(3, 8, 1), nn.ConvTranspose2d(8, 8, 2, 2), nn.Conv2d(8, 2, 1)),
        torch.randn(1, 3, 4, 4),
    )
    plan = find_channels(model, x).plan({"0": [1, 2]})
    assert verify(model, plan, x).difference < 1e-5
    cut(model, plan)
    assert model[1].bias.shape == (8,)


@pytest.mark.parametrize(
    "grouped",
    [nn.Conv1d(12, 12, 3, groups=3), nn.Conv2d(12, 12, 3, groups=3, padding=1, padding_mode="reflect")],
    ids=["1d", "reflect"],
)
def test_layers_that_cannot_be_uneven_lose_as_much_of_every_group(grouped):
    conv = type(grouped)
    model = nn.Sequential(conv(3, 12, 1), grouped, conv(12, 4, 1))
    x = torch.randn(2, 3, *[9] * (grouped.weight.dim() - 2))
    found = compress(model, (x,), Budget(parameters=0.7), by_magnitude)
    assert type(found.model[1]) is conv and found.model[1].groups == 3


def test_random_numbers_that_a_model_cannot_take_are_left_out():
    model = Calls(lambda m, x: m[1](m[0](x[:, 0].long())), nn.Embedding(5, 8), nn.Linear(8, 3))
    found = compress(model, (torch.tensor([[1.0], [2.0], [4.0]]),), Budget(parameters=0.7), by_magnitude)
    assert set(found.verification.differences) <= {"given inputs", "random inputs", "random weights"}
    assert "given inputs" in found.verification.differences


def test_two_compensated_prunings_are_loaded(tmp_path):
    def make():
        torch.manual_seed(0)
        sizes = nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 12, bias=False), nn.ReLU(), nn.Linear(12, 2, bias=False)
        return nn.Sequential(*sizes)

    x = torch.randn(5, 4)
    once = compress(make(), (x,), Budget(parameters=0.7), Similarity)
    twice = compress(once.model, (x,), Budget(parameters=0.7), Similarity)
    assert once.achieved["parameters"] <= 0.7 and twice.achieved["parameters"] <= 0.7  # biases that were made included
    save_pruned(tmp_path, twice.model, [once.plan, twice.plan])
    assert torch.equal(load_pruned(tmp_path, make())(x), twice.model(x))


def test_models_that_write_into_inputs_and_keep_activations_are_left_alone():
    class Keeps(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.last, self.seen = nn.Linear(4, 8), nn.Linear(8, 3), None

        def forward(self, x):
            x.mul_(2)
            self.seen = self.first(x)
            return self.last(self.seen)

    model, x = Keeps(), torch.ones(2, 4)
    assert len(find_channels(model, x).groups[0].free) == 8
    assert torch.equal(x, torch.ones(2, 4)) and model.seen is None


def test_torch_pruning_leaves_the_mode():
    pytest.importorskip("torch_pruning")
    model, x = nn.Sequential(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 4, 1)).train(), torch.randn(2, 3, 4, 4)
    compress(model, (x,), Budget(parameters=0.7), by_torch_pruning, [(x,)])
    assert model.training


def test_a_weight_used_twice_is_no_place_to_rebuild():
    layers = nn.Linear(4, 8), nn.Linear(8, 8), nn.Linear(8, 3)
    model = Calls(lambda m, x: m[2](m[1](y := m[1](m[0](x))) + y), *layers)
    x = torch.randn(32, 4)
    assert compress(model, (x,), Budget(parameters=0.7), LassoReconstruction, [(x,)]).achieved["parameters"] <= 0.7


def test_option_a_keeps_a_channel_of_every_layer():
    found = case("option A")
    for method in (by_magnitude, Similarity):
        assert compress(found.make(), found.inputs(), Budget(parameters=0.8), method).achieved["parameters"] <= 0.8
