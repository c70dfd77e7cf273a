import copy
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from multipath_gcn.models import GCN, VGG, GroupedEnsemble, MobileNet, ResGCN, ResNet, ShallowNetwork, count_parameters
from multipath_gcn.nn import DepthwiseSeparableConv2d, GroupedConv2d, MultiPathGCN, SlidingChannelLinear

IMAGES = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
NODES = torch.randn(30, 12, generator=torch.Generator().manual_seed(1))
EDGES = torch.randint(0, 30, (2, 90), generator=torch.Generator().manual_seed(2))
STAGES = ((8, 8), (16,))
SEPARABLE = partial(DepthwiseSeparableConv2d, norm_between=True)


def mlp():
    return nn.Sequential(nn.Flatten(), nn.Linear(768, 24), nn.BatchNorm1d(24), nn.ReLU(), nn.Linear(24, 10))


NETWORKS = {
    "mlp": (mlp, (IMAGES,)),
    "linear": (lambda: nn.Linear(12, 3), (NODES,)),
    "vgg": (lambda: VGG(3, 10, stages=STAGES), (IMAGES,)),
    "grouped": (lambda: VGG(3, 10, stages=STAGES, convolution=partial(GroupedConv2d, groups=2)), (IMAGES,)),
    "separable": (lambda: VGG(3, 10, stages=STAGES, convolution=SEPARABLE), (IMAGES,)),
    "mobilenet": (lambda: MobileNet(3, 10, width=0.25), (IMAGES,)),
    "resnet": (lambda: ResNet(3, 10, blocks=(1, 1), width=0.25), (IMAGES,)),
    "gcn": (lambda: GCN(12, 16, 3, num_layers=1, readout="gcn"), (NODES, EDGES)),
    "residual": (lambda: ResGCN(12, 16, 3, norm="batch"), (NODES, EDGES)),
    "multipath": (lambda: MultiPathGCN(12, 16, 3, transform="grouped", groups=4), (NODES, EDGES)),
    "no stem": (lambda: MultiPathGCN(12, 16, 3, stem=0), (NODES, EDGES)),
}


def members_of(make, size=3):
    found = []
    for seed in range(size):
        torch.manual_seed(seed)
        found.append(make())
    for member in found:  # norms have counted something
        for name, buffer in member.named_buffers():
            if name.endswith(("mean", "var")):
                buffer.uniform_(0.5, 1.5)
    return found


@pytest.mark.parametrize("name", NETWORKS)
def test_members_are_computed_as_if_alone(name):
    make, example = NETWORKS[name]
    members = members_of(make)
    ensemble = GroupedEnsemble(members, *example)
    assert count_parameters(ensemble) == 3 * count_parameters(members[0])
    with torch.no_grad():
        alone = torch.stack([member.eval()(*example) for member in members])
        torch.testing.assert_close(ensemble.eval()(*example), alone, atol=1e-5, rtol=1e-5)
        again = torch.stack([member(*example) for member in ensemble.members()])
    torch.testing.assert_close(again, alone)


@pytest.mark.parametrize(
    "optimizer", [partial(torch.optim.SGD, lr=0.05, momentum=0.9), partial(torch.optim.Adam, lr=1e-3)]
)
@pytest.mark.parametrize("name", ["mlp", "vgg", "separable", "gcn", "multipath"])
def test_members_are_trained_as_if_alone(name, optimizer):
    """In float64: Adam makes whole steps of what rounding leaves of a gradient that is 0, as before a norm."""
    make, example = NETWORKS[name]
    example = [part.double() if part.is_floating_point() else part for part in example]
    members = [member.double() for member in members_of(make)]
    ensemble = GroupedEnsemble(members, *example)
    labels = torch.randint(0, 3, (len(example[0]),))
    step, alone = optimizer(ensemble.parameters()), [optimizer(member.parameters()) for member in members]
    for _ in range(10):
        step.zero_grad()
        torch.stack([F.cross_entropy(scores, labels) for scores in ensemble.train()(*example)]).sum().backward()
        step.step()
        for member, own in zip(members, alone, strict=True):
            own.zero_grad()
            F.cross_entropy(member.train()(*example), labels).backward()
            own.step()
    for trained, member in zip(ensemble.members(), members, strict=True):
        for key, value in member.state_dict().items():
            torch.testing.assert_close(trained.state_dict()[key], value, atol=1e-5, rtol=1e-5)


def test_given_networks_are_left_alone():
    members = members_of(mlp)
    before = copy.deepcopy([member.state_dict() for member in members])
    ensemble = GroupedEnsemble(members, IMAGES)
    ensemble(IMAGES).sum().backward()
    assert all(p.grad is None for member in members for p in member.parameters())
    for member, state in zip(members, before, strict=True):
        assert member.training and all(value.equal(state[key]) for key, value in member.state_dict().items())
    assert repr(ensemble).startswith("GroupedEnsemble(3 x Sequential")


