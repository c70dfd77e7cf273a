"""Gates on channels and residual branches, and what they leave."""

import copy
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from multipath_gcn.models import VGG, ResNet
from multipath_gcn.nn import GroupedConv2d, MultiPathGCN, prepack
from multipath_gcn.prune import (
    AdaptivePruning,
    CannotPrune,
    find_channels,
    layer_changes,
    load_pruned,
    plan_branches,
    save_pruned,
    verify,
)
from multipath_gcn.prune.gates import Gate, GatedNorm


def images():
    torch.manual_seed(0)
    return torch.randn(8, 3, 16, 16)


def resnet():
    torch.manual_seed(0)
    return ResNet(3, 10, blocks=(2, 2), width=0.25).eval()


def vgg():
    torch.manual_seed(0)
    return VGG(3, 10, stages=((8, 8), (16,))).eval()


class Training:
    """Steps on random images."""

    def __init__(self, *inputs, steps=60, lr=0.3):
        self.inputs, self.steps, self.lr, self.calls, self.expected = inputs, steps, lr, [], 1.0

    def __call__(self, model, stage, epochs, penalty=None, keep="best"):
        self.calls.append((stage, epochs, keep))
        optimizer = torch.optim.SGD(model.parameters(), self.lr)
        for _ in range(self.steps):
            y = model.train()(*self.inputs)
            loss = F.cross_entropy(y, torch.arange(len(y)) % y.size(-1)) + (0 if penalty is None else penalty())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        self.expected = float(penalty()) if penalty else 1.0


SHUT, OPEN = -10.0, 10.0  # of a gate's parameter


def closing(*names):
    """In the place of training: closes these branches, and every second channel of every gate."""

    def train(model, stage, epochs, penalty=None, keep="best"):
        assert 0 < penalty() <= 1.0
        for name, module in model.named_modules():
            if isinstance(module, GatedNorm) and module.gate.raw.dim():
                module.gate.raw.data[::2] = SHUT
            elif isinstance(module, GatedNorm):
                module.gate.raw.data.fill_(SHUT if name.startswith(names) else OPEN)

    return train


def test_a_gate_shrinks_scale_and_shift_together():
    norm = nn.BatchNorm2d(4).eval()
    norm.weight.data = torch.tensor([0.5, -0.5, 0.01, 0.03])
    norm.bias.data = torch.tensor([1.0, 2.0, 3.0, 4.0])
    norm.running_var.fill_(1 - norm.eps)
    gated, x = GatedNorm(norm, Gate((4,), 1.0, 0.0, 1.0)).eval(), torch.randn(2, 4, 3, 3)
    gated.gate.raw.data = torch.tensor([9.0, 1.0, -9.0, 0.0])
    kept = torch.tensor([1.0, 1.2 * 0.7310586 - 0.1, 0.0, 0.5])[:, None, None]
    wanted = kept * (norm.weight[:, None, None] * x + norm.bias[:, None, None])
    torch.testing.assert_close(gated(x), wanted)
    torch.testing.assert_close(gated.folded()(x), wanted)
    assert norm.bias[2] == 0


def test_gates_are_open_as_often_as_their_chance_says():
    gate = Gate((3,), 0.25, 0.5, 4.0)
    gate.raw.data = torch.tensor([-0.5, 0.0, 0.5])
    torch.testing.assert_close(gate.log_odds(), torch.tensor([-1.5, 0.5, 2.5]))  # 0.5 + sqrt(4 / 0.25) raw
    torch.manual_seed(0)
    often = torch.stack([gate() for _ in range(4000)])
    assert ((often > 0).float().mean(0) - gate.chance()).abs().max() < 0.03
    assert ((often > 0) & (often < 1)).any() and (often == 1).any() and (often == 0).any()
    gate().sum().backward()
    assert gate.raw.grad.isfinite().all()


@pytest.mark.parametrize("cost", ["parameters", "macs"])
def test_under_the_penalty_alone_the_channels_of_all_layers_move_at_one_speed(cost):
    speeds = {}

    def train(gated, stage, epochs, penalty=None, keep="best"):
        penalty().backward()
        for name, module in gated.named_modules():
            if isinstance(module, GatedNorm):
                speeds[name] = (module.gate.step * module.gate.raw.grad).mean()
        closing("features.1")(gated, stage, epochs, penalty)

    AdaptivePruning(strength=1.0, cost=cost).compress(vgg(), (images(),), train)
    assert len(speeds) == 3 and max(speeds.values()) / min(speeds.values()) == pytest.approx(1, abs=0.06)
    AdaptivePruning(strength=1.0, cost=cost).compress(resnet(), (images(),), train)
    inside, branch = (float(speeds[f"features.1.body.{at}.norm"]) for at in (0, 1))
    assert branch / inside == pytest.approx(4 * 0.140 / 0.026, rel=0.25) and inside > 0


