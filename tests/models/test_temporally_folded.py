from functools import partial

import pytest
import torch
from torch.nn import functional as F

from multipath_gcn.models import build_matched, count_parameters
from multipath_gcn.models.forecast_cell import ForecastCell
from multipath_gcn.models.recurrent import ConvLSTMForecast, LSTMForecast
from multipath_gcn.models.temporally_folded import TemporallyFolded
from multipath_gcn.nn import DepthwiseSeparableConv2d, GroupedConv2d

SLIDING = partial(DepthwiseSeparableConv2d, pointwise="sliding", groups=4, overlap=0.5, norm_between=True)
SIZES = {1: (1, 5), 2: (4, 5)}


def sequences(dims, frames=9, channels=1, count=2):
    generator = torch.Generator().manual_seed(3)
    return torch.rand(count, frames, channels, *SIZES[dims], dtype=torch.float64, generator=generator)


def folded(dims, **options):
    torch.manual_seed(0)
    return TemporallyFolded(1, 1, SIZES[dims], **dict(hidden_channels=8, frames=(3, 2, 2)) | options).double()


def reads(model, x):
    """For every forecast, which frames a change of moves it."""
    y, moved = model(x), torch.zeros(x.size(1), x.size(1), dtype=torch.bool)
    for s in range(x.size(1)):
        other = x.clone()
        other[:, s] += 1
        moved[:, s] = (model(other) != y).flatten(2).any(2).any(0)
    return moved


@pytest.mark.parametrize("dims", [1, 2])
@pytest.mark.parametrize("convolution", [None, SLIDING], ids=["dense", "sliding"])
def test_a_forecast_reads_the_frames_of_its_fold_and_no_others(dims, convolution):
    x, model = sequences(dims), folded(dims, convolution=convolution).eval()
    assert model.fold == 5 and model(x).shape == x.shape
    steps = torch.arange(9)
    behind = steps[:, None] - steps  # how long before the last frame it knows
    assert torch.equal(reads(model, x), (behind >= 0) & (behind < 5))


@pytest.mark.parametrize(("frames", "fold"), [((1,), 1), ((2,), 2), ((3, 3, 3), 7), ((2, 1, 4), 5)])
def test_fold(frames, fold):
    model, x = folded(1, frames=frames), sequences(1)
    assert model.fold == fold
    assert reads(model, x)[8].tolist() == [False] * (9 - fold) + [True] * fold


def test_in_training_only_batch_norms_look_further():
    x, steps = sequences(2), torch.arange(9)
    later = steps[:, None] < steps
    assert not reads(folded(2).train(), x)[later].any()
    assert reads(folded(2, convolution=SLIDING).train(), x)[later].all()
    plain = partial(DepthwiseSeparableConv2d, pointwise="sliding", groups=4, overlap=0.5, norm_between=False)
    assert not reads(folded(2, convolution=plain).train(), x)[later].any()


def test_before_the_first_frame_there_is_nothing():
    model, x = folded(2).eval(), sequences(2)
    longer = torch.cat([torch.zeros_like(x[:, :4]), x], dim=1)
    torch.testing.assert_close(model(longer)[:, 4:], model(x))
    torch.testing.assert_close(model(x[:, 2:7])[:, 4], model(x)[:, 6])  # a place in time is like any other


def test_the_layers_are_those_of_the_formula():
    model, x = folded(2, frames=(2, 3)), sequences(2, frames=4)
    h = x
    for block in model.folds:
        h = block.fold(h)
        variance, mean = torch.var_mean(h, dim=(2, 3, 4), correction=0, keepdim=True)
        h = (h - mean) / (variance + 1e-5).sqrt() * block.norm.weight[:, None, None] + block.norm.bias[:, None, None]
        h = h.relu()
    assert h.shape == (2, 1, 8, 4, 5)
    torch.testing.assert_close(model(x)[:, 3], model.cell(h[:, 0], x[:, 3]))


def test_the_cell_is_that_of_the_formula():
    torch.manual_seed(0)
    cell = ForecastCell(4, 2, 3).double()
    h, x = torch.randn(5, 4, 3, 3).double(), torch.randn(5, 2, 3, 3).double()
    u = F.conv2d(x, cell.read.weight, cell.read.bias, padding=1).tanh()
    both = F.conv2d(torch.cat([h, u], 1), cell.gate.weight, cell.gate.bias, padding=1)
    g, c = both[:, :4].sigmoid(), both[:, 4:].tanh()
    wanted = torch.einsum("oc,nchw->nohw", cell.write.weight[:, :, 0, 0], g * h + (1 - g) * c)
    torch.testing.assert_close(cell(h, x), wanted + cell.write.bias[:, None, None])


def test_every_convolution_but_those_that_read_frames_is_the_one_asked_for():
    model = folded(2, convolution=SLIDING)
    made = [model.folds[0].fold, model.folds[1].fold, model.folds[2].fold]
    kinds = [type(fold.convolution) for fold in made] + [type(model.cell.read), type(model.cell.gate)]
    assert kinds == [GroupedConv2d, *[DepthwiseSeparableConv2d] * 2, GroupedConv2d, DepthwiseSeparableConv2d]
    assert count_parameters(model) < count_parameters(folded(2)) / 2