def test_what_reads_the_input_is_one_dense_layer():
    ensemble = GroupedEnsemble(members_of(*NETWORKS["vgg"][:1]), IMAGES)
    first, second = [m for m in ensemble.modules() if isinstance(m, GroupedConv2d)][:2]
    assert (first.groups, first.in_channels, second.groups) == (1, 3, 3)


def test_no_copy_of_a_member_is_part_of_the_module():
    ensemble = GroupedEnsemble(members_of(mlp), IMAGES)
    assert {name.split(".")[0] for name, _ in ensemble.named_parameters()} == {"network"}


class Softmax(nn.Module):
    """Mixes all channels by something else than a layer."""

    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Linear(12, 8), nn.Linear(8, 3)

    def forward(self, x, *_):
        return self.two(self.one(x).softmax(-1))


def test_frozen_weights_stay_frozen():
    members = members_of(mlp)
    for member in members:
        member[1].requires_grad_(False)
    ensemble = GroupedEnsemble(members, IMAGES)
    assert [p.requires_grad for p in ensemble.parameters()] == [False, False, True, True, True, True]


def test_members_are_of_the_type_of_the_ensemble():
    ensemble = GroupedEnsemble(members_of(mlp), IMAGES).double()
    assert all(p.dtype == torch.float64 for member in ensemble.members() for p in member.parameters())


def test_hooks_of_the_ensemble_are_no_hooks_of_members():
    ensemble = GroupedEnsemble(members_of(NETWORKS["gcn"][0]), NODES, EDGES)
    ensemble.network.stem[0].conv.register_forward_hook(lambda *_: None)
    assert not ensemble.members()[0].stem[0].conv._forward_hooks


def tied():
    one = nn.Linear(12, 12)
    return nn.Sequential(one, nn.ReLU(), one)


class Softmaxed(Softmax):
    """Its last layer begins with zeros, so that outputs say nothing."""

    def __init__(self):
        super().__init__()
        nn.init.zeros_(self.two.weight), nn.init.zeros_(self.two.bias)


REFUSED = {
    "tied": (lambda: [tied(), tied()], (NODES,), "must not share weights among their layers"),
    "parametrized": (
        lambda: [nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(12, 3))) for _ in "ab"],
        (NODES,),
        "got a parametrization of 0",
    ),
    "zeros": (lambda: [Softmaxed(), Softmaxed()], (NODES,), "mix channels by their layers alone"),
    "another dropout": (
        lambda: [nn.Sequential(nn.Linear(12, 3), nn.Dropout(p)) for p in (0.1, 0.2)],
        (NODES,),
        "another architecture in member 1",
    ),
    "alone": (lambda: [mlp()], (IMAGES,), "members must be at least 2 networks, got 1"),
    "different": (lambda: [mlp(), nn.Linear(768, 10)], (IMAGES,), "another architecture in member 1"),
    "softmax": (
        lambda: [Softmax(), Softmax()],
        (NODES,),
        "mix channels by their layers alone.*Softmax, which does otherwise",
    ),
    "attention": (
        lambda: [MultiPathGCN(12, 16, 3, combine="attention") for _ in "ab"],
        (NODES, EDGES),
        "mix channels by their layers alone.*MultiPathGCN",
    ),
    "concat": (
        lambda: [MultiPathGCN(12, 16, 3, combine="concat") for _ in "ab"],
        (NODES, EDGES),
        "mix channels by their layers alone",
    ),
    "layer norm": (
        lambda: [GCN(12, 16, 3, norm="layer") for _ in "ab"],
        (NODES, EDGES),
        r"hold their weights in linear layers.*got stem.0.norm.weight",
    ),
    "local": (lambda: [ShallowNetwork(3, 10, "local", 2, 16) for _ in "ab"], (IMAGES,), "got first.0.weight"),
    "wrapping": (
        lambda: [nn.Sequential(nn.Linear(12, 8), SlidingChannelLinear(8, 8)) for _ in "ab"],
        (NODES,),
        "must not wrap around, got one of 4 channels from 6 of 8 on",
    ),
    "depthwise first": (
        lambda: [
            nn.Sequential(DepthwiseSeparableConv2d(3, 8, 3), nn.Flatten(), nn.Linear(8 * 14 * 14, 2)) for _ in "ab"
        ],
        (IMAGES,),
        "the convolution that reads the input must have one group, got 3",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_a_group_is_refused(case):
    make, example, message = REFUSED[case]
    with pytest.raises(ValueError, match=message):
        GroupedEnsemble(make(), *example)
