"""Whole paths of a MultiPathGCN."""

import copy
from dataclasses import replace

import pytest
import torch

from multipath_gcn.nn import MultiPathGCN
from multipath_gcn.prune import CannotPrune, cut, find_channels, load_pruned, plan_paths, save_pruned, verify

PATHS = ((16,), (8, 16), (), (12, 16))


def network(combine, **options):
    torch.manual_seed(0)
    model = MultiPathGCN(7, 16, 3, paths=PATHS, combine=combine, **options).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.normal_()
    return model


def inputs():
    generator = torch.Generator().manual_seed(1)
    return torch.randn(30, 7, generator=generator), torch.randint(30, (2, 90), generator=generator)


@pytest.mark.parametrize("readout", ["linear", "gcn"])
@pytest.mark.parametrize("combine", ["sum", "mean", "concat", "max"])
@pytest.mark.parametrize("gone", [[1], [0, 3]])
def test_what_is_left_is_the_network_without_the_paths(combine, readout, gone):
    model = network(combine, readout=readout, norm="batch")
    plan = plan_paths(model, {"": gone})
    assert verify(model, plan, *inputs()).difference < 1e-5
    silent = copy.deepcopy(model)
    for p in gone:
        silent.paths[p][-1].register_forward_hook(lambda block, args, y: torch.zeros_like(y))
    before = silent(*inputs())
    cut(model, plan)
    assert model.path_widths == tuple(path for p, path in enumerate(PATHS) if p not in gone)
    torch.testing.assert_close(model(*inputs()), before, rtol=0, atol=1e-5)
    model.train()(*inputs()).sum().backward()  # and trains on


@pytest.mark.parametrize(("combine", "options"), [("attention", {}), ("max", {"act": "tanh"})])
def test_a_combination_that_sees_how_many_there_are_is_refused(combine, options):
    model = network(combine, **options)
    with pytest.raises(CannotPrune, match="the combination of paths in ''"):
        verify(model, plan_paths(model, {"": [1]}), *inputs())


def test_paths_and_channels_in_one_plan_are_saved_and_loaded(tmp_path):
    model = network("concat")
    plan = find_channels(model, *inputs()).plan({"stem.0.conv.lin": [0, 3], "paths.0.0.conv.lin": [1, 2, 5]})
    both = replace(plan, paths={"": [1]})
    assert verify(model, both, *inputs()).difference < 1e-5
    cut(model, both)
    save_pruned(tmp_path, model, both)
    again = load_pruned(tmp_path, network("concat"))
    assert torch.equal(again(*inputs()), model(*inputs()))


@pytest.mark.parametrize(
    ("remove", "rule"),
    [
        ({"": [2]}, "must hold numbers of paths with layers"),
        ({"": [4]}, "must hold numbers of paths with layers"),
        ({"stem": [0]}, "must name a MultiPathGCN, got 'stem', a ModuleList"),
        ({"nothing": [0]}, "must name a MultiPathGCN, got 'nothing'"),
    ],
)
def test_bad_input_is_named(remove, rule):
    with pytest.raises(ValueError, match=rule):
        plan_paths(network("sum"), remove)


def test_one_path_stays():
    model = MultiPathGCN(7, 16, 3, paths=((16,), (16,)))
    with pytest.raises(ValueError, match="must leave a path of '', got all 2"):
        plan_paths(model, {"": [0, 1]})


def test_a_plan_of_another_model_changes_nothing():
    model = network("concat")
    before = copy.deepcopy(model.state_dict())
    plan = plan_paths(model, {"": [3]})
    other = MultiPathGCN(7, 16, 3, paths=((16,),))
    with pytest.raises(ValueError, match="got 3"):
        cut(other, plan)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
