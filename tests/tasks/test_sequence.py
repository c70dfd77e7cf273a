import json
import math
from functools import partial
from pathlib import Path

import app
import numpy as np
import pytest
import torch
from matplotlib.image import imread
from resuming import history
from torch import nn
from torch.nn import functional as F

import multipath_gcn.conf
from multipath_gcn.data.sequence_dataset import SequenceDataset
from multipath_gcn.data.sequences import load_digit_sequences
from multipath_gcn.models import GCN
from multipath_gcn.models.recurrent import LSTMForecast
from multipath_gcn.models.temporally_folded import TemporallyFolded
from multipath_gcn.nn import DepthwiseSeparableConv2d
from multipath_gcn.report.forecasts import plot_forecasts
from multipath_gcn.tasks.sequence import SequenceTask

SIZES = {"train": 10, "valid": 4, "test": 7}
QUICK = ("task=sequence", "fit.epochs=1", "hidden_channels=8", "data.test=1400")  # 97 sequences to train on
# Parameters of 8 hidden channels: 72 + 48 + 32 + 9 of the first fold, the norms, what reads frames and what writes them.
CONVOLUTIONS = {
    "standard": 161 + 2 * 576 + 784,
    "grouped": 161 + 2 * 144 + 208,
    "separable": 161 + 2 * (72 + 48 + 192) + 48 + 32 + 272,
    "separable_grouped": 161 + 2 * (72 + 48 + 48) + 48 + 32 + 80,
    "separable_sliding": 161 + 2 * (72 + 48 + 48) + 48 + 32 + 80,
}


def sequences(uneven=False, frame=(1, 2, 3)):
    """21 sequences of 5 frames; uneven ones have 2 to 5."""
    generator = torch.Generator().manual_seed(1)
    splits, lengths = {}, {}
    for part, count in SIZES.items():
        splits[part] = torch.rand(count, 5, *frame, generator=generator)
        lengths[part] = torch.randint(2, 6, (count,), generator=generator)
        if uneven:
            splits[part][torch.arange(5) >= lengths[part][:, None]] = 0
    return SequenceDataset("tiny", splits, lengths if uneven else None)


class Recorder(nn.Module):
    """Every forecast is linear in the last frame; keeps what it was given."""

    def __init__(self, elements=6):
        super().__init__()
        self.linear, self.seen = nn.Linear(elements, elements), []

    def forward(self, x):
        self.seen.append((x, self.training))
        return self.linear(x.flatten(2)).view_as(x)


def losses(model, dataset, part, elements=6):
    """By hand: of every forecast of every sequence, summed over the elements of a frame."""
    found = []
    for frames, length in zip(dataset.splits[part].double(), dataset.lengths_of(part), strict=True):
        for t in range(int(length) - 1):
            p = torch.sigmoid(F.linear(frames[t].flatten(), *(w.double() for w in model.linear.parameters())))
            x = frames[t + 1].flatten()
            found.append(-(x * p.log() + (1 - x) * (1 - p).log()).sum().item())
    return found


@pytest.mark.parametrize("uneven", [False, True])
@pytest.mark.parametrize("size", [1, 3, 100])
def test_scores_are_likelihoods_and_the_loss_is_in_nats_per_frame(uneven, size):
    torch.manual_seed(0)
    task, model = SequenceTask(sequences(uneven), eval_batch_size=size), Recorder()
    scores = task.evaluate(model)
    assert not any(training for _, training in model.seen)
    for part in ("valid", "test"):
        found = losses(model, task.dataset, part)
        assert scores[part] == pytest.approx(math.exp(-sum(found) / len(found) / 6), rel=1e-5)
        if part == "valid":
            assert scores["valid_loss"] == pytest.approx(sum(found) / len(found), rel=1e-5)


@pytest.mark.parametrize("uneven", [False, True])
def test_the_loss_of_a_step_is_the_mean_over_frames_that_are_there(uneven):
    torch.manual_seed(0)
    task, model = SequenceTask(sequences(uneven), batch_size=100), Recorder()
    (loss,) = task.train_losses(model, 1)
    found = losses(model, task.dataset, "train")
    assert loss.item() == pytest.approx(sum(found) / len(found), rel=1e-5)
    assert task.evaluate(model)["train"] == pytest.approx(math.exp(-loss.item() / 6))
    loss.backward()
    assert model.linear.weight.grad.abs().sum() > 0


def test_an_epoch_sees_every_sequence_once_and_none_its_last_frame():
    task, model = SequenceTask(sequences(), batch_size=4), Recorder()
    steps = list(task.train_losses(model, 1))
    assert task.steps == len(steps) == 3
    assert sorted(len(x) for x, _ in model.seen) == [3, 3, 4] and all(training for _, training in model.seen)
    seen, given = torch.cat([x for x, _ in model.seen]), task.dataset.splits["train"][:, :-1]
    order = torch.cdist(seen.flatten(1), given.flatten(1)).argmin(1)
    assert torch.equal(seen, given[order]) and sorted(order.tolist()) == list(range(10)) != order.tolist()