def test_a_layer_never_loses_all_channels():
    gate = Gate((3,), 1.0, -5.0, 1.0).eval()
    gate.raw.data[1] = 1.0
    assert gate().count_nonzero() == 1 and gate()[1] > 0
    assert Gate((), 1.0, -5.0, 1.0).eval()() == 0  # a branch may go
    gate = Gate((50,), 1.0, -20.0, 1.0)
    gate.raw.data[7] = 1.0
    z = gate()
    assert z.count_nonzero() == 1 and z[7] > 0
    z.sum().backward()
    assert gate.raw.grad.isfinite().all() and gate.raw.grad.count_nonzero() <= 1


def test_what_is_closed_is_removed_and_nothing_else_changes():
    model, x = resnet(), images()
    before = copy.deepcopy(model.state_dict())
    found = AdaptivePruning(epochs=3).compress(model, (x,), closing("features.2", "features.3"))
    assert found.model.features[2].body is None and found.model.features[3].body is None
    assert found.model.features[1].body is not None
    assert found.achieved["branches"] == 2 and found.achieved["channels"] == 16 // 2 + 32 // 2
    assert found.achieved["parameters"] < 0.6 and found.difference < 1e-5
    assert all(torch.equal(model.state_dict()[key], value) for key, value in before.items())
    lines = {line["name"]: line for line in layer_changes(model, found.model, x)}
    assert lines["features.2.body.0.convolution"]["parameters_after"] == 0
    with torch.no_grad():
        torch.testing.assert_close(prepack(found.model)(x), found.model(x), atol=1e-4, rtol=1e-4)
    Training(x, steps=2)(found.model, "fine", 1)


def test_it_is_saved_loaded_and_pruned_again(tmp_path):
    model, x = resnet(), images()
    found = AdaptivePruning().compress(model, (x,), closing("features.2"))
    save_pruned(tmp_path, found.model, found.plans)
    loaded = load_pruned(tmp_path, resnet()).eval()
    assert torch.equal(loaded(x), found.model(x))
    again = AdaptivePruning().compress(loaded, (x,), closing("features.4"))
    assert again.achieved["branches"] == 1 and again.model.features[2].body is None
    with pytest.raises(ValueError, match=r"remove must name residual blocks with a branch"):
        load_pruned(tmp_path, vgg())


def test_training_closes_gates_by_itself():
    model, x = resnet(), images()
    training = Training(x, steps=150)
    found = AdaptivePruning(strength=1.0, epochs=7).compress(model, (x,), training)
    assert training.calls == [("gates", 7, "last")]
    assert found.achieved["channels"] > 0 and found.achieved["parameters"] < 1
    assert found.difference < 1e-5


def test_a_stronger_penalty_leaves_less():
    x, left = images(), []
    for strength in (3.0, 20.0):
        training = Training(x, steps=100)
        assert AdaptivePruning(strength=strength).compress(vgg(), (x,), training).achieved["channels"] > 0
        left.append(training.expected / strength)
    assert left[1] < left[0] < 0.8


