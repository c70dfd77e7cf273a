import json

import pytest
import torch
from zoo import case

from multipath_gcn import models
from multipath_gcn.prune import Similarity, by_chance, cut, find_channels, load_pruned, save_pruned


def pruned(model, inputs, part=0.4):
    order = by_chance(model, find_channels(model, *inputs))
    plan = order.plan(int(part * len(order)))
    cut(model, plan)
    return plan


@pytest.mark.parametrize(
    "name", ["resnet18", "mobilenet", "grouped", "sliding", "separable", "multipath", "GAT", "GraphSAGE"]
)
def test_what_is_loaded_computes_the_same(tmp_path, name):
    found = case(name)
    torch.manual_seed(0)
    model, inputs = found.make().eval(), found.inputs()
    plan = pruned(model, inputs)
    save_pruned(tmp_path, model, plan)
    loaded = load_pruned(tmp_path, found.make().eval())
    assert torch.equal(loaded(*inputs), model(*inputs))


def test_several_prunings_in_a_row(tmp_path):
    torch.manual_seed(0)
    inputs = (torch.randn(2, 3, 32, 32),)
    model = models.VGG(3, 10, 11, width=0.25).eval()
    plans = [pruned(model, inputs, 0.2), pruned(model, inputs, 0.3)]
    save_pruned(tmp_path, model, plans)
    loaded = load_pruned(tmp_path, models.VGG(3, 10, 11, width=0.25).eval())
    assert torch.equal(loaded(*inputs), model(*inputs))


def test_biases_that_compensation_made_are_kept(tmp_path):
    def make():
        torch.manual_seed(0)
        return torch.nn.Sequential(
            torch.nn.Linear(4, 16),
            torch.nn.ReLU(),
            torch.nn.Linear(16, 8, bias=False),
            torch.nn.Linear(8, 2, bias=False),
        ).eval()

    model, x = make(), torch.randn(5, 4)
    similarity = Similarity(model, find_channels(model, x))
    smaller, plan = similarity.finish(model, 6)
    cut(smaller, plan)
    assert smaller[2].bias is not None
    save_pruned(tmp_path, smaller, plan)
    assert torch.equal(load_pruned(tmp_path, make())(x), smaller(x))


def test_bfloat16_is_stored_exactly(tmp_path):
    model = torch.nn.Sequential(torch.nn.Linear(4, 6), torch.nn.Linear(6, 2)).bfloat16()
    plan = find_channels(model, torch.randn(3, 4).bfloat16()).plan({"0": [1]})
    cut(model, plan)
    save_pruned(tmp_path, model, plan)
    other = torch.nn.Sequential(torch.nn.Linear(4, 6), torch.nn.Linear(6, 2)).bfloat16()
    loaded = load_pruned(tmp_path, other)
    assert all(torch.equal(a, b) for a, b in zip(loaded.parameters(), model.parameters(), strict=True))


def test_nothing_is_executed_and_what_is_wrong_is_named(tmp_path):
    model = torch.nn.Sequential(torch.nn.Linear(4, 6), torch.nn.Linear(6, 2))
    with pytest.raises(ValueError, match=r"has no architecture.json and no weights.npz"):
        load_pruned(tmp_path, model)
    plan = find_channels(model, torch.randn(3, 4)).plan({"0": [1]})
    smaller = torch.nn.Sequential(torch.nn.Linear(4, 6), torch.nn.Linear(6, 2))
    cut(smaller, plan)
    save_pruned(tmp_path, smaller, plan)
    with pytest.raises(ValueError, match="plan must be of this model"):
        load_pruned(tmp_path, torch.nn.Linear(4, 2))
    record = json.loads((tmp_path / "architecture.json").read_text())
    (tmp_path / "architecture.json").write_text(json.dumps(record | {"format": 99}))
    with pytest.raises(ValueError, match=r"architecture.json must be of format 1, got 99"):
        load_pruned(tmp_path, model)


def test_a_model_that_is_not_the_one_is_left_as_it_was(tmp_path):
    model, x = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2)), torch.randn(3, 4)
    plan = pruned(model, (x,))
    save_pruned(tmp_path, model, plan)
    other = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2), torch.nn.Linear(2, 2))
    before = other.state_dict()
    with pytest.raises(ValueError, match="model must be the one that was saved"):
        load_pruned(tmp_path, other)
    assert all(value is not None and value.shape == before[name].shape for name, value in other.state_dict().items())
    assert other(x).shape == (3, 2) and other[0].out_features == 8