def test_the_train_score_is_that_of_the_epochs_own_steps():
    torch.manual_seed(0)
    task, model = SequenceTask(sequences(uneven=True), batch_size=3), Recorder()
    list(task.train_losses(model, 1))
    found = losses(model, task.dataset, "train")
    assert task.evaluate(model)["train"] == pytest.approx(math.exp(-sum(found) / len(found) / 6), rel=1e-5)


def test_padding_is_not_looked_at():
    """Short sequences cost as much beside long ones as by themselves, in training and in evaluation."""
    torch.manual_seed(0)
    dataset, model = sequences(uneven=True), TemporallyFolded(1, 1, (2, 3), 8, (2,))
    one = SequenceTask(dataset, batch_size=1, eval_batch_size=1)
    all_at_once = SequenceTask(dataset, batch_size=100, eval_batch_size=100)
    for task in (one, all_at_once):
        list(task.train_losses(model, 1))
    apart, together = one.evaluate(model), all_at_once.evaluate(model)
    assert dataset.is_uneven and apart == pytest.approx(together, rel=1e-5)


def test_batch_norms_would_count_padding():
    make = partial(DepthwiseSeparableConv2d, pointwise="sliding", groups=4, overlap=0.5, norm_between=True)
    model = TemporallyFolded(1, 1, (2, 3), 8, (2, 1), convolution=make)
    SequenceTask(sequences()).check(model)
    with pytest.raises(ValueError, match=r"no batch norm for sequences of different length, .* got folds\.1\.fold"):
        SequenceTask(sequences(uneven=True)).check(TemporallyFolded(1, 1, (2, 3), 8, (1, 1), convolution=make))


def test_training_resumes_exactly(tmp_path):
    task = SequenceTask(sequences(), batch_size=4)
    whole = history(task, lambda: LSTMForecast(1, 1, (2, 3), 4), tmp_path / "whole", 5)
    assert whole == history(task, lambda: LSTMForecast(1, 1, (2, 3), 4), tmp_path / "cut", 2, 5)


def test_draws_come_from_pytorchs_generator():
    task, runs = SequenceTask(sequences(), batch_size=4), []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        model = Recorder()
        list(task.train_losses(model, 1))
        runs.append(torch.cat([x for x, _ in model.seen]))
    assert torch.equal(runs[0], runs[1]) and not torch.equal(runs[0], runs[2])


def test_what_a_model_is_made_with():
    task = SequenceTask(sequences(frame=(2, 1, 5)))
    assert (task.in_channels, task.out_channels, task.further_sizes) == (2, 2, {"frame_size": (1, 5)})


def test_a_fold_must_be_shorter_than_every_sequence():
    task = SequenceTask(sequences())
    task.check(TemporallyFolded(1, 1, (2, 3), 8, (3, 2)))
    task.check(LSTMForecast(1, 1, (2, 3), 8))
    rule = r"frames must fold fewer frames, .*, than the shortest of tiny has, {}, got frames that fold {}"
    with pytest.raises(ValueError, match=rule.format(5, 5)):
        task.check(TemporallyFolded(1, 1, (2, 3), 8, (3, 3)))
    with pytest.raises(ValueError, match=rule.format(2, 3)):
        SequenceTask(sequences(uneven=True)).check(TemporallyFolded(1, 1, (2, 3), 8, (3,)))


def test_a_model_must_forecast_frames_of_this_size():
    task, layer = SequenceTask(sequences()), Recorder().train()
    task.check(layer)
    assert layer.training
    with pytest.raises(ValueError, match=r"forecast frames of \[1, 2, 3\], those of tiny, got LSTMForecast: x must be"):
        task.check(LSTMForecast(1, 1, (2, 4), 8))
    with pytest.raises(ValueError, match=r"got LSTMForecast of output \[1, 4, 2, 2, 3\] for \[1, 4, 1, 2, 3\]"):
        task.check(LSTMForecast(1, 2, (2, 3), 8))
    with pytest.raises(ValueError, match="got Flatten of output"):
        task.check(nn.Flatten())


def test_refuses():
    with pytest.raises(ValueError, match="model must take sequences alone, such as .* got GCN: missing a required"):
        SequenceTask(sequences()).check(GCN(2, 4, 3))
    with pytest.raises(ValueError, match="dataset must be a SequenceDataset for task=sequence, .* got object"):
        SequenceTask(object())
    for name, value in (("batch_size", 0), ("eval_batch_size", 2.5), ("batch_size", True)):
        with pytest.raises(ValueError, match=f"{name} must be an integer of at least 1, got {value}"):
            SequenceTask(sequences(), **{name: value})