def test_the_expected_cost_is_the_cost_where_gates_are_wide_open_or_shut():
    model, x = resnet(), images()

    def train(gated, stage, epochs, penalty=None, keep="best"):
        for module in gated.modules():
            if isinstance(module, GatedNorm):
                module.gate.raw.data.fill_(OPEN)
        assert float(penalty()) == pytest.approx(1.0)
        block = gated.features[4].body
        block[1].norm.gate.raw.data.fill_(SHUT)
        inside = sum(p.weight.numel() for p in (block[0].convolution, block[1].convolution))
        convolutions = [m for m in gated.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
        whole = sum(m.weight.numel() + (0 if m.bias is None else m.bias.numel()) for m in convolutions)
        assert float(penalty()) == pytest.approx(1 - inside / whole, abs=1e-6)

        block[0].norm.gate.raw.data[::2] = SHUT  # something to remove, and nothing more of the cost
        assert float(penalty()) == pytest.approx(1 - inside / whole, abs=1e-6)

    AdaptivePruning(strength=1.0).compress(model, (x,), train)


def test_a_multipath_network_has_gates_on_its_norms():
    torch.manual_seed(0)
    model = MultiPathGCN(12, 16, 3, paths=((16, 8), (8,)), norm="batch").eval()
    x, edges = torch.randn(30, 12), torch.randint(0, 30, (2, 90))
    found = AdaptivePruning().compress(model, (x, edges), closing())
    assert found.difference < 1e-5 and found.achieved["channels"] >= 16


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ({"strength": 0.0}, r"strength must be a number above 0, got 0.0"),
        ({"strength": float("nan")}, r"strength must be a number above 0, got nan"),
        ({"epochs": 0}, r"epochs must be an integer of at least 1, got 0"),
        ({"cost": "latency"}, r"cost must be one of \['parameters', 'macs'\], got 'latency'"),
        ({"gates": "features.1"}, r"gates must be a list of names, got 'features.1'"),
    ],
)
def test_values_out_of_range_are_named(options, rule):
    with pytest.raises(ValueError, match=rule):
        AdaptivePruning(**options)


@pytest.mark.parametrize(
    ("gates", "rule"),
    [
        (["features.0.convolution"], r"got 'features.0.convolution': it shares its channels with"),
        (["classifier"], r"got 'classifier': "),
        (["nowhere"], r"got 'nowhere': there are \['features.1.body.0.convolution'"),
    ],
)
def test_a_gate_where_none_can_be_is_refused_before_training(gates, rule):
    training = Training(images())
    with pytest.raises(ValueError, match=rule):
        AdaptivePruning(gates=gates).compress(resnet(), (images(),), training)
    assert not training.calls


class Beside(nn.Module):
    """Two convolutions under one batch norm, and one whose norm sees its channels in another order."""

    def __init__(self):
        super().__init__()
        self.one, self.two, self.three = (nn.Conv2d(3, 4, 1) for _ in range(3))
        self.norm, self.own, self.shuffled = nn.BatchNorm2d(8), nn.BatchNorm2d(4), nn.BatchNorm2d(4)
        self.four, self.head = nn.Conv2d(3, 4, 1), nn.Conv2d(16, 2, 1)

    def forward(self, x):
        together = self.norm(torch.cat([self.one(x), self.two(x)], 1))
        shuffled = self.shuffled(self.three(x).unflatten(1, (2, 2)).transpose(1, 2).flatten(1, 2))
        return self.head(torch.cat([together, shuffled, self.own(self.four(x))], 1).relu()).mean((2, 3))


def test_a_norm_that_is_not_of_one_layer_alone_gets_no_gate():
    torch.manual_seed(0)
    model, x = Beside().eval(), torch.randn(2, 3, 4, 4)
    of_channels, _ = AdaptivePruning().norms(model, find_channels(model, x))
    assert of_channels == {"four": "own"}
    found = AdaptivePruning().compress(model, (x,), closing())
    assert found.achieved["channels"] == 2 and found.difference < 1e-6
    with pytest.raises(ValueError, match="got 'one': it has no batch norm with scale and shift alone for itself"):
        AdaptivePruning(gates=["one"]).compress(model, (x,), closing())


def test_what_reads_several_layers_costs_their_mean():
    torch.manual_seed(0)
    model, x = Beside().eval(), torch.randn(2, 3, 4, 4)

    def train(gated, stage, epochs, penalty=None, keep="best"):
        gated.own.gate.raw.data.copy_(torch.tensor([OPEN, OPEN, SHUT, SHUT]))
        four, head, others, p = 3 * 4 + 4, 16 * 2 + 2, 3 * (3 * 4 + 4), 0.5
        wanted = (others + four * p + head * (1 - 4 / 16 * (1 - p))) / (others + four + head)
        assert float(penalty()) == pytest.approx(wanted, abs=1e-6)
        penalty().backward()
        assert gated.own.gate.raw.grad.isfinite().all()

    AdaptivePruning(1.0).compress(model, (x,), train)


def test_networks_without_anything_to_gate_are_refused():
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    with pytest.raises(ValueError, match="model must have channels or residual blocks that can be gated"):
        AdaptivePruning().compress(model, (torch.randn(3, 4),), Training(torch.randn(3, 4)))