@pytest.mark.parametrize("dims", [1, 2])
def test_conv_lstm_is_the_loop_of_its_paper_without_peepholes(dims):
    torch.manual_seed(0)
    model, x = ConvLSTMForecast(1, 1, SIZES[dims], 3).double(), sequences(dims)
    read, recur, pad = model.read, model.recur, (0 if dims == 1 else 1, 1)
    assert recur.bias is None and read.kernel_size == recur.kernel_size == (1 + 2 * pad[0], 3)
    h = c = torch.zeros(2, 3, *SIZES[dims], dtype=torch.float64)
    wanted = []
    for t in range(x.size(1)):
        gates = F.conv2d(x[:, t], read.weight, read.bias, padding=pad) + F.conv2d(h, recur.weight, padding=pad)
        i, f, g, o = gates[:, :3], gates[:, 3:6], gates[:, 6:9], gates[:, 9:]
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(c)
        wanted.append(F.conv2d(h, model.write.weight, model.write.bias))
    torch.testing.assert_close(model(x), torch.stack(wanted, 1))


@pytest.mark.parametrize("layers", [1, 2])
def test_lstm_is_the_loop_over_its_cells(layers):
    torch.manual_seed(0)
    model, x = LSTMForecast(2, 3, (2, 5), 6, layers).double(), torch.rand(4, 7, 2, 2, 5, dtype=torch.float64)
    h, c = torch.zeros(2, layers, 4, 6, dtype=torch.float64)
    h, c, wanted = list(h), list(c), []
    for t in range(7):
        below = x[:, t].flatten(1)
        for i in range(layers):
            named = [getattr(model.lstm, f"{kind}_l{i}") for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
            h[i], c[i] = torch.lstm_cell(below, (h[i], c[i]), *named)
            below = h[i]
        wanted.append((below @ model.write.weight.T + model.write.bias).view(4, 3, 2, 5))
    torch.testing.assert_close(model(x), torch.stack(wanted, 1))


@pytest.mark.parametrize("kind", [LSTMForecast, ConvLSTMForecast])
@pytest.mark.parametrize("size", [(1, 8), (8, 8)], ids=str)
def test_recurrent_networks_come_near_to_the_parameters_of_the_folded_one(kind, size):
    sizes = {"in_channels": 1, "out_channels": 1, "frame_size": size}
    model = build_matched(network=kind, reference=TemporallyFolded, **sizes)
    assert isinstance(model, kind) and model(torch.rand(2, 3, 1, *size)).shape == (2, 3, 1, *size)
    assert abs(count_parameters(model) / count_parameters(TemporallyFolded(**sizes)) - 1) < 0.02


@pytest.mark.parametrize("kind", [LSTMForecast, ConvLSTMForecast])
def test_recurrent_networks_read_all_frames_that_have_been(kind):
    torch.manual_seed(0)
    moved = reads(kind(1, 1, SIZES[1], 4).double(), sequences(1))
    assert torch.equal(moved, torch.ones(9, 9, dtype=torch.bool).tril())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(frames=()), r"frames must be one or more integers of at least 1, got \(\)"),
        (dict(frames=3), "frames must be one or more integers of at least 1, got 3"),
        (dict(frame_size=8), "frame_size must be height and width, each at least 1, got 8"),
        (dict(frames=(3, 0)), r"frames must be one or more integers of at least 1, got \(3, 0\)"),
        (dict(frame_size=(8,)), r"frame_size must be height and width, each at least 1, got \(8,\)"),
        (dict(hidden_channels=0), "folds.0, 3 -> 0 channels: in_channels and out_channels must be at least 1"),
        (dict(kernel_size=2), "folds.0, 3 -> 8 channels: kernel_size must be an odd integer of at least 1, got 2"),
        (dict(hidden_channels=6, convolution=partial(GroupedConv2d, groups=4)), "folds.1, 18 -> 6 channels: .*divis"),
        (dict(hidden_channels=6, convolution=SLIDING), r"folds.1, 18 -> 6 channels: .* divisible by groups \(4\)"),
        (dict(hidden_channels=6, frames=(2,), convolution=partial(SLIDING, groups=8)), "cell.gate, 12 -> 12 channels"),
    ],
    ids=str,
)
def test_refuses(options, message):
    with pytest.raises(ValueError, match=message):
        TemporallyFolded(1, 1, **dict(frame_size=(8, 8), hidden_channels=8, frames=(3, 3)) | options)


def test_refuses_other_sequences():
    for model in (folded(2), ConvLSTMForecast(1, 1, (4, 5), 3), LSTMForecast(1, 1, (4, 5), 3)):
        with pytest.raises(ValueError, match=r"x must be sequences \(N, T, 1, 4, 5\), got \[2, 9, 1, 1, 5\]"):
            model(sequences(1))