@pytest.mark.parametrize("frame", [(1, 2, 3), (2, 1, 8)], ids=["film", "rows"])
def test_in_the_end_there_are_nats_and_a_picture(tmp_path, frame):
    task, model = SequenceTask(sequences(uneven=True, frame=frame)), Recorder(math.prod(frame))
    found = task.finish(model, [], tmp_path)["nats_per_frame"]
    scores = task.evaluate(model)
    assert found["valid"] == pytest.approx(scores["valid_loss"])
    assert math.exp(-found["test"] / math.prod(frame)) == pytest.approx(scores["test"])
    assert imread(tmp_path / "figure.png").std() > 0.05


def test_the_picture_shows_frames_forecasts_and_differences(tmp_path):
    frames = np.zeros((1, 3, 1, 2, 2), np.float32)
    frames[0, 1:] = 1
    plot_forecasts(frames, np.stack([frames[:, 1], 1 - frames[:, 2]], 1), np.array([3]), tmp_path / "film.png")
    seen = imread(tmp_path / "film.png")[..., :3]
    blue = (seen[..., 2] > 0.3) & (seen[..., 0] < 0.1)  # the last forecast is 1 too little
    black, ninth = (seen < 0.05).all(2), blue.sum()
    assert ninth > 100 and not ((seen[..., 0] > 0.3) & (seen[..., 2] < 0.1)).any()
    assert black.sum() == pytest.approx(3 * ninth, rel=0.2)  # of two frames and a forecast, besides letters
    with pytest.raises(ValueError, match=r"frames and forecasts must be .* got \[1, 3, 1, 2, 2\] and \[1, 3, 1"):
        plot_forecasts(frames, frames, np.array([3]), tmp_path / "wrong.png")


def test_every_network_runs(monkeypatch, tmp_path):
    app.run(monkeypatch, tmp_path, "-m", *QUICK, "model=temporally_folded,lstm,conv_lstm")
    found = {result["model"]: result for result in app.results(tmp_path)}
    assert set(found) == {"temporally_folded", "lstm", "conv_lstm"}
    wanted = found["temporally_folded"]["parameters"]
    assert wanted == CONVOLUTIONS["standard"]
    for result in found.values():
        assert abs(result["parameters"] / wanted - 1) < 0.1  # of widths near to 16
        assert (result["data"], result["metric"]) == ("digit_rows", "likelihood")
        nats = result["nats_per_frame"]
        assert result["test"] == pytest.approx(math.exp(-nats["test"] / 8)) and 1.7 < nats["valid"] < 5.6
    assert len(list(tmp_path.rglob("figure.png"))) == 3


def test_every_convolution_runs(monkeypatch, tmp_path):
    folder = Path(multipath_gcn.conf.__file__).parent / "model" / "convolution"
    assert {path.stem for path in folder.glob("*.yaml")} == set(CONVOLUTIONS)
    others = list(CONVOLUTIONS)[1:]  # standard: above
    results = app.run(monkeypatch, tmp_path, "-m", *QUICK, f"model/convolution={','.join(others)}")
    assert sorted(r["parameters"] for r in results) == sorted(CONVOLUTIONS[name] for name in others)


def test_a_run_learns_from_what_has_been(monkeypatch, tmp_path):
    changes = "fit.epochs=2", "hidden_channels=8", "task.batch_size=32"
    (result,) = app.run(monkeypatch, tmp_path, "task=sequence", *changes)
    data = load_digit_sequences()
    train, valid = data.splits["train"][:, 1:], data.splits["valid"][:, 1:]
    blind = 8 * F.binary_cross_entropy(train.mean(0).expand_as(valid), valid)  # the best that looks at no frame
    known = 8 * F.binary_cross_entropy(valid, valid)
    assert known < result["nats_per_frame"]["valid"] < blind - 0.2


def test_chorales_of_different_length(monkeypatch, tmp_path):
    scale = [48, 50, 52, 53, 55, 57, 59, 60]
    chorales = [[[scale[(t + i) % 8], scale[(t + i) % 8] + 12] for t in range(9 + i)] for i in range(6)]
    (tmp_path / "scales.json").write_text(json.dumps({"train": chorales, "valid": chorales[:2], "test": chorales[2:]}))
    data = "data=jsb_chorales", f"data.file={tmp_path}/scales.json", "task.batch_size=2", "fit.epochs=20"
    (result,) = app.run(monkeypatch, tmp_path, *QUICK[:1], *data, "model.kernel_size=5", "hidden_channels=8")
    assert result["data"] == "jsb_chorales" and result["nats_per_frame"]["test"] < 12  # 88 log 2 = 61 before
    assert imread(next(tmp_path.rglob("figure.png"))).std() > 0.05


def test_a_fold_that_is_too_long_stops_the_run(monkeypatch, tmp_path):
    with pytest.raises(ValueError, match="frames must fold fewer .* the shortest of digit_rows has, 8, got .* fold 8"):
        app.run(monkeypatch, tmp_path, *QUICK, "model.frames=[3,3,4]")
    assert not list(tmp_path.rglob("history.csv"))