def test_gates_that_stay_open_are_no_result():
    with pytest.raises(
        ValueError, match=r"strength must be large enough to close a gate: 0.001 has closed none in 6 epochs"
    ):
        AdaptivePruning(strength=0.001).compress(vgg(), (images(),), Training(images(), steps=1))


def test_branches_that_are_not_there_are_refused():
    model = resnet()
    for name in ("features.0", "features.9"):
        with pytest.raises(ValueError, match=rf"remove must name residual blocks with a branch, .* got '{name}'"):
            plan_branches(model, [name])
    assert verify(model, plan_branches(model, ["features.3"]), images()).difference == 0
    assert find_channels(model, images()).groups


class Scaled(nn.Module):
    """A layer that layer_costs does not know, between two norms."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 3))
        self.read = nn.Parameter(torch.randn(2, 4))
        self.norm, self.head = nn.BatchNorm1d(4), nn.Linear(2, 2)

    def forward(self, x):
        return self.head(self.norm(x @ self.weight.T).relu() @ self.read.T)


def test_a_gate_that_would_save_nothing_that_is_counted_is_refused():
    training = Training(torch.randn(8, 3))
    with pytest.raises(ValueError, match=r"gates must be on layers whose cost nn.layer_costs counts, got 'weight'"):
        AdaptivePruning().compress(Scaled().eval(), (torch.randn(8, 3),), training)
    assert not training.calls


@pytest.mark.parametrize(
    "model",
    [
        lambda: ResNet(3, 10, blocks=(2, 2), width=0.25, convolution=partial(GroupedConv2d, groups=2)),
        lambda: VGG(3, 10, stages=((8, 8), (16,)), convolution=partial(GroupedConv2d, groups=2)),
        lambda: MultiPathGCN(12, 16, 3, paths=((16, 8), (8,)), norm="batch", transform="sliding"),
    ],
)
def test_layers_in_groups_and_windows_cost_what_they_read(model):
    torch.manual_seed(0)
    model = model().eval()
    inputs = (torch.randn(30, 12), torch.randint(0, 30, (2, 90))) if isinstance(model, MultiPathGCN) else (images(),)

    def train(gated, stage, epochs, penalty=None, keep="best"):
        norms = [m for m in gated.modules() if isinstance(m, GatedNorm)]
        left = []
        for part in (0, 1, 2):  # none, every second, all
            for module in norms:
                module.gate.raw.data.fill_(OPEN)
                if module.gate.raw.dim() and part:
                    module.gate.raw.data[:: 3 - part] = SHUT
            left.append(float(penalty().detach()))
        assert left[0] == pytest.approx(1.0, abs=1e-5) and 0 <= left[2] < left[1] < 1
        for module in norms:
            if module.gate.raw.dim():
                module.gate.raw.data[1::2] = OPEN

    assert AdaptivePruning(strength=1.0).compress(model, inputs, train).difference < 1e-5


class Halves(nn.Module):
    """One half of the channels gates the other: a unit is a pair of them."""

    def __init__(self):
        super().__init__()
        self.first, self.norm, self.head = nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8), nn.Linear(4, 2)

    def forward(self, x):
        a, b = self.norm(self.first(x)).chunk(2, 1)
        return self.head((a * b.tanh()).mean((2, 3)))


def test_a_pair_of_channels_goes_when_both_are_shut():
    torch.manual_seed(0)

    def train(gated, stage, epochs, penalty=None, keep="best"):
        gated.norm.gate.raw.data.fill_(OPEN)
        gated.norm.gate.raw.data[[0, 1, 4]] = SHUT

    found = AdaptivePruning().compress(Halves().eval(), (torch.randn(2, 3, 4, 4),), train)
    assert found.achieved["channels"] == 1 and found.model.first.out_channels == 6


class Smooth(nn.Module):
    """What follows the norm is not 0 at 0."""

    def __init__(self):
        super().__init__()
        self.first, self.norm, self.head = nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8), nn.Linear(8, 2)

    def forward(self, x):
        return self.head(self.norm(self.first(x)).sigmoid().mean((2, 3)))


def test_channels_that_give_something_when_shut_are_refused_before_training():
    torch.manual_seed(0)
    training = Training(images())
    with pytest.raises(CannotPrune):
        AdaptivePruning().compress(Smooth().eval(), (torch.randn(2, 3, 4, 4),), training)
    assert not training.calls
